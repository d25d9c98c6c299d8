"""What comes out: hits with their stages, cited answers, reranked documents; each shows itself in a terminal and in a notebook."""

from mmrerank.results.citing import boxes_of
from mmrerank.results.records import FIRST_STAGE_ELSEWHERE, AskResult, Hit, Reranked, RerankResult, SearchResult, Stage

__all__ = ["FIRST_STAGE_ELSEWHERE", "AskResult", "Hit", "RerankResult", "Reranked", "SearchResult", "Stage", "boxes_of"]
