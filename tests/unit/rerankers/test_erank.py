"""ERank: grade times probability, read inside the answer alone; the prompt; what happens where there are no log-probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from graded import COMPOSED, GOLD, QUERY, best_order, grades_in, text_of, worth
from makers import InMemory, coloured

from mmrerank.rerankers.erank import ALONE, Options, build, graded_answer
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Decoding, Generated, Item, Prompt


class Sure(FakeBackend):
    """A double that tells the log-probability of each token: tags, digits and letters are one each, digits as sure as `sure` says."""

    def __init__(self, answer: Callable[[Prompt], str], sure: Callable[[str], float] = lambda digit: 1.0) -> None:
        super().__init__(answer=answer)
        self.sure = sure
        self.decodings: list[Decoding | None] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.decodings.append(decoding)
        answers = super().generate(prompts, decoding)
        return [replace(tokened(answer.text, self.sure), cost=answer.cost) for answer in answers]


def tokened(text: str, sure: Callable[[str], float] = lambda digit: 1.0) -> Generated:
    tokens = tuple(re.findall(r"</?\w+>|\d|[^\d<]+|<", text))
    assert "".join(tokens) == text
    return Generated(text=text, tokens=tokens, logprobs=tuple(math.log(sure(token)) if token.isdigit() else -2.0 for token in tokens))


def oracle(prompt: Prompt) -> str:
    (grade,) = grades_in(prompt)
    return f"<think>Others have 4 or 10, this one not.</think><answer>{grade}</answer>"


def test_ten_is_two_tokens_whose_probabilities_are_multiplied() -> None:
    answer = tokened("<answer>10</answer>", lambda digit: {"1": 0.7, "0": 0.9}[digit])
    grade = graded_answer(answer)
    assert grade is not None
    assert grade.value * grade.probability == pytest.approx(6.3)


def test_any_zero_is_zero_and_keeps_the_incoming_order() -> None:
    ranking = build(Options(), Sure(lambda prompt: "<answer>0</answer>", lambda digit: 0.3)).rerank(QUERY, worth([1, 2, 3]))
    assert ranking.item_ids == ("item-0", "item-1", "item-2")
    assert [c.score for c in ranking.candidates] == [0.0] * 3


def test_a_sure_five_stands_above_an_unsure_nine() -> None:
    backend = Sure(oracle, lambda digit: {"9": 0.5, "5": 1.0}.get(digit, 1.0))
    ranking = build(Options(), backend).rerank(QUERY, worth([9, 5]))
    assert ranking.item_ids == ("item-1", "item-0")
    assert [c.raw_score for c in ranking.candidates] == pytest.approx([5.0, 4.5])
    assert [c.score for c in ranking.candidates] == pytest.approx([0.5, 0.45])
    assert ranking.notes.reasons["item-0"].startswith("grade 9 of 10, sure by 0.500: Others have 4 or 10")


def test_digits_in_the_thinking_never_count() -> None:
    """The same digit, less sure, in a thought, in a first block and behind the answer."""
    unsure = iter([0.1, 0.1, 0.2, 0.8, 0.3])
    text = "<think>7 of 7 words</think><answer>7</answer> No: <answer>7</answer> 7"
    tokens = tuple(re.findall(r"</?\w+>|\d|[^\d<]+|<", text))
    logprobs = tuple(math.log(next(unsure)) if token.isdigit() else -5.0 for token in tokens)
    grade = graded_answer(Generated(text=text, tokens=tokens, logprobs=logprobs))
    assert grade is not None
    assert (grade.value, grade.probability) == (7, pytest.approx(0.8))


def test_a_token_that_holds_more_than_the_digits_counts_whole() -> None:
    answer = Generated(text="<answer> 8</answer>", tokens=("<answer>", " 8", "</answer>", ""), logprobs=(-1.0, math.log(0.6), -1.0, -9.0))
    grade = graded_answer(answer)
    assert grade is not None
    assert grade.probability == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>9 or 3?</think><answer>7</answer>", 7),
        ("<answer>7", 7),
        ("<answer>2</answer><answer>7</answer>", 7),
        ("<think>x</think>The score is 7.", 7),
        ("<answer>11</answer>", None),
        ("<answer>-1</answer>", None),
        ("<answer>7.5</answer>", None),
        ("<answer>7 or 8</answer>", None),
        ("<think>7", None),
        ("<think>7</think>", None),
        ("I cannot tell.", None),
        ("", None),
    ],
)
def test_what_is_read_of_an_answer(text: str, value: int | None) -> None:
    grade = graded_answer(tokened(text))
    assert (None if grade is None else grade.value) == value


def test_an_oracle_reaches_the_ceiling_and_its_reasoning_is_the_explanation() -> None:
    backend = Sure(oracle)
    ranking = build(Options(), backend).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == best_order(GOLD)
    assert ranking.notes.status == "ok"
    assert ranking.notes.messages == ()
    assert ranking.notes.cost.calls == len(backend.prompts) == len(GOLD)
    explanation = ranking.notes.explanations["item-1"]
    assert explanation.reasoning == "Others have 4 or 10, this one not."
    assert explanation.scores == {"grade": 10.0, "probability": 1.0}
    assert [decoding.logprobs for decoding in backend.decodings if decoding] == [True]


class Untold(FakeBackend):
    """A server that tells no log-probabilities."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [replace(answer, logprobs=None, tokens=None) for answer in super().generate(prompts, decoding)]


