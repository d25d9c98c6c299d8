"""What a method has to say of a hit beyond its reason: from the drivers through the pipeline into JSON, onto the sheet and to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from makers import InMemory, picture
from worded import QUERY, candidates, show

from mmrerank import rerank
from mmrerank.cli._results import as_json
from mmrerank.pipeline import rerank_candidates
from mmrerank.prompting.answers import order_of
from mmrerank.rerankers import GroupScores, Reply, Scores, groupwise, listwise, pointwise
from mmrerank.results import Hit, SearchResult
from mmrerank.service._responses import ResponseBuilder
from mmrerank.sheet import draw_sheet, explanation_lines
from mmrerank.types import Candidate, Explanation, Item, Notes, Query, Ranking

FULL = Explanation(reasoning="It names the year.", scores={"relevance": 7.0, "depth": 2.5}, steps=("one", "two", "three", "four"))


class Explains:
    """Keeps the order and explains the first."""

    def __init__(self, name: str, explanation: Explanation | None) -> None:
        self.name, self._explanation = name, explanation

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        explanations = {candidates[0].item.item_id: self._explanation} if self._explanation else {}
        return Ranking(query_id=query.query_id, candidates=tuple(candidates), notes=Notes(explanations=explanations))


def result_of(*explanations: Explanation | None) -> SearchResult:
    return rerank_candidates(QUERY, candidates("ab"), [Explains(f"stage_{n}", one) for n, one in enumerate(explanations)])


def test_the_last_stage_that_explains_an_item_counts() -> None:
    other = Explanation(reasoning="another")
    assert [hit.explanation for hit in result_of(FULL, None)] == [FULL, None]
    assert result_of(FULL, other)[0].explanation == other
    assert [one.explanation for one in rerank("x", ["a", "b"], Explains("one", FULL))] == [FULL, None]


def test_json_has_the_field_only_where_there_is_something_to_say() -> None:
    first, second = as_json(result_of(FULL))["hits"]
    assert first["explanation"] == {
        "reasoning": "It names the year.",
        "scores": {"relevance": 7.0, "depth": 2.5},
        "steps": ["one", "two", "three", "four"],
    }
    assert list(second) == ["rank", "item_id", "score", "raw_score", "calibrated_score", "document_id", "page_number", "reason"]


def test_the_service_hides_places_of_this_machine_in_it() -> None:
    builder = ResponseBuilder("c", lambda text: text.replace("/home/me", "..."))
    steps = Explanation(reasoning="seen in /home/me/a.png", steps=("from /home/me",))
    hits = builder.search(result_of(steps), []).hits
    assert hits[0].explanation is not None
    assert (hits[0].explanation.reasoning, hits[0].explanation.steps) == ("seen in .../a.png", ["from ..."])
    assert hits[1].explanation is None


def test_the_sheet_has_the_scores_and_the_last_steps() -> None:
    def hit(explanation: Explanation | None) -> Hit:
        item = Item(item_id="a", image=InMemory(picture(1)))
        return Hit(rank=1, item=item, score=0.5, raw_score=None, calibrated_score=None, reason="grade 7", explanation=explanation)

    assert explanation_lines(hit(FULL)) == ["relevance 7, depth 2.5", "1 earlier; two; three; four"]
    assert explanation_lines(hit(Explanation(reasoning="words"))) == explanation_lines(hit(None)) == []
    repeated = replace(hit(FULL), reason="score 0.5: relevance 7, depth 2.5")
    assert explanation_lines(repeated) == ["1 earlier; two; three; four"]
    assert explanation_lines(hit(Explanation(steps=("one",)))) == []
    heights = [draw_sheet(SearchResult(query=QUERY, hits=(hit(one),), stages=())).height for one in (None, FULL)]
    assert heights[1] > heights[0]


def by_number(texts: Sequence[str]) -> Reply:
    return Reply(order=order_of(sorted(range(1, len(texts) + 1), key=lambda mark: -float(texts[mark - 1])), len(texts)))


def test_listwise_says_in_which_window_an_item_rose() -> None:
    ranking = listwise(QUERY, candidates([0, 1, 2, 3, 4, 9]), show=show, rank=by_number, window=4, step=2, noun="pages")
    assert ranking.notes.explanations["item-5"].steps == ("pages 3-6: rose from 6 to 3", "pages 1-4: rose from 3 to 1")
    assert ranking.notes.explanations["item-0"].steps == ("pages 1-4: fell from 1 to 4",)
    alone = listwise(QUERY, candidates([0, 1, 2, 3, 4, 9]), show=show, rank=by_number, window=9, step=2)
    assert alone.notes.explanations == {}  # of one window the ranks say it all


def test_listwise_says_nothing_of_windows_that_could_not_be_read() -> None:
    def lost(texts: Sequence[str]) -> Reply:
        return Reply(order=order_of(None, len(texts)))

    assert listwise(QUERY, candidates(range(6)), show=show, rank=lost, window=4, step=2).notes.explanations == {}


def test_pointwise_hands_on_what_a_judge_explains() -> None:
    def judge(texts: Sequence[str]) -> Scores:
        return Scores(raw=[float(text) for text in texts], explanations=[FULL if text == "7" else None for text in texts])

    ranking = pointwise(QUERY, candidates([1, 7, 3]), show=show, judge=judge, at_once=2)
    assert ranking.notes.explanations == {"item-1": FULL}


def test_groupwise_takes_the_means_of_the_scores_and_lists_every_group() -> None:
    repeat = iter([1.0, 2.0])

    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        depth = next(repeat)
        one = Explanation(reasoning=f"depth {depth:g}", scores={"depth": depth})
        return [GroupScores(scores={n: 5 + n for n in range(len(texts))}, explanations={0: one}) for texts in groups]

    ranking = groupwise(QUERY, candidates([1]), show=show, judge=judge, repeats=2)
    (explanation,) = ranking.notes.explanations.values()
    assert explanation.scores == {"depth": 1.5}
    assert explanation.reasoning == "depth 1\n\ndepth 2"
    assert explanation.steps == ("group 1, number 1 of 1: 5", "group 2, number 1 of 1: 5")


@pytest.mark.parametrize(("threshold", "irrelevant"), [(-np.inf, set()), (0.5, {"item-0"}), (0.2, set()), (9, {"item-0", "item-1"})])
def test_groupwise_names_what_lies_below_a_threshold(threshold: float, irrelevant: set[str]) -> None:
    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        return [GroupScores(scores={n: float(text) for n, text in enumerate(texts)}) for texts in groups]

    ranking = groupwise(QUERY, candidates([2, 5]), show=show, judge=judge, to_score=lambda raw: raw / 10, threshold=threshold)
    assert ranking.item_ids == ("item-1", "item-0")
    assert ranking.notes.irrelevant == irrelevant
