"""same_object: both pictures in one prompt, several pictures of the query, both orders, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from judged_models import checkpoint, loaded
from makers import InMemory, coloured, picture

from mmrerank.errors import FormatError, InputError
from mmrerank.rerankers.same_object import Options, build
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query


def query(*numbers: int, **more: object) -> Query:
    return Query(query_id="q", images=tuple(InMemory(coloured(n)) for n in numbers), **more)  # type: ignore[arg-type]


def items(*numbers: int) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", image=InMemory(coloured(n)))) for n in numbers]


def pair_of(prompt: Prompt) -> tuple[int, int]:
    """The numbers of the two pictures, in their order."""
    shown = [part.getpixel((0, 0))[0] // 25 for part in prompt[0].parts if not isinstance(part, str)]
    return shown[0], shown[1]


def by_pair(odds: Callable[[int, int], float]) -> FakeBackend:
    def choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        return [odds(*pair_of(prompt)), 0.0]

    return FakeBackend(choose=choose)


def test_both_pictures_stand_in_one_prompt_the_candidates_first() -> None:
    backend = by_pair(lambda first, second: float(first == second))
    ranking = build(Options(), backend).rerank(query(3), items(1, 3, 2))
    assert ranking.item_ids == ("item-3", "item-1", "item-2")
    assert [pair_of(prompt) for prompt in backend.prompts] == [(1, 3), (3, 3), (2, 3)]
    assert ranking.notes.reasons["item-3"] == "P(same) 0.731"


def test_of_several_pictures_the_best_counts_or_the_weighted_mean() -> None:
    backend = by_pair(lambda first, second: 4.0 * (first == second) - second)
    best = build(Options(), backend).rerank(query(1, 2), items(1, 2, 5))
    assert {c.item.item_id: c.raw_score for c in best.candidates} == {"item-1": 3, "item-2": 2, "item-5": -1}
    mean = build(Options(combine="mean"), backend)
    assert {c.item.item_id: c.raw_score for c in mean.rerank(query(1, 2), items(1, 5)).candidates} == {"item-1": 0.5, "item-5": -1.5}
    weighted = mean.rerank(query(1, 2, weights=(3.0, 1.0)), items(1, 5))
    assert {c.item.item_id: c.raw_score for c in weighted.candidates} == {"item-1": 1.75, "item-5": -1.25}
    assert best.notes.cost.calls == 6


def test_both_orders_take_the_liking_for_one_place_out() -> None:
    backend = by_pair(lambda first, second: 5.0 * (first > second))
    one, both = (build(Options(both_ways=ways), backend).rerank(query(3), items(1, 5)) for ways in (False, True))
    assert one.item_ids == ("item-5", "item-1")
    assert [c.raw_score for c in both.candidates] == [2.5, 2.5]
    assert both.item_ids == ("item-1", "item-5")


def test_the_text_of_the_query_is_told_and_exclusions_are_not() -> None:
    backend = FakeBackend()
    ranking = build(Options(), backend).rerank(query(3, text="the clock", exclude_text=("a tower",)), items(1))
    text = "".join(part for part in backend.prompts[0][0].parts if isinstance(part, str))
    assert text.startswith("\nBoth should show: the clock\nDo these two pictures")
    assert ranking.notes.messages == ("exclusions are not told to the model",)
    build(Options(), backend).rerank(query(3), items(1))
    assert "Both should show" not in "".join(part for part in backend.prompts[1][0].parts if isinstance(part, str))


def test_what_has_no_picture_stays_behind_and_a_query_without_one_is_refused() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    mixed = [
        Candidate(item=Item(item_id="words", text="a clock")),
        Candidate(item=Item(item_id="broken", image=Broken())),
        *items(1),
    ]
    ranking = build(Options(), FakeBackend()).rerank(query(3), mixed)
    assert ranking.item_ids == ("item-1", "words", "broken")
    assert ranking.notes.status == "completed"
    with pytest.raises(InputError, match="compares pictures, and the query has none"):
        build(Options(), FakeBackend()).rerank(Query(text="a clock"), items(1))
    with pytest.raises(InputError, match="two choices; the recipe 'graded' has expectation"):
        build(Options(recipe="graded"), FakeBackend())


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_on_a_model_no_score_depends_on_the_batch_or_the_order(architecture: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, architecture)
    asked = Query(images=(InMemory(picture(1, (60, 80))), InMemory(picture(2, (90, 50)))))
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture(n, (40 + 20 * n, 60))))) for n in range(4)]
    options = Options(both_ways=True)
    alone = {c.item.item_id: build(options, loaded(folder)).rerank(asked, [c]).candidates[0].raw_score for c in candidates}
    together = build(options, loaded(folder, batch_size=3)).rerank(asked, candidates[::-1])
    assert {c.item.item_id: c.raw_score for c in together.candidates} == pytest.approx(alone, abs=4e-4)
    assert together.query_id == replace(asked).query_id
