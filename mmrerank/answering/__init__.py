"""Ranked pages -> a cited answer; one file per way."""
