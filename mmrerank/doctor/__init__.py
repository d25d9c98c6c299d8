"""What is wrong here, and how to mend it: with a model, a reranker over it, an encoder, or the files of a checkpoint.

Every check is a `Finding` that comes as soon as it is made; what a check raises is its finding, and the others go on.
"""

from mmrerank.doctor.findings import Finding
from mmrerank.doctor.model import compare, examine, golden_pairs, read_recorded
from mmrerank.doctor.pairs import COLOURS
from mmrerank.doctor.rerankers import examine_rerankers, raw_scores, read_raw_scores
from mmrerank.doctor.vectors import examine_encoders
from mmrerank.doctor.weights import examine_checkpoint

__all__ = [
    "COLOURS",
    "Finding",
    "compare",
    "examine",
    "examine_checkpoint",
    "examine_encoders",
    "examine_rerankers",
    "golden_pairs",
    "raw_scores",
    "read_raw_scores",
    "read_recorded",
]
