"""Does a reranker do its work with the model behind it? It is made, returns a permutation, reads the answers, and tells right from wrong.

A reranker that scores each candidate alone is asked about pairs of which the right one is known, without any judged data: questions with a
passage that answers and one of something else, coloured squares with the right and the wrong name. Where right and wrong do not part, the
model is asked in other words than it was trained with, its head was lost, or it does not judge. One that follows a recipe is also held to
the recipe's golden pairs.

Cost: one ranking of three items, some twenty scores where they are pointwise, and those of the recipe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from mmrerank.backends import NotingBackend
from mmrerank.doctor.findings import UNKNOWN, Finding, guarded
from mmrerank.doctor.pairs import Case, picture_cases, squares, text_cases
from mmrerank.parts import StagedReranker, check_name, module
from mmrerank.pipeline import NamedReranker
from mmrerank.prompting.recipes import Golden, Recipe
from mmrerank.types import Backend, Candidate, DeclaredView, Item, Modality, PointwiseReranker, Query, Reranker

CHANCE = 0.75  # area under the curve up to which right and wrong are hardly told apart by so few pairs
SAME = 0.05  # of a raw score, beside the recorded one: what another precision or batch moves
NOISE = (
    "It orders by little more than chance: the words or the template are not those it was trained with, its head was lost, or the model "
    "does not judge. `mmrerank doctor --checkpoint PATH` says what its files fit."
)


@runtime_checkable
class RecipeReranker(Protocol):
    """A reranker that asks as a recipe says."""

    recipe: Recipe


def examine_rerankers(
    rerankers: Sequence[NamedReranker], backend: Backend | None = None, *, recorded: Mapping[str, Mapping[str, float]] | None = None
) -> Iterator[Finding]:
    """Whether each of these does its work: it is made, returns a permutation, reads the answers of its model, its name makes it again, and
    its scores part right from wrong. One that works on descriptors is not tried, since there are none here.

    Args:
        recorded: raw scores of each reranker's pairs as measured before, by its name; see `raw_scores`.
    """
    for reranker in rerankers:
        name = str(reranker.stage)
        lacks = reranker.needs - ({"backend"} if backend is not None else set())
        if lacks:
            mend = "" if lacks == {"descriptors"} else "Name one: --backend NAME, or behind a slash after the reranker's name."
            yield Finding(name=name, level="note", detail=f"not tried: it needs {', '.join(sorted(lacks))}", mend=mend)
            continue
        yield from tried(reranker, name, backend, sees=True)
        yield from told_apart(reranker, name, backend)
        if recorded is not None and name in recorded:
            yield from guarded(f"{name}, recorded values", lambda r=reranker, n=name: compared(n, raw_scores(r, backend), recorded[n]))  # type: ignore[misc]


def tried(reranker: NamedReranker, name: str, backend: Backend | None, *, sees: bool) -> Iterator[Finding]:
    """Whether a reranker reads the answers; without pictures by texts, where it looks at texts too."""
    looks_at = views(reranker)
    if not sees and looks_at is not None and "text" not in looks_at:
        yield Finding(name=name, level="note", detail="not tried: it looks at pictures, and the model takes none")
    else:
        yield from guarded(name, lambda: _reads(reranker, name, backend, looks_at if sees else frozenset({"text"})))


def _reads(reranker: NamedReranker, name: str, backend: Backend | None, looks_at: frozenset[Modality] | None) -> Finding:
    """Whether a reranker can read this model's answers, and keeps to what every reranker promises."""
    own = reranker.backend or backend
    listening = None if own is None else NotingBackend(own)
    part = _made(reranker, listening)
    candidates = squares(looks_at)
    ranking = part.rerank(Query(text="a green square"), candidates)
    if sorted(ranking.item_ids) != sorted(candidate.item.item_id for candidate in candidates):
        return Finding(name=name, level="wrong", detail="what it returns is no permutation of its candidates", mend="Mend its rerank().")
    check_name(part.name, station="rerankers")  # which makes it again
    if ranking.notes.status == "fallback":
        failure = None if listening is None else listening.failure
        advice = f"{name} would leave every order as it came; take a model that follows instructions, or one tuned for it."
        mend = advice if failure is None else failure.hint or UNKNOWN  # no answer came, so that there was nothing to read
        return Finding(name=name, level="wrong", detail="; ".join(ranking.notes.messages), mend=mend)
    detail = f"answer read: {ranking.notes.status}; first is {ranking.item_ids[0]}, asked for was green"
    return Finding(name=name, level="ok" if ranking.notes.status == "ok" else "note", detail=detail)


