"""Reranking and searching for frameworks: what all adapters share, without a framework.

The reranker is a part or a name. By name it may ask for `backend=` (an MLLM: a part or a name) or `encoder=` (descriptors,
made of the candidates on the fly). Names are checked at once; models are loaded at the first use, or by `warm_up`.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.backends import backend_of
from mmrerank.errors import InputError
from mmrerank.integrations._documents import ForeignDocument, candidates_of
from mmrerank.parts import make, module, options_of
from mmrerank.pipeline import EncodedOnTheFly, rerank_candidates
from mmrerank.results import Hit, Stage
from mmrerank.types import Backend, Candidate, Encoder, ImageHandle, Query, Reranker, Retriever

if TYPE_CHECKING:
    from mmrerank.collection import Collection

logger = logging.getLogger(__name__)

REASON = "mmrerank_reason"  # metadata: why a document stands where it stands
NOTES = "mmrerank_notes"  # metadata: what was mended in the order, only where something was
RESOURCES = {"backend": "backend", "descriptors": "encoder"}  # what a reranker asks for -> the option that gives it
_LOADING = threading.Lock()  # models are loaded once, also where a framework calls from several threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One line of a new order. `position` is that of the document in what was given, from 0."""

    position: int
    score: float | None
    reason: str
    notes: tuple[str, ...]

    def added_to(self, metadata: Mapping[Any, Any]) -> dict[Any, Any]:
        """A copy of the metadata with what there is to say of this order, and nothing left of an earlier one."""
        own: dict[str, Any] = {REASON: self.reason, NOTES: list(self.notes)}
        rest = {key: value for key, value in metadata.items() if key not in own}
        return rest | {key: value for key, value in own.items() if value}


class Reranking:
    """A reranker with what it needs, loaded when first used."""

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        api_key: str | None = None,
    ) -> None:
        """
        Raises:
            UnknownName: no reranker, backend or encoder of that name, or no such option.
            InputError: it asks for a backend or an encoder, and none is given.
        """
        check(reranker, {"backend": backend, "encoder": encoder})
        self._reranker, self._backend, self._encoder, self._api_key = reranker, backend, encoder, api_key
        self._loaded: dict[str, Any] | None = None

    def warm_up(self) -> None:
        """Loads what a name stands for; does nothing the second time."""
        with _LOADING:
            if self._loaded is None and isinstance(self._reranker, str):
                # The key of the backend's server goes to no other; without a backend it is that of a reranker with a server of its own.
                resources: dict[str, Any] = {"api_key": self._api_key} if self._backend is None else {}
                if self._backend is not None:
                    resources["backend"] = backend_of(self._backend, self._api_key)
                if self._encoder is not None:
                    resources["encoder"] = make(self._encoder, station="encoders") if isinstance(self._encoder, str) else self._encoder
                self._loaded = resources

    def run(
        self, text: str, documents: Sequence[ForeignDocument], *, images: tuple[ImageHandle, ...] = (), top_n: int | None = None
    ) -> list[Placed]:
        """The new order for a query, best first and cut to `top_n`; what the reranker holds to be irrelevant is not in it.

        Raises:
            InputError: top_n is below 1, the query is empty, or what the reranker and its parts raise.
        """
        check_count("top_n", top_n)
        if not documents:
            return []
        candidates = candidates_of(documents)
        result = rerank_candidates(Query(text=text, images=images), candidates, [self._part(candidates)])
        notes = _notes(result.stages[-1])
        positions = {candidate.item.item_id: n for n, candidate in enumerate(candidates)}
        return [
            Placed(position=positions[hit.item.item_id], score=hit.score, reason=hit.reason, notes=notes) for hit in result.hits[:top_n]
        ]

    def _part(self, candidates: Sequence[Candidate]) -> Reranker:
        """The reranker; made anew for each call where it works on descriptors of just these candidates."""
        if not isinstance(self._reranker, str):
            return self._reranker
        self.warm_up()
        resources = dict(self._loaded or {})
        if "encoder" in resources:
            resources["descriptors"] = EncodedOnTheFly(resources.pop("encoder"), candidates)
        part: Reranker = make(self._reranker, station="rerankers", **resources)
        return part


def _notes(stage: Stage) -> tuple[str, ...]:
    """What was mended, logged too, since the documents that could carry it may all be dropped."""
    mended = stage.ranking.notes.status != "ok"
    if stage.notes:
        logger.log(logging.WARNING if mended else logging.INFO, "%s: %s", stage.name, "; ".join(stage.notes))
    return tuple(stage.notes) if mended else ()


def check(part: str | Reranker, options: Mapping[str, Any], *, station: str = "rerankers") -> None:
    """InputError unless it is a part, or a name of the station with all that it asks for among `backend` and `encoder`."""
    for place, one in ((station, part), ("backends", options["backend"]), ("encoders", options["encoder"])):
        if isinstance(one, str):
            options_of(one, module(one, station=place).Options)
    if not isinstance(part, str):
        if not callable(getattr(part, "rerank", None)):
            raise InputError(f"a reranker is a name or a part with rerank(); got {type(part).__name__}")
        return
    parameters = inspect.signature(module(part, station=station).build).parameters
    missing = [option for resource, option in RESOURCES.items() if resource in parameters and options[option] is None]
    if missing:
        raise InputError(f"{part!r} needs {', '.join(missing)}", hint=f"Give {missing[0]} as a part or by its name.")


def check_count(name: str, value: int | None) -> None:
    """InputError unless it counts from 1 or is None."""
    if value is not None and value < 1:
        raise InputError(f"{name} must be at least 1; got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One hit as frameworks take it: a text, and metadata without empty fields."""

    item_id: str
    text: str
    score: float | None
    metadata: dict[str, Any]


def pages(
    collection: Collection,
    query: str,
    *,
    k: int,
    retriever: str | Retriever | None,
    rerank: Sequence[str | Reranker],
    backend: Backend | None,
    depth: int | None,
    filter: str | None,
) -> list[Page]:
    """The k best items of a collection for a question, best first."""
    question = Query(text=query, filter=filter)
    version = collection.version  # one for the search and the places of its hits
    hits = version.search(question, k=k, retriever=retriever, rerank=rerank, backend=backend, depth=depth).hits
    paths = version.paths_of([hit.item.item_id for hit in hits]) if hits else {}
    return [_page(hit, paths[hit.item.item_id]) for hit in hits]


def _page(hit: Hit, path: Path) -> Page:
    item = hit.item
    own = {
        "item_id": item.item_id,
        "document_id": item.document_id,
        "page_number": item.page_number,
        "score": hit.score,
        "reason": hit.reason or None,
        "path": str(path),
    }
    metadata = {**item.metadata, **{key: value for key, value in own.items() if value is not None}}
    return Page(item_id=item.item_id, text=item.text or "", score=hit.score, metadata=metadata)


def collection_at(collection: Collection | str | Path) -> Collection:
    """The collection itself, or the one in that folder."""
    from mmrerank.collection import Collection

    return Collection.open(collection) if isinstance(collection, str | Path) else collection
