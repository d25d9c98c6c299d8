"""Files of benchmarks as their authors ship them -> queries and judgements: one file per layout, which cards name."""

from mmrerank.evaluation.loaders._loaded import kind_of as kind_of