def _made(reranker: NamedReranker, backend: Backend | None) -> Reranker:
    part = replace(reranker, backend=backend if reranker.backend else None)
    return part.made(**({} if backend is None else {"backend": backend}))


def views(reranker: NamedReranker) -> frozenset[Modality] | None:
    """What it looks at of a candidate; None where it does not say."""
    factory = module(reranker.stage.part.part, station="rerankers")
    return frozenset(factory.LOOKS_AT) if isinstance(factory, DeclaredView) else None


# Right from wrong ------------------------------------------------------------------


def told_apart(reranker: NamedReranker, name: str, backend: Backend | None) -> Iterator[Finding]:
    """Whether the scores of a pointwise reranker part right from wrong: texts, squares, and the golden pairs of its recipe."""
    try:
        part = _made(reranker, reranker.backend or backend)
    except Exception:  # which is what `tried` has said
        return
    inner = part.reranker if isinstance(part, StagedReranker) else part
    if not isinstance(inner, PointwiseReranker) or not inner.pointwise:
        return
    looks_at = views(reranker)
    if looks_at is None or "text" in looks_at:
        yield from guarded(f"{name}, texts apart", lambda: separation(inner, f"{name}, texts apart", text_cases()))
    if looks_at is None or "image" in looks_at:
        yield from _pictures_apart(inner, name)
    if isinstance(inner, RecipeReranker) and inner.recipe.golden:
        yield from guarded(f"{name}, golden pairs", lambda: golden_of(inner, inner.recipe, f"{name}, golden pairs"))


