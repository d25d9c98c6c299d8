"""A wrong recipe is told before anything is trained: what is wrong, where, and which names there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.training.data import read_groups
from mmrerank.training.recipe import Band, Source, read_recipe
from mmrerank.training.run import Training

RECIPE = """
name = "mine"
[model]
backend = "mini"
[model.lora]
rank = 4
[data]
layout = "lists"
files = ["a.jsonl"]
[data.draw]
negatives = [{ last = 5, count = 3 }]
[[stages]]
reranker = "query_likelihood"
loss = "query_likelihood"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_is_read_with_its_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, RECIPE))
    assert recipe.model.lora is not None
    assert recipe.model.lora.rank == 4
    assert recipe.data.draw.negatives == (Band(last=5, count=3),)
    assert recipe.data.options == {"files": ["a.jsonl"]}
    assert recipe.stages[0].name == "stage-1"


def test_depth_is_of_the_data_that_are_read_and_of_the_reranking_that_is_measured(tmp_path: Path) -> None:
    text = RECIPE.replace('layout = "lists"', 'layout = "lists"\ndepth = 7')
    recipe = read_recipe(written(tmp_path, f'{text}\n[[heldout]]\nlayout = "lists"\nfiles = ["a.jsonl"]\ndepth = 3\n'))
    assert recipe.data.options == {"files": ["a.jsonl"], "depth": 7}
    assert recipe.heldout[0].source.options == {"files": ["a.jsonl"]}
    assert recipe.heldout[0].depth == 3


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ('name = "mine"', 'name = "mine"\nseeds = 1', UnknownName, "Did you mean 'seed'"),
        ("rank = 4", "ranks = 4", UnknownName, r"key of \[model.lora\] is called 'ranks'"),
        ("rank = 4", "rank = 0", FormatError, "greater than or equal to 1"),
        ('loss = "query_likelihood"', "", FormatError, "lacks loss"),
        ('loss = "query_likelihood"', 'loss = "x"\nstep = 3', UnknownName, "Did you mean 'steps'"),
        ('loss = "query_likelihood"', 'method = "reinforce"', FormatError, "lacks rewards"),
        ('layout = "lists"', "", FormatError, "lacks layout"),
        ("last = 5", "lost = 5", UnknownName, "Did you mean 'last'"),
        ("[{ last = 5, count = 3 }]", "3", FormatError, "negatives: expected"),
        ("[[stages]]", "[stages]", None, ""),
        ("[[stages]]", "[[stage]]", UnknownName, "Did you mean 'stages'"),
    ],
)
def test_a_wrong_recipe_is_told(old: str, new: str, error: type[Exception] | None, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE.replace(old, new))
    if error is None:
        assert len(read_recipe(path).stages) == 1  # a table alone is a list of one
        return
    with pytest.raises(error, match=words):
        read_recipe(path)


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'query_likelihood'"):
        read_recipe("query_likelyhood")
    with pytest.raises(InputError, match="there is no recipe"):
        read_recipe(tmp_path / "gone.toml")


LISTS = '[[heldout]]\nlayout = "lists"\nfiles = ["a.jsonl"]\n'
REINFORCED = 'method = "reinforce"\nrewards = ["rank"]'


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ('loss = "query_likelihood"', 'loss = "infonse"', UnknownName, "Did you mean 'infonce'"),
        ('loss = "query_likelihood"', 'loss = "infonce"\noptions = { heat = 1 }', UnknownName, "option of the loss 'infonce'"),
        ('loss = "query_likelihood"', 'loss = "language"\nanswer = "ordre"', UnknownName, "Did you mean 'order'"),
        ('loss = "query_likelihood"', REINFORCED.replace("rank", "ranks"), UnknownName, "Did you mean 'rank'"),
        (
            'loss = "query_likelihood"',
            f"{REINFORCED}\noptions = {{ anwers = 4 }}",
            UnknownName,
            "Did you mean 'answers'",
        ),
        ('loss = "query_likelihood"', f"{REINFORCED}\naccumulate = 2", InputError, "accumulate"),
        ('reranker = "query_likelihood"', 'reranker = "query_likelyhood"', UnknownName, "Did you mean 'query_likelihood'"),
        ('backend = "mini"', 'backend = "minni"', UnknownName, "Did you mean 'mini'"),
        ('backend = "mini"', "", InputError, "names no model"),
        ('layout = "lists"', 'layout = "list"', UnknownName, "Did you mean 'lists'"),
        ('layout = "lists"', 'layout = "lists"\nmeasures = ["AP"]', UnknownName, "key of the layout 'lists'"),
        ("[[stages]]", '[[heldout]]\nlayout = "pairs"\nfiles = ["a.jsonl"]\n[[stages]]', InputError, "needs first_stage"),
        ("[[stages]]", f'{LISTS}rerank = "dear_listwise(window=5)"\n[[stages]]', InputError, "the step of windows"),
    ],
)
def test_what_there_is_none_of_is_told_before_a_model_is_loaded(
    old: str, new: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        Training.of(read_recipe(written(tmp_path, RECIPE.replace(old, new))), tmp_path / "out", cache=tmp_path)


def test_a_measure_that_there_is_none_of_is_told(tmp_path: Path) -> None:
    heldout = '\n[[heldout]]\nlayout = "lists"\nfiles = ["a.jsonl"]\nmeasures = ["nDGC@10"]\n'
    with pytest.raises(UnknownName):
        Training.of(read_recipe(written(tmp_path, RECIPE + heldout)), tmp_path / "out", cache=tmp_path)


def test_a_folder_of_something_else_is_not_written_into(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, RECIPE))
    with pytest.raises(InputError, match="holds no training"):
        Training.of(recipe, tmp_path, cache=tmp_path)


def test_what_moves_the_weights_is_in_the_digest(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, RECIPE))
    assert replace(recipe, seed=1).digest != recipe.digest
    assert replace(recipe, title="other").digest == recipe.digest


def test_what_was_refused_leaves_no_folder_behind(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, RECIPE))
    (tmp_path / "a.jsonl").write_text('{"query": "q", "candidates": [{"text": "a", "grade": 1}, {"text": "b"}]}\n', encoding="utf-8")
    for backend, data in (("local/nowhere", tmp_path), ("mini", tmp_path / "elsewhere")):
        with pytest.raises(InputError):
            Training.of(recipe, tmp_path / "out", data=data, backend=backend, cache=tmp_path).run()
        assert not (tmp_path / "out").exists()


def test_a_network_of_its_own_is_named_in_place_of_a_backend(tmp_path: Path) -> None:
    network = RECIPE.replace('backend = "mini"', 'network = "mpv"')
    with pytest.raises(UnknownName, match="network"):
        Training.of(read_recipe(written(tmp_path, network)), tmp_path / "out", cache=tmp_path)
    with pytest.raises(InputError, match="takes no backend"):
        Training.of(read_recipe(written(tmp_path, network)), tmp_path / "out", backend="mini", cache=tmp_path)


def test_a_stage_may_have_data_of_its_own(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, RECIPE + '[stages.data]\nlayout = "texts"\nfiles = ["words.jsonl"]\n'))
    assert recipe.stages[0].data is not None
    assert recipe.stages[0].data.layout == "texts"
    with pytest.raises(UnknownName, match="layout"):
        read_groups(Source(layout="text"), tmp_path, tmp_path)
