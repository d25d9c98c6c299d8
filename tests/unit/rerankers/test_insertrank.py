"""InsertRank: scores on every scale, shuffles that are undone, answers with too little in them, and the plain prompt without scores."""

from __future__ import annotations

import random
import re
from typing import Any, get_args

import numpy as np
import pytest
from listed import lines_of, numbered, oracle, text_of
from makers import InMemory, coloured

from mmrerank.errors import InputError
from mmrerank.rerankers._first_stage import Scale, printed_scores, scaled
from mmrerank.rerankers.insertrank import Options, build
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query

QUERY = Query(query_id="q", text="the largest number")
SCALES: tuple[Scale, ...] = tuple(scale for scale in get_args(Scale) if scale != "none")


def printed(prompt: Prompt) -> dict[str, str]:
    """Mark -> the score below it."""
    return dict(re.findall(r"\[(\d+)\] .*\nretrieval score: (.*)", text_of(prompt)))


def echoing(sign: int) -> Any:
    """A model that orders by the score in print; ranks fall where scores rise."""

    def answer(prompt: Prompt) -> str:
        scores = printed(prompt)
        return " > ".join(f"[{mark}]" for mark in sorted(scores, key=lambda mark: sign * float(scores[mark])))

    return answer


def identity(prompt: Prompt) -> str:
    return str([int(mark) for mark in lines_of(prompt)])


def scored(scores: list[float | None]) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"{n}", text=f"text {n}"), score=score) for n, score in enumerate(scores)]


