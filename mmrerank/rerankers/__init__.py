"""Candidates -> a permutation of them. One file per method; its name is the reranker's name."""
