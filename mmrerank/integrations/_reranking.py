"""Reranking for frameworks: what all adapters share, without a framework.

A reranker is a part or a name, or several stand in a row. By name they may ask for `backend=` (an MLLM: a part or a name) or `encoder=`
(descriptors, made of the candidates on the fly). Names are checked at once; models are loaded at the first use, or by `warm_up`, and are
left out where the adapter is pickled: its names load them again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.integrations._checks import at_most, check_stages, stages_of
from mmrerank.integrations._documents import ForeignDocument, candidates_of
from mmrerank.parts import make
from mmrerank.pipeline import AnyReranker, EncodedOnTheFly, NamedReranker, rerank_candidates
from mmrerank.protocols import Backend, Encoder, Reranker
from mmrerank.results import SearchResult, Stage
from mmrerank.types import Candidate, Cost, ImageHandle, Query, Status

logger = logging.getLogger(__name__)

REASON = "mmrerank_reason"  # metadata: why a document stands where it stands
NOTES = "mmrerank_notes"  # metadata: how the order came about where it was mended, and what was said of this document
BY_PLACE = "scored by its place alone"
_LOADING = threading.Lock()  # models are loaded once, also where a framework calls from several threads
_SEVERITY: tuple[Status, ...] = ("ok", "completed", "repaired", "fallback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One line of a new order. `position` is that of the document in what was passed, from 0."""

    position: int
    score: float | None
    reason: str
    notes: tuple[str, ...]  # the status of the whole where it was mended, then what concerns this document

    def added_to(self, metadata: Mapping[Any, Any]) -> dict[Any, Any]:
        """A copy of the metadata with what there is to say of this order, and nothing left of an earlier one."""
        own: dict[str, Any] = {REASON: self.reason, NOTES: list(self.notes)}
        rest = {key: value for key, value in metadata.items() if key not in own}
        return rest | {key: value for key, value in own.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The documents in their new order, best first."""

    lines: tuple[Placed, ...]
    status: Status = "ok"
    notes: tuple[str, ...] = ()  # all that was mended, of whichever document, by stage
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    stages: tuple[Any, ...]  # parts, and NamedRerankers of names
    resources: Mapping[str, Any]


class Reranking:
    """Rerankers with what they need, loaded when first used."""

    def __init__(
        self,
        reranker: AnyReranker | Sequence[AnyReranker],
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        api_key: str | None = None,
    ) -> None:
        """
        Raises:
            UnknownName: no reranker, backend or encoder of that name, or no such option.
            InputError: one asks for a backend or an encoder, and none is there.
        """
        self.stages = check_stages(reranker, {"backend": backend, "encoder": encoder})
        self._backend, self._encoder, self._api_key = backend, encoder, api_key
        self._loaded: _Loaded | None = None
        self._warned = False

    def for_settings(
        self,
        reranker: AnyReranker | Sequence[AnyReranker],
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        api_key: str | None = None,
    ) -> Reranking:
        """Itself where it was made with these, with what it loaded; another one where an adapter has changed since."""
        if same_settings(self._settings, (*stages_of(reranker), backend, encoder, api_key)):
            return self
        return Reranking(reranker, backend=backend, encoder=encoder, api_key=api_key)

    @property
    def _settings(self) -> tuple[Any, ...]:
        return (*self.stages, self._backend, self._encoder, self._api_key)

    def __getstate__(self) -> dict[str, Any]:
        """All but what was loaded, and but the key, which the adapter passes again."""
        return {**vars(self), "_loaded": None, "_api_key": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Reranking:
        """Itself: copies of an adapter share its models."""
        return self

    @property
    def name(self) -> str:
        """The names of the rerankers in a row."""
        return " + ".join(stage if isinstance(stage, str) else stage.name for stage in self.stages)

    def warm_up(self) -> None:
        """Loads what names stand for; does nothing the second time."""
        self._load()

    def _load(self) -> _Loaded:
        with _LOADING:
            if self._loaded is None:
                resources: dict[str, Any] = {}
                if self._backend is not None:
                    resources["backend"] = backend_of(self._backend, self._api_key)
                if self._encoder is not None:
                    resources["encoder"] = make(self._encoder, station="encoders") if isinstance(self._encoder, str) else self._encoder
                stages = tuple(self._opened(stage) if isinstance(stage, str) else stage for stage in self.stages)
                self._loaded = _Loaded(stages=stages, resources=resources)
            return self._loaded

    def _opened(self, name: str) -> NamedReranker:
        """The reranker of that name. The key goes to the server of the backend and to no other; without one, to that of the model
        that the name says, else to the service that the reranker asks."""
        return NamedReranker.with_key(name, self._api_key if self._backend is None else None)

    def run(
        self,
        text: str,
        documents: Sequence[ForeignDocument],
        *,
        images: tuple[ImageHandle, ...] = (),
        top_n: int | None = None,
        score_by_place: bool = False,
        dropped_by: str = "",
    ) -> Order:
        """The new order for a query, best first and cut to `top_n`; what the rerankers hold to be irrelevant is not in it.

        Args:
            score_by_place: whether an order without any scores gets 1 - place / n, with place from 0 among n documents.
            dropped_by: which of the framework's own parts pass over documents without scores, for a warning.

        Raises:
            InputError: top_n is no whole number from 1, the query is empty, or what the rerankers and their parts raise.
        """
        top_n = at_most("top_n", top_n)
        if not documents:
            return Order(lines=())
        candidates = candidates_of(documents)
        result = rerank_candidates(Query(text=text, images=images), candidates, self.parts_for(candidates))
        order = order_of(result, candidates, score_by_place=score_by_place)
        self._say(order, dropped_by)
        return Order(lines=order.lines[:top_n], status=order.status, notes=order.notes, cost=order.cost)

    def parts_for(self, candidates: Sequence[Candidate]) -> list[Reranker]:
        """The rerankers, made anew for each call, since some work on descriptors of just these candidates."""
        loaded = self._load()
        resources = dict(loaded.resources)
        if "encoder" in resources:
            resources["descriptors"] = EncodedOnTheFly(resources.pop("encoder"), candidates)
        return [stage.made(**resources) if isinstance(stage, NamedReranker) else stage for stage in loaded.stages]

    def _say(self, order: Order, dropped_by: str) -> None:
        """Logs what was mended, since documents carry only what concerns them, and once that scores are missing."""
        if order.notes:
            logger.log(logging.INFO if order.status == "ok" else logging.WARNING, "%s: %s", self.name, "; ".join(order.notes))
        if dropped_by and not self._warned and order.lines and all(line.score is None for line in order.lines):
            self._warned = True
            logger.warning(
                "%s gives an order without scores, and %s; score_by_place=True gives 1 - place / n instead", self.name, dropped_by
            )


def order_of(result: SearchResult, candidates: Sequence[Candidate], *, score_by_place: bool = False) -> Order:
    """What a result says of the candidates, by their positions."""
    positions = {candidate.item.item_id: n for n, candidate in enumerate(candidates)}
    status = max((stage.ranking.notes.status for stage in result.stages), key=_SEVERITY.index)
    own = _own_notes(result.stages, positions)
    by_place = score_by_place and all(hit.score is None for hit in result.hits)
    lines = tuple(
        Placed(
            position=positions[hit.item.item_id],
            score=1 - place / len(result.hits) if by_place else hit.score,
            reason=f"{hit.reason}; {BY_PLACE}".removeprefix("; ") if by_place else hit.reason,
            notes=() if status == "ok" else (status, *own.get(hit.item.item_id, ())),
        )
        for place, hit in enumerate(result.hits)
    )
    notes = tuple(note for stage in result.stages for note in stage.notes)
    return Order(lines=lines, status=status, notes=notes, cost=sum((stage.cost for stage in result.stages), Cost()))


def _own_notes(stages: Sequence[Stage], ids: Mapping[str, int]) -> dict[str, list[str]]:
    """item_id -> what was said of it: messages that begin with its id, the longest one where several fit."""
    own: dict[str, list[str]] = {}
    for stage in stages:
        for note in stage.notes:
            pieces = note.split(": ")
            owners = [": ".join(pieces[:n]) for n in range(1, len(pieces))]
            if owner := max((name for name in owners if name in ids), key=len, default=""):
                own.setdefault(owner, []).append(note.removeprefix(f"{owner}: "))
    return own


def same_settings(settings: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether two rows hold the same names and the very same parts."""
    return len(settings) == len(others) and all(
        a is b or (isinstance(a, str) and isinstance(b, str) and a == b) for a, b in zip(settings, others, strict=True)
    )
