"""Lets a model reason about each candidate and write a grade from 0 to 10, and weighs the grade by how sure the model was of it.

    <think> ... </think><answer>7</answer>        raw = 7 * Pr("7" inside the tag),  score = raw / 10

Source: ERank (arXiv 2509.00520), by its notes; no code was released. Read there: the score, the eleven grades, the order of the prompt,
the tags, an instruction that says what relevant means, 2,048 tokens of each document. Second-hand in the notes: the product over the
tokens of "10", what cannot be read stays behind. Ours: the sentences of the prompt (the released checkpoints were tuned on their authors'
own: give them with `prompt=PATH.toml`), greedy decoding, that an answer with two numbers has none, pictures (the paper is text only),
reference pictures and exclusions, the division by 10. The hybrid with BM25 of the paper is a matter of fusion.

A grade of 0 is 0 however sure the model was, and 9 at 0.5 lies below 5 at 1.0: so the paper has it. A server that gives no
log-probabilities leaves the grade alone, which is said once.

Cost per query: one generation a candidate, with reasoning; all candidates of a chunk in one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmrerank.parts import printed
from mmrerank.prompting.answers import grade_span, read_grade, short
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice
from mmrerank.prompting.queries import QUERY_PIECES, joined, query_parts
from mmrerank.prompting.reasoning import reasoning_of
from mmrerank.protocols import Backend
from mmrerank.rerankers._pointwise import Scores, pointwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend, graded
from mmrerank.types import Candidate, Decoding, Explanation, Generated, Message, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {**QUERY_PIECES, "task": {"instruction"}, "document": set(), "request": set()}
HIGHEST = 10
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})
ALONE = "the backend gives no log-probabilities: the score is the grade alone"


@dataclass(frozen=True, kw_only=True)
class Options:
    instruction: str = "the document helps to answer the query or shows what it wants"  # what relevant means for the task
    modality: ModalityChoice = "both"  # what of a candidate the model sees; the paper shows text
    prompt: str = "erank"
    max_pixels: int = MAX_PIXELS  # of each picture
    page_words: int = 1500  # of each candidate's text; about the 2,048 tokens of the paper
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0


class ERank:
    """Reranks pointwise by a grade after reasoning."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("erank", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options
        self._decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed, logprobs=True)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by grade times probability, equal ones in the incoming order; the reasoning is their explanation.

        An answer without one grade leaves its candidate behind those that have one, without a score and with a message.

        Raises:
            FormatError: a picture of the query cannot be opened.
        """
        options = self._options
        display = Display.of(query, options)
        wish = query_parts(self.prompt, query, options.max_pixels) if candidates else []
        unsure: list[str] = []

        def judge(exhibits: Sequence[Exhibit]) -> Scores:
            answers = self.backend.generate([self._prompt(wish, exhibit) for exhibit in exhibits], self._decoding)
            grades = [graded_answer(answer) for answer in answers]
            unsure.extend(ALONE for grade, answer in zip(grades, answers, strict=True) if grade and answer.logprobs is None)
            return Scores(
                raw=[math.nan if grade is None else grade.value * grade.probability for grade in grades],
                reasons=[_reason(grade, answer.text) for grade, answer in zip(grades, answers, strict=True)],
                explanations=[_explanation(grade, answer) for grade, answer in zip(grades, answers, strict=True)],
                cost=sum((answer.cost for answer in answers[1:]), answers[0].cost),
            )

        ranking = pointwise(query, candidates, show=display.show, judge=judge, to_score=lambda raw: raw / HIGHEST, backend=self.backend)
        return with_messages(ranking, [*display.choices, *unsure[:1]])

    def _prompt(self, wish: Sequence[Part], exhibit: Exhibit) -> Prompt:
        text = self.prompt
        task = text.fill("task", instruction=self._options.instruction)
        parts = joined([task, *wish, text.pieces["document"], *exhibit.parts, text.pieces["request"]])
        return (Message(role="user", parts=tuple(parts)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What an answer says, and how sure of it the model was."""

    value: int
    probability: float = 1.0  # of the tokens that its digits are in; 1 where the backend gives none


def graded_answer(answer: Generated) -> Grade | None:
    """The grade of an answer; None where it has none, or its digits are not found among the tokens, whose sureness nobody knows then.

    >>> tokens, sure = ("<answer>", "1", "0", "</answer>"), (0.0, math.log(0.7), math.log(0.9), 0.0)
    >>> grade = graded_answer(Generated(text="<answer>10</answer>", tokens=tokens, logprobs=sure))
    >>> round(grade.value * grade.probability, 6)
    6.3
    """
    value = read_grade(answer.text, 0, HIGHEST)
    if value is None or answer.logprobs is None:
        return None if value is None else Grade(value=value)
    span = grade_span("".join(answer.tokens or ()), 0, HIGHEST)
    if span is None:
        return None
    total, place = 0.0, 0
    for token, logprob in zip(answer.tokens or (), answer.logprobs, strict=True):
        total += logprob if place < span[1] and place + len(token) > span[0] else 0.0
        place += len(token)
    return Grade(value=value, probability=math.exp(min(total, 0.0)))


def _reason(grade: Grade | None, text: str) -> str:
    sure = "" if grade is None else f"grade {grade.value} of {HIGHEST}, sure by {grade.probability:.3f}"
    return f"{sure}: {short(reasoning_of(text), 160)}" if sure and reasoning_of(text) else sure


def _explanation(grade: Grade | None, answer: Generated) -> Explanation:
    scores = {} if grade is None else {"grade": float(grade.value), "probability": grade.probability}
    return Explanation(reasoning=reasoning_of(answer.text) or answer.text.strip()[:400], scores=scores)


def build(options: Options, backend: Backend) -> ERank:
    return ERank(options, backend)


def tiny() -> ERank:
    return build(Options(), FakeBackend(answer=graded("<think>It says so.</think><answer>{}</answer>")))
