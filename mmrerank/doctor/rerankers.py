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
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmrerank.backends import NotingBackend
from mmrerank.doctor.findings import UNKNOWN, Finding, guarded
from mmrerank.doctor.pairs import Case, InMemory, picture_cases, square, squares, text_cases
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import StagedReranker, check_name, module
from mmrerank.pipeline import NamedReranker
from mmrerank.prompting.recipes import Golden, Recipe
from mmrerank.protocols import Backend, CheckpointBackend, DeclaredView, PointwiseReranker, Reranker, front_to_back
from mmrerank.text_files import parse_json, read_json
from mmrerank.types import Candidate, Item, Modality, Query, Ranking

RECORD = "Write them: mmrerank doctor --record FILE."
CHANCE = 0.75  # area under the curve up to which right and wrong are hardly told apart by so few pairs
SAME = 0.05  # of a raw score, beside the recorded one: what another precision or batch moves
NOISE = (
    "It orders by little more than chance: the words or the template are not those it was trained with, its head was lost, or the model "
    "does not judge. `mmrerank doctor --checkpoint PATH` says what its files fit."
)


@runtime_checkable
class PointwisePart(PointwiseReranker, Reranker, Protocol):
    """A reranker that says so of itself."""


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
        yield from right_from_wrong(reranker, name, backend)
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
    try:
        ranking = _ranked(part, candidates, pictures=looks_at is None or "image" in looks_at)
    except InputError as error:
        return Finding(name=name, level="note", detail=f"not tried: {error.message}", mend=error.hint or "")
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


def _ranked(part: Reranker, candidates: Sequence[Candidate], *, pictures: bool) -> Ranking:
    """The squares by a text; by a picture of green where a text alone is refused, as by what compares pictures.

    Raises:
        InputError: it takes neither.
    """
    try:
        return part.rerank(Query(text="a green square"), candidates)
    except InputError:
        if not pictures:
            raise
        return part.rerank(Query(images=(InMemory(square("green")),)), candidates)


def _made(reranker: NamedReranker, backend: Backend | None) -> Reranker:
    part = replace(reranker, backend=backend if reranker.backend else None)
    return part.made(**({} if backend is None else {"backend": backend}))


def views(reranker: NamedReranker) -> frozenset[Modality] | None:
    """What it looks at of a candidate; None where it does not say."""
    factory = module(reranker.stage.part.part, station="rerankers")
    return frozenset(factory.LOOKS_AT) if isinstance(factory, DeclaredView) else None


# Right from wrong ------------------------------------------------------------------


def right_from_wrong(reranker: NamedReranker, name: str, backend: Backend | None) -> Iterator[Finding]:
    """Whether the scores of a pointwise reranker part right from wrong: texts, squares, and the golden pairs of its recipe."""
    part = _pointwise(reranker, backend)
    if part is None:
        return
    looks_at = views(reranker)
    if looks_at is None or "text" in looks_at:
        yield from text_pairs(reranker, f"{name}, texts apart", backend)
    if looks_at is None or "image" in looks_at:
        yield from _pictures_apart(part, name)
    if isinstance(part, RecipeReranker):
        yield from _by_recipe(part, part.recipe, name, reranker.backend or backend)


def text_pairs(reranker: NamedReranker, label: str, backend: Backend | None) -> Iterator[Finding]:
    """Whether the scores of a pointwise reranker part passages that answer from others."""
    part = _pointwise(reranker, backend)
    if part is not None:
        yield from guarded(label, lambda: separation(part, label, text_cases()))


def _pointwise(reranker: NamedReranker, backend: Backend | None) -> PointwisePart | None:
    """The reranker where it scores each candidate alone; None where it does not, or cannot be made, which `tried` has said."""
    try:
        part = _made(reranker, reranker.backend or backend)
    except Exception:  # whatever one of somebody else's raises
        return None
    inner = part.within if isinstance(part, StagedReranker) else part
    return inner if isinstance(inner, PointwisePart) and inner.pointwise else None


