"""Simulated spectra of peptides with what several models would propose for them."""
