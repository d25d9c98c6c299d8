"""What a running service holds: its collections, models and threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mmrerank.backends import BatchingBackend, open_backend
from mmrerank.collection import capabilities
from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError, UnknownName
from mmrerank.parts import make
from mmrerank.pipeline import EncodedOnTheFly
from mmrerank.results import Stage
from mmrerank.service._collections import OpenCollections
from mmrerank.service._failures import NoSuchThing, RequestRefused
from mmrerank.service._fetching import Fetcher
from mmrerank.service._grids import Grids
from mmrerank.service._metrics import Metrics
from mmrerank.service._models import DEFAULT, FALLBACK, Model, models_of
from mmrerank.service._pictures import Pictures
from mmrerank.service._work import Work, current
from mmrerank.service.schemas import ItemRef
from mmrerank.service.settings import Settings
from mmrerank.types import Backend, Candidate, Encoder, ImageHandle, Item, Reranker


class Service:
    """Opens everything once, so that what is wrong is said when the service starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.load)
        self.metrics = Metrics(lambda: self.work.taken)
        self.collections = OpenCollections(settings.collections)
        self.backend = self._backend()
        self.encoder: Encoder | None = make(settings.encoder, station="encoders") if isinstance(settings.encoder, str) else settings.encoder
        self.models = models_of(settings.rerankers, backend=self.backend is not None, key=settings.rerank_key)
        self.default_model = next(iter(settings.rerankers), FALLBACK)
        fetch = Fetcher(settings.fetch_hosts) if settings.fetch_hosts else None
        self.pictures = Pictures(max_pixels=settings.limits.picture_pixels, fetch=fetch)
        self.grids = Grids()
        self._built: dict[str, Reranker] = {}

    def name_of(self, name: str | None) -> str:
        """The name of a collection: that one, or that of the only one.

        Raises:
            NoSuchThing: there is none of that name.
            RequestRefused: there are several, and none is named.
        """
        names = self.collections.names
        if name is None and len(names) == 1:
            return names[0]
        if name is None:
            raise RequestRefused(400, f"name a collection; there are: {', '.join(names) or 'none'}", param="collection")
        if name not in names:
            raise NoSuchThing(str(UnknownName.among("collection", name, names)), param="collection")
        return name

    def version(self, name: str | None) -> tuple[str, CollectionVersion]:
        """The name of a collection with its newest version, which a request holds from its first stage to its last; not for the event
        loop, since it is opened again where somebody wrote to it."""
        collection_name = self.name_of(name)
        return collection_name, self.collections.get(collection_name).version

    def model(self, name: str | None, among: Sequence[str] | None = None) -> Model:
        """The reranker of that name; `default` and None are the configured one.

        Args:
            among: the names to choose from; None: those that need no collection.

        Raises:
            NoSuchThing: none is called so; lists the real ones.
        """
        known = self.models_alone if among is None else among
        wanted = self.default_model if name in (None, DEFAULT) else str(name)
        if wanted not in known:
            raise NoSuchThing(str(UnknownName.among("model", wanted, [DEFAULT, *known])), param="model")
        return self.models[wanted]

    @property
    def models_alone(self) -> list[str]:
        """The models that can rerank what no collection holds."""
        given = {"backend", *(["descriptors"] if self.encoder is not None else [])}
        return [name for name, model in self.models.items() if model.needs <= given]

    def check_retriever(self, name: str, version: CollectionVersion) -> None:
        """NoSuchThing unless it is a first stage that works there, by its plain name: options are the operator's."""
        known = capabilities.retrievers(version, backend=self.backend is not None)
        if name not in known:
            raise NoSuchThing(str(UnknownName.among("retriever", name, known)), param="retriever")

    def picture(self, given: str | ItemRef, version: CollectionVersion, where: str) -> ImageHandle:
        """The picture that a client gives, or that of an item."""
        if isinstance(given, str):
            return self.pictures.handle(given, where)
        item = self.item_of(given.id, version, where)
        if item.image is None:
            raise RequestRefused(400, f"{where}: the item {given.id!r} has no picture", param=where)
        return item.image

    def item(self, item_id: str, collection: str | None, where: str) -> Item:
        """An item that a client names.

        Raises:
            NoSuchThing: the collection or the item is not here.
        """
        return self.item_of(item_id, self.version(collection)[1], where)

    def item_of(self, item_id: str, version: CollectionVersion, where: str) -> Item:
        """The same where the version is known."""
        try:
            return version.item(item_id)
        except InputError as error:
            raise NoSuchThing(f"{where}: {error.message}", param=where) from error

    def key_of(self, item_id: str, version: CollectionVersion, where: str) -> int:
        """The key of an item, without the item."""
        try:
            return int(version.snapshot.keys_of([item_id])[0])
        except InputError as error:
            raise NoSuchThing(f"{where}: {error.message}", param=where) from error

    def count(self, stages: Iterable[Stage]) -> None:
        """Counts what stages did and took."""
        for stage in stages:
            self.metrics.stage(stage.name, stage.seconds, stage.ranking.notes.status, stage.cost)

    def redact_paths(self, text: str) -> str:
        """The text without the places of this machine, which are none of a client's business."""
        for collection in self.collections.all():
            for place in (*(root.path for root in collection.manifest.roots), collection.path.absolute().parent):
                text = text.replace(f"{place}/", "")
        return text

    def models_for(self, version: CollectionVersion) -> list[str]:
        """The models that can rerank what is found there."""
        by_rows = bool(version.manifest.encoders)
        return [name for name, model in self.models.items() if by_rows or "descriptors" not in model.needs]

    def rerankers(self, names: Sequence[str], version: CollectionVersion) -> list[str | Reranker]:
        """The parts of these models for one search.

        Raises:
            NoSuchThing: the collection has no use for one of that name.
        """
        known = self.models_for(version)
        return [self.model(name, known).part for name in names]

    def reranker(self, model: Model, candidates: Sequence[Candidate]) -> Reranker:
        """The part of a model for candidates that no collection holds; made anew where it works on descriptors of just these."""
        if not isinstance(model.part, str):
            return model.part
        if model.name in self._built:
            return self._built[model.name]
        given: dict[str, Any] = {} if self.backend is None else {"backend": self.backend}
        if self.encoder is not None:
            given["descriptors"] = EncodedOnTheFly(self.encoder, candidates)
        part: Reranker = make(model.part, station="rerankers", **given)
        if "descriptors" not in model.needs:
            self._built[model.name] = part
        return part

    def _backend(self) -> Backend | None:
        """The model, with batching in front of it and a cache in front of that."""
        settings = self.settings

        def batched(backend: Backend) -> Backend:
            window_s = settings.load.batch_window_ms / 1000
            return BatchingBackend(backend, window_s=window_s, check=current, on_batch=self.metrics.batch)

        if settings.backend is None:
            return None
        if not isinstance(settings.backend, str):
            return batched(settings.backend)
        return open_backend(settings.backend, cache=settings.cache, behind_cache=batched, api_key=settings.api_key)
