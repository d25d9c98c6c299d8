"""Fakes, so that nobody patches, and the contracts that any part keeps, ours or another's."""
