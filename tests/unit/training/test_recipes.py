"""The recipes that ship: each is read, names what there is, and trains for two steps on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained import small, worded, written

from mmrerank.backends import open_backend
from mmrerank.parts import check_name, make
from mmrerank.training.answers import answers_for
from mmrerank.training.collate import Sample
from mmrerank.training.recipe import read_recipe, shipped
from mmrerank.training.rewards import Answered, named_reward
from mmrerank.training.run import Training
from mmrerank.types import Candidate, Item, Query

TEXT = [
    name for name, recipe in ((one, read_recipe(one)) for one in shipped()) if recipe.data.layout == "lists" and not recipe.model.network
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


def test_recipes_ship() -> None:
    assert {"query_likelihood", "qwen3_reranker", "first", "rank_r1", "erank", "grouprank", "prorank", "dear", "e2rank"} <= set(TEXT)


@pytest.mark.parametrize("name", shipped())
def test_a_recipe_says_what_it_is(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.title
    assert recipe.source
    for reranker in filter(None, (*(stage.reranker for stage in recipe.stages), *(heldout.rerank for heldout in recipe.heldout))):
        check_name(reranker, station="rerankers")


BEST = {"label": 1.0, "symbol": 2.0, "group": 1.3, "rank": 1.0, "format": 1.0, "reciprocal_rank": 1.0}
WARMED = [name for name in shipped() if {stage.method for stage in read_recipe(name).stages} == {"supervised", "reinforce"}]


@pytest.mark.parametrize("name", WARMED)
def test_what_a_warm_up_teaches_earns_the_rewards_that_follow(name: str) -> None:
    recipe, grades = read_recipe(name), (0.0, 0.0, 1.0, 0.0)
    form = next(stage.answer for stage in recipe.stages if stage.answer)
    candidates = tuple(Candidate(item=Item(item_id=letter, text=letter)) for letter in "abcd")
    taught = answers_for(form)(Sample(query=Query(query_id="q", text="which"), candidates=candidates, grades=grades), 1)
    shown = [grades] if len(taught) == 1 else [(grade,) for grade in grades]
    answers = [
        Answered(query_id="q", prompt=n, text=text, grades=shown[n], reference="<answer>0</answer>") for n, text in enumerate(taught)
    ]
    for reward in next(stage.rewards for stage in recipe.stages if stage.rewards):
        assert named_reward(reward).function(answers) == pytest.approx([BEST[reward]] * len(answers)), reward


@pytest.mark.parametrize("name", TEXT)
def test_a_text_recipe_trains_two_steps_and_what_it_leaves_ranks(name: str, folder: Path) -> None:
    llama, out = worded(folder, "llama"), folder / name
    recipe = small(name)
    training = Training.of(recipe, out, data=written(folder / "data"), backend=f"local/{llama}(device=cpu)", cache=folder / "cache")
    card = training.run()
    assert card["trained_weights"] > 0
    assert (out / "CARD.md").read_text(encoding="utf-8").startswith("# ")
    assert (out / "curves.png").is_file()
    adapted = open_backend(f"local/{out / 'adapter'}(device=cpu)", cache=None)
    part = make(recipe.stages[-1].reranker, station="rerankers", backend=adapted)
    texts = [Candidate(item=Item(item_id=letter, text=letter * 3)) for letter in "abc"]
    assert sorted(part.rerank(Query(text="which"), texts).item_ids) == ["a", "b", "c"]
