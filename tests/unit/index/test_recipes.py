"""Recipes: the shipped ones make what they say, and a wrong one is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrerank.errors import FormatError, InputError, MMRerankError, UnknownName
from mmrerank.index._recipes import read_recipe, rows_index_name
from mmrerank.parts import make, names

RECIPES = sorted((Path(__file__).parents[3] / "indexes").glob("*.toml"))
GOOD = "name = 'faiss_index(kind=\"hnsw\")'\ntake_it_when = 'always'\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_recipes_are_there() -> None:
    assert {"faiss-flat", "faiss-flat-fp16", "hnsw", "ivf"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_makes_an_index(path: Path) -> None:
    pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")
    index = make(read_recipe(path), station="index", dimension=8)
    assert len(index) == 0
    assert rows_index_name(read_recipe(path)) == index.name


def test_a_recipe_gives_the_name(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path, GOOD + '[options]\nlinks = "..."\n[measured]\nrecall = 1')) == 'faiss_index(kind="hnsw")'


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("name = [", FormatError, "no TOML"),
        ("name = 'flat'", FormatError, "'take_it_when' as a string, got None"),
        ("take_it_when = 'x'", FormatError, "'name' as a string, got None"),
        ("name = 3\ntake_it_when = 'x'", FormatError, "got 3"),
        (GOOD + "options = 'x'", FormatError, "'options' as a table"),
        (GOOD + "[meassured]", UnknownName, "Did you mean 'measured'"),
        (GOOD + "[options]\nlinkz = ''", UnknownName, "Did you mean 'links'"),
        (GOOD.replace("hnsw", "tree"), InputError, "kind"),
        (GOOD.replace("faiss_index", "faiss"), UnknownName, "faiss_index"),
        ("name = 'bm25_index'\ntake_it_when = 'x'", InputError, "searches text"),
        ("name = 'gem'\ntake_it_when = 'x'", UnknownName, "no index"),
    ],
)
def test_a_wrong_recipe_is_told_why(tmp_path: Path, text: str, error: type[MMRerankError], match: str) -> None:
    with pytest.raises(error, match=match):
        read_recipe(written(tmp_path, text))


def test_a_recipe_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_no_recipe_is_called_as_an_index_is() -> None:
    """`list` once showed a recipe `flat`, which is FAISS's, beside the index `flat`, which is ours."""
    assert not {path.stem.replace("-", "_") for path in RECIPES} & set(names("index"))
