"""What a ranking is worth on a benchmark: runs, comparisons, variants, reports."""
