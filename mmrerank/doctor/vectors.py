"""Are an encoder's vectors what they should be, and are those of two encoders the same, such as one served and one loaded here?

Each is asked about the built-in questions, passages and squares: rows of the length it says, finite, unit, the same again, and questions
nearer to the passage that answers them than to another. Two are compared row by row: the cosine of the same text or picture in both. A
wrong pooling, prompt, precision or width of a server shows there, and nowhere else.

Source: ours.  Cost: some thirty texts and pictures an encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmrerank.doctor.findings import Finding, guarded
from mmrerank.doctor.pairs import COLOURS, picture_cases, square, text_cases
from mmrerank.encoders import prepared
from mmrerank.protocols import Encoder, QueryEncoder
from mmrerank.types import Array

SAME = 0.999  # cosine of one text by two encoders: what half precision and another batch move stays above
UNIT = 1e-3
OTHER = (
    "One of them pools, prompts, cuts or normalises otherwise, or holds other weights: rows of the one cannot be searched with queries of "
    "the other."
)


def examine_encoders(encoders: Sequence[Encoder]) -> Iterator[Finding]:
    """The findings on each encoder, and on each after the first beside it."""
    for encoder in encoders:
        yield from guarded(encoder.name, lambda e=encoder: sound(e))  # type: ignore[misc]
        for what in sorted(encoder.takes):
            label = f"{encoder.name}, {'texts' if what == 'text' else 'pictures'} apart"
            if "text" in encoder.takes:
                yield from guarded(label, lambda e=encoder, n=label, w=what: nearer(e, n, pictures=w == "image"))  # type: ignore[misc]
    for other in encoders[1:]:
        yield from guarded(f"{encoders[0].name} beside {other.name}", lambda o=other: alike(encoders[0], o))  # type: ignore[misc]


def sound(encoder: Encoder) -> Finding:
    """Whether its rows are unit rows of the length it says, and the same again alone."""
    values = _texts() if "text" in encoder.takes else _pictures()
    rows, alone = _rows(encoder, values), _rows(encoder, values[:1])
    lengths = np.linalg.norm(rows, axis=1)
    faults = []
    if rows.shape != (len(values), encoder.dimension):
        faults.append(f"rows of the shape {rows.shape} where {(len(values), encoder.dimension)} is promised")
    elif not np.isfinite(rows).all():
        faults.append("rows that are not finite numbers")
    elif np.abs(lengths - 1).max() > UNIT:
        faults.append(f"rows of the lengths {lengths.min():.3f} to {lengths.max():.3f} where unit rows are promised")
    elif cosine(rows[:1], alone)[0] < SAME:
        faults.append(f"the same text alone and among others has the cosine {cosine(rows[:1], alone)[0]:.4f}")
    if faults:
        return Finding(name=encoder.name, level="wrong", detail="; ".join(faults), mend="Mend the encoder, or the server behind it.")
    return Finding(name=encoder.name, level="ok", detail=f"{encoder.dimension} numbers a row, unit rows, the same alone and among others")


def nearer(encoder: Encoder, label: str, *, pictures: bool) -> Finding:
    """Whether each question is nearer to what answers it than to what does not."""
    cases = picture_cases() if pictures else text_cases()
    questions = _rows(encoder, [case.query.text or "" for case in cases], queries=True)
    sides = [[square(item.item_id) if pictures else item.text or "" for item in (case.right, case.wrong)] for case in cases]
    right, wrong = (cosine(questions, _rows(encoder, [side[n] for side in sides])) for n in (0, 1))
    count = int((right > wrong).sum())
    detail = (
        f"nearer to the right one in {count} of {len(cases)}; cosines {right.min():.3f} to {right.max():.3f}, of wrong ones {_range(wrong)}"
    )
    if count == len(cases):
        return Finding(name=label, level="ok", detail=detail)
    mend = "Few of these pairs are missed by an encoder that was trained for this: is it, and are its prompts the right ones?"
    return Finding(name=label, level="wrong" if count <= len(cases) / 2 else "note", detail=detail, mend=mend)


def _range(values: Array) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def alike(one: Encoder, other: Encoder) -> Finding:
    """Whether two encoders give the same rows of the same texts and pictures."""
    label = f"{one.name} beside {other.name}"
    common = one.takes & other.takes
    if one.dimension != other.dimension or not common:
        detail = f"{one.dimension} numbers a row and {other.dimension}; both take {', '.join(sorted(common)) or 'nothing in common'}"
        return Finding(name=label, level="wrong", detail=detail, mend=OTHER)
    cosines = {
        kind: cosine(_rows(one, values, queries=kind == "questions"), _rows(other, values, queries=kind == "questions"))
        for kind, values in _shared(common).items()
    }
    detail = "least cosine of the same row: " + ", ".join(f"{kind} {values.min():.4f}" for kind, values in cosines.items())
    if all(values.min() >= SAME for values in cosines.values()):
        return Finding(name=label, level="ok", detail=detail)
    return Finding(name=label, level="wrong", detail=f"{detail}; {SAME} is expected", mend=OTHER)


def _shared(common: frozenset[Any]) -> dict[str, list[Any]]:
    """What both are asked about: questions and passages apart, since a prompt is often for one of them."""
    texts = {"questions": [case.query.text or "" for case in text_cases()], "passages": _texts()} if "text" in common else {}
    return {**texts, **({"pictures": _pictures()} if "image" in common else {})}


def _texts() -> list[Any]:
    return [item.text or "" for case in text_cases() for item in (case.right, case.wrong)]


def _pictures() -> list[Any]:
    return [square(colour) for colour in COLOURS]


def _rows(encoder: Encoder, values: Sequence[Any], *, queries: bool = False) -> Array:
    """(n, dimension) rows; of questions as what is asked, where the encoder tells that apart."""
    encode = encoder.encode_queries if queries and isinstance(encoder, QueryEncoder) else encoder.encode
    return np.asarray(encode([prepared(encoder, value) for value in values]), dtype=np.float32)


def cosine(rows: Array, others: Array) -> Array:
    """(n,) of each row and the one beside it, whatever their lengths."""
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((rows * others).sum(axis=1) / np.maximum(scale, 1e-12), dtype=np.float32)
