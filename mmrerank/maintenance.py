"""What a collection holds and whether it holds together, for programs; under this name since 0.2.0."""

from mmrerank.collection.verify import check, describe

__all__ = ["check", "describe"]