@pytest.mark.parametrize("order", ["incoming", "reversed", "shuffled"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_model_that_echoes_the_scores_gives_the_first_stage(scale: Scale, order: Any) -> None:
    for seed in range(3):
        double = FakeBackend(answer=echoing(1 if scale == "rank" else -1))
        candidates = scored(sorted(map(float, random.Random(seed).sample(range(1, 90), 30)), reverse=True))
        ranking = build(Options(scale=scale, order=order, seed=seed), double).rerank(QUERY, candidates)
        assert ranking.item_ids == tuple(f"{n}" for n in range(30))
        assert ranking.notes.status == "ok"
        assert len(double.prompts) == 2


def test_a_model_that_keeps_the_order_gives_back_what_it_was_shown() -> None:
    for order in ("incoming", "reversed", "shuffled"):
        double = FakeBackend(answer=identity)
        ranking = build(Options(order=order, seed=3), double).rerank(QUERY, numbered(range(9)))
        laid_out = [line.removeprefix("worth ") for line in lines_of(double.prompts[0]).values()]
        assert list(ranking.item_ids) == laid_out
        assert (laid_out == [str(n) for n in range(9)]) == (order == "incoming")


def test_the_scales() -> None:
    scores = np.array([6.0, 4.0, 2.0])
    assert scaled(scores, "raw").tolist() == [6, 4, 2]
    assert scaled(scores, "unit").tolist() == [1, 0.5, 0]
    assert scaled(scores, "percent").tolist() == [100, 50, 0]
    assert scaled(scores, "maxdiv").tolist() == pytest.approx([1, 2 / 3, 1 / 3])
    assert scaled(scores, "zscore").tolist() == pytest.approx([1.2247449, 0, -1.2247449])
    assert scaled(scores, "rank").tolist() == [1, 2, 3]


@pytest.mark.parametrize("scores", [[3.0, 3.0, 3.0], [3.0], [0.2, -0.4, -0.9], []])
def test_no_scale_gives_what_is_no_number(scores: list[float]) -> None:
    for scale in SCALES:
        if scale != "maxdiv" or (scores and min(scores) > 0):
            values = scaled(np.array(scores, dtype=np.float64), scale)
            assert np.isfinite(values).all()
            assert values.shape == (len(scores),)
    assert set(scaled(np.array([3.0, 3.0]), "unit")) == {1.0}
    assert set(scaled(np.array([3.0, 3.0]), "zscore")) == {0.0}


def test_a_share_of_the_best_needs_scores_above_zero() -> None:
    with pytest.raises(InputError, match=r"above 0; got -0\.500"):
        build(Options(scale="maxdiv"), FakeBackend()).rerank(QUERY, scored([0.5, -0.5]))


def test_scores_are_scaled_over_all_candidates_not_over_a_window() -> None:
    double = FakeBackend(answer=identity)
    build(Options(), double).rerank(QUERY, scored([float(n) for n in range(29, -1, -1)]))
    tail, head = map(printed, double.prompts)
    assert (head["1"], head["20"], tail["1"], tail["20"]) == ("1.000", "0.345", "0.655", "0.000")


def test_a_candidate_without_a_score_says_so_and_is_no_zero() -> None:
    double = FakeBackend(answer=identity)
    ranking = build(Options(), double).rerank(QUERY, scored([2.0, None, 1.0, float("nan")]))
    assert printed(double.prompts[0]) == {"1": "1.000", "2": "not available", "3": "0.000", "4": "not available"}
    assert ranking.notes.messages[0] == "2 of 4 candidates have no score of the first stage; the prompt says so"
    assert ranking.notes.reasons["1"] == "retrieval score not available"
    assert printed_scores(scored([2.0]), "none") == ({}, [])


def test_without_scores_the_prompt_is_the_same_less_what_is_said_of_them() -> None:
    plain, with_scores = FakeBackend(answer=identity), FakeBackend(answer=identity)
    build(Options(scale="none"), plain).rerank(QUERY, numbered(range(3)))
    build(Options(scale="unit", label="BM25 score"), with_scores).rerank(QUERY, numbered(range(3)))
    text, scored_text = text_of(plain.prompts[0]), text_of(with_scores.prompts[0])
    assert "score" not in text
    assert "\n\n\n" not in text
    bare = re.sub(r"\nBM25 score: \d\.\d{3}", "", scored_text)
    assert bare != scored_text
    listing = text[text.index("Order the") : text.index("Compare the")]
    assert listing == bare[bare.index("Order the") : bare.index("Compare the")]
    assert listing.endswith("[1] worth 0\n[2] worth 1\n[3] worth 2\n\n")
    assert "BM25 score" in scored_text.split("[1]")[0], "what the numbers are is said before them"


@pytest.mark.parametrize(
    ("answer", "order", "status"),
    [
        ("[2, 1, 3, 4]", "1023", "ok"),
        ("Ranking: [2] > [1] > [3] > [4]", "1023", "ok"),
        ("2, 1, 3, 4", "1023", "ok"),
        ("2\n1\n3\n4", "1023", "ok"),
        ('{"ranking": ["2", "1", "3", "4"]}', "1023", "ok"),
        ("<think>[4, 3, 2, 1] by BM25 score: 12.3</think>[2, 1, 3, 4]", "1023", "ok"),
        ("[2, 1, 2, 3, 4]", "1023", "repaired"),
        ("[2, 1, 9]", "1023", "repaired"),
        ("[2, 1]", "1023", "completed"),
        ("[2]", "0123", "fallback"),  # fewer than half
        ("", "0123", "fallback"),
        ("The scores 0.913 and 0.200 say nothing.", "0123", "fallback"),
        ("[2, 1, 3", "0123", "fallback"),
    ],
)
def test_broken_answers(answer: str, order: str, status: str) -> None:
    ranking = build(Options(), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, numbered(range(4)))
    assert ("".join(ranking.item_ids), ranking.notes.status) == (order, status)


def test_what_a_shuffled_answer_leaves_out_follows_as_it_came() -> None:
    double = FakeBackend(answer=lambda prompt: "[1] > [2] > [3] > [4] > [5]")
    ranking = build(Options(order="shuffled"), double).rerank(QUERY, numbered(range(10)))
    rest = [int(item_id) for item_id in ranking.item_ids[5:]]
    assert rest == sorted(rest)
    assert ranking.notes.status == "completed"
    tenth = build(Options(order="shuffled"), FakeBackend(answer=lambda prompt: "[1] > [2]")).rerank(QUERY, numbered(range(10)))
    assert tenth.item_ids == tuple(f"{n}" for n in range(10))
    assert "only 2 of 10 marks" in tenth.notes.messages[0]


def test_the_same_seed_gives_the_same_prompt() -> None:
    def prompts(seed: int) -> list[str]:
        double = FakeBackend(answer=identity)
        build(Options(order="shuffled", seed=seed), double).rerank(QUERY, numbered(range(30)))
        return [text_of(prompt) for prompt in double.prompts]

    assert prompts(1) == prompts(1) != prompts(2)


def test_an_oracle_reaches_the_ceiling_whatever_the_order_in_which_it_is_shown() -> None:
    numbers = random.Random(2).sample(range(40), 40)
    for order in ("incoming", "reversed", "shuffled"):
        ranking = build(Options(order=order), FakeBackend(answer=oracle("{}"))).rerank(QUERY, numbered(numbers))
        assert [numbers[int(item_id)] for item_id in ranking.item_ids[:10]] == list(range(39, 29, -1))


def test_reasons_tell_score_and_reasoning() -> None:
    answer = "Passage 2 is larger.\nFinal ranking: [2] > [1]"
    ranking = build(Options(), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, numbered([1, 2]))
    assert ranking.notes.reasons == {
        "1": "retrieval score 0.000; Passage 2 is larger.",
        "0": "retrieval score 1.000",
    }


def test_pictures_and_exclusions_reach_the_model() -> None:
    query = Query(text="in green", images=(InMemory(coloured(3)),), exclude_text=("a boat",), exclude_images=(InMemory(coloured(5)),))
    double = FakeBackend(answer=identity)
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)), text="seen"), score=1.0 - n) for n in range(2)]
    build(Options(modality="both"), double).rerank(query, candidates)
    parts = double.prompts[0][1].parts
    assert sum(not isinstance(part, str) for part in parts) == 4
    assert "a boat" in text_of(double.prompts[0])
    assert str(parts[-3]).startswith("seen\nretrieval score: 1.000\n[2]"), "picture, text, score in that order"
