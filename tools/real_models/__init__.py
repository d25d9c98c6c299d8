"""Real small models for benches and optional tests, taken from packages of the registry; they are no part of what ships."""