def test_without_log_probabilities_the_grade_counts_alone_and_that_is_said_once() -> None:
    ranking = build(Options(), Untold(oracle)).rerank(QUERY, worth(GOLD * 8))  # more than one chunk
    assert ranking.item_ids == best_order(GOLD * 8)
    assert ranking.notes.messages == (ALONE,)


def test_what_cannot_be_read_stays_behind_and_is_flagged() -> None:
    def half(prompt: Prompt) -> str:
        return "I cannot tell." if grades_in(prompt)[0] > 8 else oracle(prompt)

    ranking = build(Options(), Sure(half)).rerank(QUERY, worth(GOLD))
    lost = [f"item-{n}" for n, grade in enumerate(GOLD) if grade > 8]
    assert list(ranking.item_ids[-2:]) == lost
    assert [c.score for c in ranking.candidates[-2:]] == [None, None]
    assert ranking.notes.status == "completed"
    assert ranking.notes.messages == tuple(f"{item_id}: no score in the answer" for item_id in lost)


def test_rubbish_leaves_the_order_of_the_first_stage() -> None:
    ranking = build(Options(), Sure(lambda prompt: "{")).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == tuple(f"item-{n}" for n in range(len(GOLD)))
    assert ranking.notes.status == "fallback"


def test_the_prompt_says_what_relevant_means_then_query_document_and_the_list_of_grades() -> None:
    backend = FakeBackend(answer=oracle)
    build(Options(instruction="the same theorem is used", page_words=2), backend).rerank(QUERY, worth([4]))
    text = text_of(backend.prompts[0])
    places = [text.index(piece) for piece in ("the same theorem is used", "Query: the best of them", "Document:\nworth <4>", "0, 1, 2, 3")]
    assert places == sorted(places)
    assert text.endswith("Output:")
    assert "<think>" in text


def test_pictures_exclusions_and_a_composed_query_reach_the_prompt() -> None:
    backend = FakeBackend(answer=lambda prompt: "5")
    candidate = Candidate(item=Item(item_id="a", text="a green door", image=InMemory(coloured(9))))
    build(Options(), backend).rerank(COMPOSED, [candidate])
    text = text_of(backend.prompts[0])
    assert re.search(
        r"picture 1:\nPICTURE\n.*picture 2:\nPICTURE\n.*: in green\n.*: people\n.*: text\n.*picture:\nPICTURE\n", text, re.DOTALL
    )
    assert "Document:\nPICTUREa green door" in text
    build(Options(modality="text"), backend).rerank(QUERY, [candidate])
    assert "PICTURE" not in text_of(backend.prompts[1])
