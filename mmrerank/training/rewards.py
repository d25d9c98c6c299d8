"""What an answer is worth to reinforcement: the rewards of MM-R5, Rank-R1, ProRank, ERank and GroupRank, each by its formula.

Every reward is a pure function of what was written and of what would have been right. Those whose answer is graded as it is written
(format, tags, symbol) read the text themselves, as strictly as published; those over grades take what the reranker's own reader read.

Sources, each by its notes. MM-R5 (arXiv 2506.12364, code i2vec/MM-R5 at 0806019). Read there: both formulas, that their sum is not
weighted, and that the code does not take repeated ids out, so that they push later ones down. It reads the list by evaluating it, which
makes a single id a number without a length: such an answer has no format. Rank-R1 (arXiv 2503.06034, code ielab/llm-rankers at b36517b):
the whole reward. ProRank (arXiv 2506.03487): that format and coarse relevance are rewarded together; the formula is ours. ERank (arXiv
2509.00520): the four cases; the values of all but the first are ours, and only their order moves the training, since advantages are taken
within one candidate's answers. GroupRank (arXiv 2511.11653, version 3): the formula; ours are shares as grade over sum, the base 2, grades
from 7 on as relevant, ties in mean, 0 for a candidate without a grade.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mmrerank.errors import UnknownName
from mmrerank.prompting.answers import read_grade, read_scores

Grades: TypeAlias = "Sequence[Sequence[float | None]]"  # of each candidate's answers; None where one had no grade

# ------------------------------------------------------------------ MM-R5: an order

_ANSWER = re.compile(r"<answer>\[(.*?)\]</answer>")  # no line breaks inside, as in the released code
_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>\[(\d+(?:[ \t]*,[ \t]*\d+)*)\]</answer>", re.DOTALL)


def rank_reward(text: str, positives: Collection[int]) -> float:
    """How far in front the positives (ids from 1) stand, 0..1: the sum of 1/place³ over the best sum there could be.

    >>> round(rank_reward("<answer>[2, 1, 3, 4, 5]</answer>", {3, 2}), 6)
    0.921811
    """
    match = _ANSWER.search(text)
    try:
        ids = [int(piece) for piece in match[1].split(",") if piece.strip()] if match else []
    except ValueError:
        return 0.0
    gain = sum(1 / (ids.index(mark) + 1) ** 3 for mark in positives if mark in ids)
    return gain / sum(1 / place**3 for place in range(1, len(positives) + 1)) if positives else 0.0


def format_reward(text: str, count: int) -> float:
    """Whether an answer follows a thought, times how near its length is to `count`, times the share of ids in 1..count.

    Negative where more than twice as many ids stand there.

    >>> format_reward("<think>a</think><answer>[7, 3, 0, 2]</answer>", 5)
    0.4
    """
    match = _FORMAT.search(text)
    ids = [int(piece) for piece in match[1].split(",")] if match else []
    if len(ids) < 2:
        return 0.0
    nearness = (count - abs(len(ids) - count)) / count
    return nearness * sum(1 <= mark <= count for mark in ids) / len(ids)


# ------------------------------------------------------------------ Rank-R1 and ProRank: a label, a symbol

_LABEL = re.compile(r"<think>.*?</think>\s*<answer>(.*?)</answer>", re.DOTALL)


def label_reward(text: str, labels: Collection[str]) -> float:
    """1 where a thought is followed by an answer that is exactly one of the right labels, such as `[7]`; else 0.

    >>> answers = "<think>a</think><answer>[7]</answer>", "<think>a</think><answer>7</answer>", "<answer>[7]</answer>"
    >>> [label_reward(text, {"[7]"}) for text in answers]
    [1.0, 0.0, 0.0]
    """
    match = _LABEL.search(text)
    return float(match is not None and match[1].strip() in labels)


def symbol_reward(text: str, right: str, symbols: Collection[str] = ("0", "1"), *, form: float = 1.0, meaning: float = 1.0) -> float:
    """`form` where the answer is exactly one of the symbols, and `meaning` beside it where it is the right one.

    >>> [symbol_reward(text, "1") for text in ("1", " 1\\n", "0", "01", "", "yes")]
    [2.0, 2.0, 1.0, 0.0, 0.0, 0.0]
    """
    symbol = text.strip()
    return form * (symbol in symbols) + meaning * (symbol in symbols and symbol == right)


# ------------------------------------------------------------------ ERank: a grade's place among all of a query


def places(grades: Grades) -> list[list[int | None]]:
    """The place of each answer's grade among all answers of a query, from 1, equal ones at the first of theirs; None without a grade.

    >>> places([[9, 6], [7, 3], [2, 6]])
    [[1, 3], [2, 5], [6, 3]]
    """
    pool = [grade for answers in grades for grade in answers if grade is not None]
    return [[None if own is None else 1 + sum(other > own for other in pool) for own in answers] for answers in grades]


def reciprocal_rank_rewards(
    grades: Grades,
    positives: Collection[int],
    reference: Sequence[float],
    *,
    above: float = -1.0,
    unread: float = -2.0,
    highest: float = 10.0,
) -> list[list[float]]:
    """For each candidate of a query the reward of each of its answers.

    Args:
        grades: of the answers of each candidate, as read.
        positives: which of the candidates are relevant.
        reference: of each candidate, the grade that the model gave before reinforcement.
        above: for a negative in front of any answer of a positive.
        unread: for an answer without a grade.

    Returns:
        1 / place for positives; for negatives behind all positives 1 less the squared distance from the reference, over `highest`.

    >>> reciprocal_rank_rewards([[9, 6], [7, 3], [2, None]], {0}, [8, 4, 4])
    [[1.0, 0.3333333333333333], [-1.0, 0.99], [0.96, -2.0]]
    """
    ranks = places(grades)
    last = max((rank for n in positives for rank in ranks[n] if rank is not None), default=0)

    def reward(n: int, grade: float | None, rank: int | None) -> float:
        if grade is None or rank is None:
            return unread
        if n in positives:
            return 1 / rank
        return above if rank < last else 1 - ((grade - reference[n]) / highest) ** 2

    return [[reward(n, *pair) for pair in zip(row, ranks[n], strict=True)] for n, row in enumerate(grades)]


# ------------------------------------------------------------------ GroupRank: a grade for each of a group

_TAGS = re.compile(r"<reason>.*?</reason>\s*<answer>(.*?)</answer>", re.DOTALL)


def group_reward(text: str, gold: Sequence[float], *, recall_weight: float = 0.2, distribution_weight: float = 0.1) -> float:
    """-0.5 without the tags, -0.1 where what is in them is no JSON object, else `group_utility` of the grades that the reader reads.

    >>> answer = '<reason>a</reason><answer>{"[1]": 8, "[2]": 2, "[3]": 5}</answer>'
    >>> [round(group_reward(text, [10, 1, 4]), 7) for text in (answer, answer.replace("}", ""), answer[17:])]
    [1.2983798, -0.1, -0.5]
    """
    match = _TAGS.search(text)
    if match is None:
        return -0.5
    try:
        content = json.loads(re.sub(r"^\s*```(?:json)?|```\s*$", "", match[1]))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return -0.1
    scores = read_scores(text, len(gold)).scores
    grades = [scores.get(n, 0.0) for n in range(len(gold))]
    return group_utility(grades, gold, recall_weight=recall_weight, distribution_weight=distribution_weight)


def group_utility(grades: Sequence[float], gold: Sequence[float], *, recall_weight: float = 0.2, distribution_weight: float = 0.1) -> float:
    """nDCG@10, plus `recall_weight` times Recall@10, plus `distribution_weight` times (1 - `divergence`)."""
    ranking = _tied_ndcg(grades, gold, 10) + recall_weight * _tied_recall(grades, gold, 10)
    return ranking + distribution_weight * (1 - divergence(grades, gold))


def divergence(grades: Sequence[float], gold: Sequence[float]) -> float:
    """The Jensen-Shannon divergence of two lists of grades as shares, in bits: 0 for equal, 1 for disjoint ones.

    >>> round(divergence([8, 2, 5], [10, 1, 4]), 7), divergence([1, 0], [0, 1])
    (0.016202, 1.0)
    """
    p, q = (_shares(x) for x in (grades, gold))
    middle = (p + q) / 2
    terms = [x[x > 0] * np.log2(x[x > 0] / middle[x > 0]) for x in (p, q)]
    return float(sum(term.sum() for term in terms) / 2)


def _shares(grades: Sequence[float]) -> np.ndarray:
    values = np.asarray(grades, dtype=np.float64)
    return values / values.sum() if values.sum() > 0 else np.full(len(values), 1 / len(values))


def _mean_over_ties(grades: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """(n,) what stands at each place on average over the orders of equal grades, which a constant grade could not win by."""
    own, worth = np.asarray(grades, dtype=np.float64), np.asarray(values, dtype=np.float64)
    means = {grade: worth[own == grade].mean() for grade in set(own.tolist())}
    return np.array([means[grade] for grade in sorted(own.tolist(), reverse=True)])


def _tied_ndcg(grades: Sequence[float], gold: Sequence[float], cutoff: int) -> float:
    discounts = 1 / np.log2(np.arange(2, len(gold) + 2))[:cutoff]
    best = float((np.sort(np.asarray(gold, dtype=np.float64))[::-1][:cutoff] * discounts).sum())
    return float((_mean_over_ties(grades, gold)[:cutoff] * discounts).sum()) / best if best else 0.0


def _tied_recall(grades: Sequence[float], gold: Sequence[float], cutoff: int, least: float = 7.0) -> float:
    relevant = [float(grade >= least) for grade in gold]
    return float(_mean_over_ties(grades, relevant)[:cutoff].sum()) / sum(relevant) if any(relevant) else 0.0


# ------------------------------------------------------------------ by name


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer to one prompt, and what is known of the candidates that the prompt showed."""

    query_id: str
    prompt: int  # which of the query's prompts; 0 where one prompt shows all candidates
    text: str
    grades: tuple[float, ...]  # of the candidates shown, in their order
    reference: str = ""  # what the model wrote before reinforcement, greedily; for rewards that ask for it

    @property
    def right(self) -> set[int]:
        """The relevant ones, from 1."""
        return {n for n, grade in enumerate(self.grades, 1) if grade > 0}


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A reward of many answers at once, since some depend on one another."""

    function: Callable[[Sequence[Answered]], list[float]]
    asks_reference: bool = False


def _each(reward: Callable[[Answered], float]) -> Reward:
    return Reward(function=lambda answers: [reward(one) for one in answers])


def _gold(grades: Sequence[float]) -> list[float]:
    """Grades on the scale of 0 to 10 that answers are written in."""
    best = max(grades, default=0)
    return [10 * max(grade, 0) / best if best > 0 else 0.0 for grade in grades]


def _by_place(answers: Sequence[Answered]) -> list[float]:
    """`reciprocal_rank_rewards` of the answers of each query."""
    rewards: dict[int, float] = {}
    for query_id in dict.fromkeys(one.query_id for one in answers):
        rows: dict[int, list[int]] = {}
        for n, one in enumerate(answers):
            if one.query_id == query_id:
                rows.setdefault(one.prompt, []).append(n)
        grades = [[read_grade(answers[n].text) for n in row] for row in rows.values()]
        positives = {place for place, row in enumerate(rows.values()) if answers[row[0]].right}
        reference = [float(read_grade(answers[row[0]].reference) or 0) for row in rows.values()]
        for row, values in zip(rows.values(), reciprocal_rank_rewards(grades, positives, reference), strict=True):
            rewards |= dict(zip(row, values, strict=True))
    return [rewards[n] for n in range(len(answers))]


REWARDS: Mapping[str, Reward] = {
    "rank": _each(lambda one: rank_reward(one.text, one.right)),
    "format": _each(lambda one: format_reward(one.text, len(one.grades))),
    "label": _each(lambda one: label_reward(one.text, {f"[{n}]" for n in one.right})),
    "symbol": _each(lambda one: symbol_reward(one.text, str(int(bool(one.right))))),
    "group": _each(lambda one: group_reward(one.text, _gold(one.grades))),
    "reciprocal_rank": Reward(function=_by_place, asks_reference=True),
}


def named_reward(name: str) -> Reward:
    """The reward of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in REWARDS:
        raise UnknownName.among("reward", name, REWARDS)
    return REWARDS[name]
