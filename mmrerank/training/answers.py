"""Texts that a model is taught to write, in the forms that the rerankers read; what is taught is read back by a test.

A form is a function of the grades of the candidates, in the order in which a prompt shows them. Equal grades keep that order. Of a prompt
a candidate each gets a text of its own; of one prompt for all there is one text.

Source of each form: the notes of the method at its reranker. None holds reasoning: that is what a teacher or reinforcement brings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mmrerank.errors import UnknownName
from mmrerank.prompting.listings import marks

HIGHEST = 10  # of grades that are written


class Graded(Protocol):
    """What an answer is made of."""

    @property
    def grades(self) -> tuple[float, ...]: ...

    @property
    def teacher(self) -> tuple[float, ...]: ...

    @property
    def texts(self) -> tuple[str, ...]: ...


def _best_first(grades: Sequence[float]) -> list[int]:
    return sorted(range(len(grades)), key=lambda n: -grades[n])


def order(grades: Sequence[float]) -> str:
    """The whole order by number.

    >>> order([0, 2, 1])
    '[2] > [3] > [1]'
    """
    return " > ".join(f"[{n + 1}]" for n in _best_first(grades))


def letters_begun(grades: Sequence[float]) -> str:
    """The whole order by letter, behind an opening bracket that stands there already: FIRST.

    >>> letters_begun([0, 2, 1])
    'B] > [C] > [A]'
    """
    names = marks(len(grades), "letters")
    return " > ".join(f"[{names[n]}]" for n in _best_first(grades)).removeprefix("[")


def final_order(grades: Sequence[float]) -> str:
    """The closing line of DeAR.

    >>> final_order([0, 1])
    '### Final Reranking: [2] > [1]'
    """
    return f"### Final Reranking: {order(grades)}"


def best(grades: Sequence[float]) -> str:
    """The best by number, in tags, behind an empty thought without which its reward is 0: Rank-R1.

    >>> best([0, 2, 1])
    '<think></think><answer>[2]</answer>'
    """
    return f"<think></think><answer>[{_best_first(grades)[0] + 1}]</answer>"


def ids(grades: Sequence[float]) -> str:
    """The whole order as a list, behind an empty thought: MM-R5.

    >>> ids([0, 2, 1])
    '<think></think><answer>[2, 3, 1]</answer>'
    """
    return f"<think></think><answer>[{', '.join(str(n + 1) for n in _best_first(grades))}]</answer>"


def grades_by_mark(grades: Sequence[float]) -> str:
    """A grade from 0 to 10 for each: GroupRank.

    >>> grades_by_mark([0, 2, 1])
    '<reason></reason><answer>{"[1]": 0, "[2]": 10, "[3]": 5}</answer>'
    """
    return f"<reason></reason><answer>{json.dumps({f'[{n}]': grade for n, grade in enumerate(_to_ten(grades), 1)})}</answer>"


def _to_ten(grades: Sequence[float]) -> list[int]:
    """Grades on the scale from 0 to 10, whose top is the best of the group."""
    low, top = min(0.0, *grades), max(grades)
    return [round(HIGHEST * (grade - low) / (top - low)) if top > low else 0 for grade in grades]


def grade(grades: Sequence[float]) -> list[str]:
    """A grade from 0 to 10 of each candidate alone: ERank.

    >>> grade([0, 1])
    ['<answer>0</answer>', '<answer>10</answer>']
    """
    return [f"<answer>{one}</answer>" for one in _to_ten(grades)]


def symbol(grades: Sequence[float]) -> list[str]:
    """Of each candidate alone whether it is relevant: ProRank.

    >>> symbol([0, 2])
    ['0', '1']
    """
    return [str(int(one > 0)) for one in grades]


def judged_ids(grades: Sequence[float], texts: Sequence[str]) -> str:
    """The whole order as a list, behind what is wanted in the words of the best, and of each what it says and how many grades it is off
    that: in place of a teacher's reasons, which say of each page why it helps or does not. MM-R5.

    Without the judgement one token of the order has to decide, and that is not learnt (docs/log.md).

    >>> judged_ids([0, 1], ["a boat", "a red door"])
    '<think>wanted: a red door\\nImage 1: a boat, off by 1\\nImage 2: a red door, off by 0</think><answer>[2, 1]</answer>'
    """
    best = _best_first(grades)[0]
    lines = [f"Image {n}: {text}, off by {grades[best] - one:g}" for n, (text, one) in enumerate(zip(texts, grades, strict=True), 1)]
    thought = "\n".join([f"wanted: {texts[best]}", *lines])
    return ids(grades).replace("<think>", f"<think>{thought}", 1)


FORMS: Mapping[str, Callable[[Sequence[float]], str | list[str]]] = {
    form.__name__: form for form in (order, letters_begun, final_order, best, ids, grades_by_mark, grade, symbol)
}
DESCRIBED: Mapping[str, Callable[[Sequence[float], Sequence[str]], str]] = {"judged_ids": judged_ids}  # of what candidates say, too


def answers_for(name: str) -> Callable[[Graded, int], list[str]]:
    """What writes the texts of one group, by the teacher's scores where it has some, else by the grades.

    Raises:
        UnknownName: there is no form of that name.
    """
    if name not in (*FORMS, *DESCRIBED):
        raise UnknownName.among("answer", name, (*FORMS, *DESCRIBED))

    def write(sample: Graded, count: int) -> list[str]:
        wanted = sample.teacher or sample.grades
        text = DESCRIBED[name](wanted, sample.texts) if name in DESCRIBED else FORMS[name](wanted)
        return text if isinstance(text, list) else [text] * count

    return write
