"""Items, descriptors and full text at rest: one Lance table per collection."""
