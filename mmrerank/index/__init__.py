"""Descriptors -> neighbours, and text -> matches. An index is a cache of the store, never the only copy. Here is what other rooms
share of this one."""

from mmrerank.index._auto import AUTO, chosen
from mmrerank.index._exact import nearest
from mmrerank.index._files import Sink, load_sealed, map_sealed, save_sealed
from mmrerank.index._idf import idf_of
from mmrerank.index._page_names import pages_named
from mmrerank.index._positions import difference
from mmrerank.index._question import subject
from mmrerank.index._recall import RECALL_K, ExactScores, Questions, in_words, without_own
from mmrerank.index._recipes import read_recipe, rows_index_name, shipped_recipes
from mmrerank.index._tailed import TailedIndex, rebuild_pays
from mmrerank.index._tailed_texts import TailedTexts
from mmrerank.index._words import CJK, english

__all__ = [
    "AUTO",
    "CJK",
    "RECALL_K",
    "ExactScores",
    "Questions",
    "Sink",
    "TailedIndex",
    "TailedTexts",
    "chosen",
    "difference",
    "english",
    "idf_of",
    "in_words",
    "load_sealed",
    "map_sealed",
    "nearest",
    "pages_named",
    "read_recipe",
    "rebuild_pays",
    "rows_index_name",
    "save_sealed",
    "shipped_recipes",
    "subject",
    "without_own",
]
