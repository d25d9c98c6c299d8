"""What a user holds: items on disk with their descriptors and text, one version of them a search."""

from mmrerank.collection.collection import DEFAULT_ENCODER, DEFAULT_INDEX, Collection

__all__ = ["DEFAULT_ENCODER", "DEFAULT_INDEX", "Collection"]