def _pictures_apart(part: Reranker, name: str) -> Iterator[Finding]:
    """As of texts, where pictures are taken; where they are not, that is known from elsewhere and no fault of this part."""
    label = f"{name}, pictures apart"
    (finding,) = guarded(label, lambda: separation(part, label, picture_cases()))
    unseen = finding.level == "wrong" and finding.mend != NOISE
    yield replace(finding, level="note", detail=f"pictures are not scored: {finding.detail}", mend="") if unseen else finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How well scores part right from wrong."""

    right: tuple[float, ...]
    wrong: tuple[float, ...]

    @property
    def in_order(self) -> int:
        """Of how many pairs the right one scores higher."""
        return sum(a > b for a, b in zip(self.right, self.wrong, strict=True))

    @property
    def area(self) -> float:
        """The area under the curve: how often any right one scores above any wrong one; equal ones count half.

        >>> Apart(right=(2.0, 1.0), wrong=(0.0, 1.0)).area
        0.875
        """
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(self.right, self.wrong)]
        return sum(wins) / len(wins)

    @property
    def gap(self) -> float:
        """The least of the right less the most of the wrong; above 0 where one threshold parts them."""
        return min(self.right) - max(self.wrong)


def separation(part: Reranker, label: str, cases: Sequence[Case]) -> Finding:
    """Whether right and wrong are told apart: within each pair, and by one threshold over all."""
    apart = Apart(
        right=tuple(raw_of(part, case.query, case.right) for case in cases),
        wrong=tuple(raw_of(part, case.query, case.wrong) for case in cases),
    )
    counts = f"right above wrong in {apart.in_order} of {len(cases)} pairs, area under the curve {apart.area:.2f}"
    if apart.gap > 0:
        return Finding(name=label, level="ok", detail=f"clean separation, the least gap {apart.gap:.3f}: {counts}")
    ranges = f"right ones score {_range(apart.right)}, wrong ones {_range(apart.wrong)}"
    detail = f"no clean separation: {counts}; {ranges}"
    if apart.in_order == len(cases):
        return Finding(name=label, level="note", detail=detail, mend="It orders, but no one threshold parts relevant from irrelevant.")
    return Finding(name=label, level="wrong" if apart.area <= CHANCE else "note", detail=detail, mend=NOISE)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def raw_of(part: Reranker, query: Query, item: Item) -> float:
    """The raw score of one item; NaN, which is above nothing, where it has none."""
    (candidate,) = part.rerank(query, [Candidate(item=item)]).candidates
    score = candidate.score if candidate.raw_score is None else candidate.raw_score
    return math.nan if score is None else score


def golden_of(part: Reranker, recipe: Recipe, label: str) -> Finding:
    """Whether the golden pairs of a recipe come to what they should: their log-odds within the margin, or their side of 0."""
    values = [raw_of(part, Query(text=pair.query, instruction=pair.instruction), _document(pair)) for pair in recipe.golden]
    off = [_deviation(pair, value) for pair, value in zip(recipe.golden, values, strict=True)]
    wrong = [words for words in off if words]
    if not wrong:
        numbers = ", ".join(f"{value:+.3f}" for value in values)
        return Finding(name=label, level="ok", detail=f"{len(values)} pairs of the recipe {recipe.name!r} as they should be: {numbers}")
    mend = "Another checkpoint or revision than the recipe's, other words than it was trained with, or another precision."
    return Finding(name=label, level="wrong", detail="; ".join(wrong), mend=mend)


def _document(pair: Golden) -> Item:
    return Item(item_id="document", text=pair.document)


def _deviation(pair: Golden, value: float) -> str:
    """How a value differs from what is known of its pair; "" where it does not."""
    about = f"{pair.query[:40]!r}"
    if pair.log_odds is not None:
        same = abs(value - pair.log_odds) <= pair.margin
        return "" if same else f"{about} gives {value:+.3f}; {pair.log_odds:+.3f} within {pair.margin} is expected"
    if pair.relevant is not None and (value > 0) != pair.relevant:
        return f"{about} gives {value:+.3f}, which should be {'above' if pair.relevant else 'below'} 0"
    return ""


# Values recorded ------------------------------------------------------------------


def raw_scores(reranker: NamedReranker, backend: Backend | None) -> dict[str, float]:
    """The raw scores of the text pairs, and of the golden pairs of its recipe, by what they are; to be compared with those of another day,
    precision or server. Empty where the reranker is not pointwise."""
    part = _made(reranker, reranker.backend or backend)
    inner = part.reranker if isinstance(part, StagedReranker) else part
    if not isinstance(inner, PointwiseReranker) or not inner.pointwise:
        return {}
    pairs = {f"{case.query.text}, {item.item_id}": (case.query, item) for case in text_cases() for item in (case.right, case.wrong)}
    if isinstance(inner, RecipeReranker):
        known = enumerate(inner.recipe.golden, 1)
        pairs |= {f"golden pair {n}": (Query(text=pair.query, instruction=pair.instruction), _document(pair)) for n, pair in known}
    return {name: round(raw_of(inner, query, item), 6) for name, (query, item) in pairs.items()}


def compared(name: str, measured: Mapping[str, float], recorded: Mapping[str, float]) -> Finding:
    """Whether the pairs still come to what they came to."""
    label = f"{name}, recorded values"
    apart = {pair: abs(measured[pair] - value) for pair, value in recorded.items() if pair in measured}
    if not apart:
        return Finding(name=label, level="wrong", detail="no pair in common", mend="Record them again with --record.")
    pair, most = max(apart.items(), key=lambda entry: entry[1])
    detail = f"largest difference of a raw score {most:.4f} ({pair}), allowed {SAME}"
    if most <= SAME:
        return Finding(name=label, level="ok", detail=detail)
    return Finding(name=label, level="wrong", detail=detail, mend="Other weights, template, words or precision than when recorded.")
