"""Trains and measures the embedded multimodal language model."""
