"""What comes out: hits with their stages, cited answers, reranked documents; each shows itself in a terminal and in a notebook."""

from mmrerank.results.records import GIVEN, AskResult, Hit, Reranked, RerankResult, SearchResult, Stage

__all__ = ["GIVEN", "AskResult", "Hit", "RerankResult", "Reranked", "SearchResult", "Stage"]
