"""Grades candidates by relevance and by further criteria, and orders by the weighted sum; the first turn may write the criteria.

    F = R + sum_k w_k P_k        relevance R in 0..10, criteria P_k in 0..5, w_k = 0.5;  dropped where R < 3
    raw = F, score = F / the best F there is;  of a dropped candidate raw = R, which is below every F

Source: REBEL (arXiv 2504.07104, code microsoft/REBEL), by its notes. Read there: the formula, the scales, the five criteria of one turn,
two turns of which the first sees the query alone, relevance-only as a control (`criteria=""`), batches of 10 in the incoming order.
Ours: the sentences of the prompts; grades in JSON, summed up here (there the model works F out in its head and prints that alone, and the
parser loses its decimals); the first turn writes criteria and no whole prompt, so that no slot can be lost; what is dropped is named in
`notes.irrelevant` and stays in the ranking; pictures, reference pictures and exclusions; criteria for pages. Sums alone, as the released
form has them (`Doc: 2, Relevance: 12.5`), are read as F; grades that are not there count as 0, and a message says so. In the paper it
raised the quality of answers more than that of rankings, and it judges by what a text says of itself.

Cost per query: ceil(n / group) generations with reasoning in one call, and one more before them with `turns=2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.prompting.criteria import RELEVANCE, Criterion, best_sum, composite, read_criteria, read_criteria_answer, read_grades
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Exhibit, ModalityChoice
from mmrerank.prompting.listings import user
from mmrerank.prompting.queries import QUERY_PIECES, query_parts
from mmrerank.prompting.reasoning import passages, reasoning_of
from mmrerank.protocols import Backend
from mmrerank.rerankers._groupwise import GroupScores, groupwise
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers._rankings import attempt, some_of, with_messages
from mmrerank.testing.fakes import FakeBackend, graded
from mmrerank.types import Candidate, Cost, Explanation, Generated, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **{"task": set(), "criterion": {"name", "low", "high"}, "weigh": set(), "document": {"number"}, "request": {"count", "form"}},
    **{"write": set(), "write_form": set()},
    **QUERY_PIECES,
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    criteria: str = "general"  # shipped ("general", "pages") or a path.toml; "": relevance alone
    turns: Literal[1, 2] = 1  # 2: the model first writes criteria for the query; where it cannot, those named here count
    minimum: float = 3.0  # relevance below which a candidate is dropped; 0 keeps everything
    group: int = 10  # candidates that are graded together
    shuffle: bool = False  # whether batches are drawn at random; else they follow the incoming order
    modality: ModalityChoice = "both"  # what of a candidate the model sees; the paper shows text
    prompt: str = "rebel"
    max_pixels: int = MAX_PIXELS  # of each picture
    page_words: int = 400  # of each candidate's text
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group < 1 or not 0 <= self.minimum <= best_sum(()):
            raise InputError(f"group counts from 1, minimum lies in 0..{best_sum(()):g}; got {self.group} and {self.minimum}")


class Rebel:
    """Reranks groupwise by relevance and further criteria."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("rebel", options)
        prompt, criteria = read_prompt(options.prompt, PIECES), read_criteria(options.criteria)
        self.prompt = replace(prompt, digest="+".join(filter(None, (prompt.digest, criteria.digest))))  # both move the result
        self.criteria = criteria.criteria
        self.backend, self._options = backend, options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by F, equal ones in the incoming order; those that are dropped behind, then those that the model left out.

        Raises:
            FormatError: a picture of the query cannot be opened.
        """
        options = self._options
        interview = Interview(query, options, self.backend)
        wish = query_parts(self.prompt, query, options.max_pixels) if candidates else []
        criteria, messages, cost = self._written(interview, wish) if options.turns == 2 and candidates else (self.criteria, [], Cost())

        def judge(groups: Sequence[Sequence[Exhibit]]) -> list[GroupScores]:
            answers = interview.answers([self._prompt(criteria, wish, group) for group in groups])
            return [graded_group(answer, len(group), criteria, options.minimum) for answer, group in zip(answers, groups, strict=True)]

        ranking = groupwise(
            query,
            candidates,
            show=interview.show,
            judge=judge,
            group=options.group,
            shuffle=options.shuffle,
            seed=options.seed,
            to_score=lambda raw: raw / best_sum(criteria),
            threshold=options.minimum / best_sum(criteria),
            backend=self.backend,
        )
        ranking = replace(ranking, notes=replace(ranking.notes, cost=ranking.notes.cost + cost))
        dropped = [item_id for item_id in ranking.item_ids if item_id in ranking.notes.irrelevant]
        losses = [f"dropped, relevance below {options.minimum:g}: {some_of(dropped)}"] if dropped else []
        return with_messages(ranking, [*messages, *losses, *interview.notes])

    def _written(self, interview: Interview, wish: Sequence[Part]) -> tuple[Sequence[Criterion], list[str], Cost]:
        """The criteria of the first turn, or those of the file where none can be read; what is to be said of it, and its cost."""
        prompt = (user(self.prompt.pieces["write"], *wish, self.prompt.fill("write_form")),)
        answers, why = attempt(partial(interview.answers, [prompt]))
        criteria, cost = (read_criteria_answer(answers[0].text), answers[0].cost) if answers else ((), Cost())
        if not criteria:
            why = why or "no criteria in the answer of the first turn"
            return self.criteria, [f"{why}; those of {self._options.criteria or 'relevance alone'} count"], cost
        return criteria, ["criteria for this query: " + ", ".join(f"{c.name} {c.weight:g}" for c in criteria)], cost

    def _prompt(self, criteria: Sequence[Criterion], wish: Sequence[Part], group: Sequence[Exhibit]) -> Prompt:
        text = self.prompt
        scales = [text.fill("criterion", name=c.name, low=c.low, high=c.high) for c in criteria]
        parts: list[Part] = [text.pieces["task"], *scales, *([text.pieces["weigh"]] if criteria else []), *wish]
        for number, exhibit in enumerate(group, 1):
            parts += [text.fill("document", number=number), *exhibit.parts, "\n"]
        form = ", ".join(f'"{name}": ...' for name in (RELEVANCE, *(c.name for c in criteria)))
        return (user(*parts, text.fill("request", count=len(group), form=form)),)


def graded_group(answer: Generated, count: int, criteria: Sequence[Criterion], minimum: float) -> GroupScores:
    """F of each candidate by position, with its grades; of an answer that has sums alone those."""
    reading = read_grades(answer.text, count, criteria)
    lines, whole = passages(answer.text, count, noun="document"), reasoning_of(answer.text)
    scores = reading.sums or {n: composite(row, criteria, minimum) for n, row in reading.rows.items()}
    return GroupScores(
        scores=scores,
        reasons=lines | {n: ", ".join(f"{name} {grade:g}" for name, grade in row.items()) for n, row in reading.rows.items()},
        message=reading.message,
        explanations={n: Explanation(reasoning=lines.get(n, whole), scores=reading.rows.get(n, {})) for n in scores},
        cost=answer.cost,
    )


def build(options: Options, backend: Backend) -> Rebel:
    return Rebel(options, backend)


def tiny() -> Rebel:
    names = (RELEVANCE, "depth", "perspectives", "clarity", "authority", "recency")
    return build(Options(), FakeBackend(answer=graded("<think>1 fits.</think><answer>{}</answer>", r"There are (\d+) documents", names)))
