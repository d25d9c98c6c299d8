"""Descriptors -> neighbours, and text -> matches. An index is a cache of the store, never the only copy. Here is what other rooms
share of this one."""

from mmrerank.index._idf import idf_of
from mmrerank.index._page_names import pages_named
from mmrerank.index._question import subject
from mmrerank.index._recipes import read_recipe, rows_index_name, shipped_recipes
from mmrerank.index._words import CJK, english

__all__ = ["CJK", "english", "idf_of", "pages_named", "read_recipe", "rows_index_name", "shipped_recipes", "subject"]