def _by_recipe(part: PointwisePart, recipe: Recipe, name: str, backend: Backend | None) -> Iterator[Finding]:
    """Whether the checkpoint is of a class that the recipe was made for, and what the recipe's golden pairs come to."""
    own = architectures_of(backend)
    if own and recipe.architectures and not set(own) & set(recipe.architectures):
        detail = f"the recipe {recipe.name!r} was made for {', '.join(recipe.architectures)}; this checkpoint is {', '.join(own)}"
        mend = "`mmrerank doctor --checkpoint PATH` names the recipes of its class."
        yield Finding(name=f"{name}, recipe", level="wrong", detail=detail, mend=mend)
    if recipe.golden:
        label = f"{name}, golden pairs"
        yield from guarded(label, lambda: golden_of(part, recipe, label))


def architectures_of(backend: Backend | None) -> tuple[str, ...]:
    """The classes in the config.json of a model that shows its files; none of a served one."""
    source = None if backend is None else next((one for one in front_to_back(backend) if isinstance(one, CheckpointBackend)), None)
    text = None if source is None else source.file_text("config.json")
    config = parse_json(text, "config.json") if text else {}
    return tuple(map(str, config.get("architectures") or ())) if isinstance(config, Mapping) else ()


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
    try:
        right, wrong = ([raw_of(part, case.query, item) for case, item in items] for items in _sides(cases))
    except InputError as error:
        return Finding(name=label, level="note", detail=f"not tried: {error.message}", mend=error.hint or "")
    apart = Apart(right=tuple(right), wrong=tuple(wrong))
    if silent := sum(map(math.isnan, (*right, *wrong))):
        detail = f"{silent} of {2 * len(cases)} items get no score"
        return Finding(name=label, level="note", detail=detail, mend="What it looks at of an item these have not, or the model takes not.")
    counts = f"right above wrong in {apart.in_order} of {len(cases)} pairs, area under the curve {apart.area:.2f}"
    if apart.gap > 0:
        return Finding(name=label, level="ok", detail=f"clean separation, the least gap {apart.gap:.3f}: {counts}")
    ranges = f"right ones score {_range(apart.right)}, wrong ones {_range(apart.wrong)}"
    detail = f"no clean separation: {counts}; {ranges}"
    if apart.in_order == len(cases):
        return Finding(name=label, level="note", detail=detail, mend="It orders, but no one threshold parts relevant from irrelevant.")
    return Finding(name=label, level="wrong" if apart.area <= CHANCE else "note", detail=detail, mend=NOISE)


def _sides(cases: Sequence[Case]) -> tuple[list[tuple[Case, Item]], list[tuple[Case, Item]]]:
    """The right items and the wrong ones, each with its case."""
    return [(case, case.right) for case in cases], [(case, case.wrong) for case in cases]


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
    part = _pointwise(reranker, backend)
    if part is None:
        return {}
    pairs = {f"{case.query.text}, {item.item_id}": (case.query, item) for case in text_cases() for item in (case.right, case.wrong)}
    if isinstance(part, RecipeReranker):
        known = enumerate(part.recipe.golden, 1)
        pairs |= {f"golden pair {n}": (Query(text=pair.query, instruction=pair.instruction), _document(pair)) for n, pair in known}
    return {name: round(raw_of(part, query, item), 6) for name, (query, item) in pairs.items()}


def read_raw_scores(path: Path) -> dict[str, dict[str, float]]:
    """The raw scores of rerankers that were written down before, by their names; none where the file is older than these.

    Raises:
        FormatError: the file holds something else under `rerankers`.
    """
    content = read_json(path, hint=RECORD)
    tables = content.get("rerankers", {}) if isinstance(content, Mapping) else None
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) and _numbers(table) for table in tables.values()):
        raise FormatError("expected `rerankers` as an object, name -> pair -> raw score", path=path, hint=RECORD)
    return {str(name): {str(pair): float(value) for pair, value in table.items()} for name, table in tables.items()}


def _numbers(table: Mapping[str, Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in table.values())


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
