"""Descriptors -> neighbours, and text -> matches. An index is a cache of the store, never the only copy."""
