"""Files of benchmarks as their authors ship them -> queries and judgements: one file per layout, which cards name."""
