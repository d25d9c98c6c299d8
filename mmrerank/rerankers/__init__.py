"""Candidates -> a permutation of them. One file per method; its name is the reranker's name.

The drivers, for methods of your own: each takes functions that show an item and ask about it, and returns a ranking.
"""

from mmrerank.rerankers._cross_encoder import cross_encoder as cross_encoded  # `cross_encoder` is the part of that name
from mmrerank.rerankers._groupwise import GroupScores, groupwise
from mmrerank.rerankers._listwise import Reply, listwise
from mmrerank.rerankers._pointwise import Scores, pointwise
from mmrerank.rerankers._setwise import Choice, setwise

__all__ = ["Choice", "GroupScores", "Reply", "Scores", "cross_encoded", "groupwise", "listwise", "pointwise", "setwise"]
