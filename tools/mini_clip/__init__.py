"""Trains and measures the embedded CLIP."""
