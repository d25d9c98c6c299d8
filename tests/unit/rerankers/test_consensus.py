"""Consensus: places that a model prefers average out, draws are drawn, and runs without an order have no voice."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from worded import candidates as worded

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.rerankers.consensus import Consensus, Options, by_pairs, by_places, by_reciprocal_ranks
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Decoding, Generated, Notes, Prompt, Query, Ranking

QUERY = Query(query_id="q", text="a door")
TEXTS = ["door", "lamp", "red door", "bird", "door frame", "sea"]


class PlaceLover:
    """Prefers what stands first by so much that a right one from behind passes it only now and then; right ones are those with 'door'."""

    name = "place lover"

    def __init__(self, pull: float = 2.5) -> None:
        self.pull, self.orders = pull, list[list[str]]()

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.orders.append([c.item.item_id for c in candidates])
        pull = [("door" in (c.item.text or "")) * self.pull - place for place, c in enumerate(candidates)]
        order = sorted(range(len(candidates)), key=lambda n: -pull[n])
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=candidates[n].item) for n in order))


class Silent:
    """Answers every second time only."""

    name = "silent"

    def __init__(self, voices: Sequence[bool]) -> None:
        self.voices = list(voices)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        has_voice = self.voices.pop(0)
        ranked = candidates[::-1] if has_voice else candidates
        notes = Notes(status="ok" if has_voice else "fallback", messages=() if has_voice else ("no answer",), cost=Cost(calls=1))
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in ranked), notes=notes)


def texts_of(ranking: Ranking) -> list[str | None]:
    return [candidate.item.text for candidate in ranking.candidates]


@pytest.mark.parametrize("rule", ["places", "reciprocal", "pairs"])
def test_a_liking_for_places_averages_out(rule: str) -> None:
    candidates = worded(TEXTS)
    alone = texts_of(PlaceLover().rerank(QUERY, candidates))
    assert [text for text in alone[:3] if "door" in str(text)] != alone[:3], "alone it puts a wrong one among the first three"
    agreed = Consensus(Options(rerank="bm25", shuffles=60, rule=rule), [PlaceLover()]).rerank(QUERY, candidates)  # type: ignore[arg-type]
    assert all("door" in str(text) for text in texts_of(agreed)[:3])
    assert agreed.notes.status == "ok"


def test_shuffles_stay_within_their_blocks_and_repeat() -> None:
    runs = [PlaceLover(0.0) for _ in range(2)]
    candidates = worded([str(n) for n in range(10)])
    ids = [c.item.item_id for c in candidates]
    for run in runs:
        Consensus(Options(rerank="bm25", shuffles=5, block=4), [run]).rerank(QUERY, candidates)
    assert runs[0].orders == runs[1].orders
    assert runs[0].orders[0] == ids, "the first run sees the order that came"
    for order in runs[0].orders[1:]:
        assert [sorted(order[n : n + 4]) for n in (0, 4, 8)] == [sorted(ids[n : n + 4]) for n in (0, 4, 8)]
    assert any(order != ids for order in runs[0].orders[1:])


def test_runs_that_gave_no_order_have_no_voice() -> None:
    candidates = worded(TEXTS)
    some = Consensus(Options(rerank="bm25", shuffles=2, block=1), [Silent([True, False, True])]).rerank(QUERY, candidates)
    assert texts_of(some) == TEXTS[::-1], "two voices, and not the order that the silent run left"
    assert (some.notes.status, some.notes.cost.calls) == ("completed", 3)
    assert some.notes.messages[0] == "1 of 3 runs gave no order and have no voice"
    none = Consensus(Options(rerank="bm25", shuffles=2), [Silent([False] * 3)]).rerank(QUERY, candidates)
    assert (texts_of(none), none.notes.status, dict(none.notes.reasons)) == (TEXTS, "fallback", {})


def test_each_reason_names_the_places_of_all_runs() -> None:
    agreed = Consensus(Options(rerank="bm25", shuffles=1, block=1), [Silent([True, True])]).rerank(QUERY, worded(["a", "b", "c"]))
    assert [agreed.notes.reasons[c.item.item_id] for c in agreed.candidates] == [f"places {n}, {n} of 2 runs" for n in (1, 2, 3)]


def test_samples_are_drawn_with_seeds_of_their_own() -> None:
    seeds: list[int] = []

    class Seeds(FakeBackend):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generated]:
            seeds.extend(decoding.seed for _ in prompts)
            return super().generate(prompts, decoding)

    backend = Seeds(answer=lambda _: "<answer>[2, 1]</answer>")
    part = make("consensus(rerank='mm_r5(temperature=0.7, modality=text)', shuffles=0, samples=3)", backend=backend)
    part.rerank(QUERY, worded(["a", "b"]))
    assert seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("consensus(rerank='mm_r5', samples=3)", "draws nothing"),
        ("consensus(rerank=ragllava)", "scores each candidate alone"),
        ("consensus(rerank='consensus(rerank=mm_r5)')", "not around consensus"),
        ("consensus(rerank='mm_r5(depth=5)')", "no depth of its own"),
        ("consensus(shuffles=0)", "are no several runs"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        make(name, station="rerankers", backend=FakeBackend())


def test_rules_on_orders_that_are_known() -> None:
    orders = ["abcd", "bacd", "bcad"]
    assert by_places("abcd", orders) == ["b", "a", "c", "d"]
    assert by_reciprocal_ranks("abcd", orders) == ["b", "a", "c", "d"]
    assert by_pairs("abcd", orders) == ["b", "a", "c", "d"]
    assert by_pairs("abc", ["abc", "bca", "cab"]) == ["a", "b", "c"], "a circle: all are equal, and the first stage's order stays"
    outlier = ["abcde", "abcde", "bcdea"]  # one run puts a last: its mean place is no better than b's
    assert by_places("abcde", outlier)[0] == "b"
    assert by_pairs("abcde", outlier)[0] == "a"
