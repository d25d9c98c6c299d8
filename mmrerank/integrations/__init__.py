"""Doors for other frameworks: one adapter a file, each of which imports its framework at its head and needs the extra of that name."""
