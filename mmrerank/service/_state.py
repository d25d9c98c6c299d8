"""What a running service holds: its collections, models and threads."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmrerank.backends import BatchingBackend, open_backend
from mmrerank.collection import capabilities
from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError, UnknownName
from mmrerank.parts import RERANKS_BY_WORDS, check_name, make, names, parse
from mmrerank.pipeline import AnyReranker, EncodedOnTheFly, NamedReranker
from mmrerank.protocols import Backend, Encoder, Reranker
from mmrerank.results import Stage
from mmrerank.service._collections import OpenCollections
from mmrerank.service._failures import NoSuchThing, RequestRefused
from mmrerank.service._fetching import Fetcher, private_hosts
from mmrerank.service._grids import Grids
from mmrerank.service._metrics import Metrics
from mmrerank.service._models import DEFAULT, Model, models_of
from mmrerank.service._pictures import Pictures
from mmrerank.service._work import Work, current
from mmrerank.service.schemas import ItemRef
from mmrerank.service.settings import Settings
from mmrerank.types import Candidate, ImageHandle, Item

logger = logging.getLogger(__name__)


class Service:
    """Opens everything once, so that what is wrong is said when the service starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.load)
        self.metrics = Metrics(lambda: self.work.taken)
        self.collections = OpenCollections(settings.collections)
        self._models: dict[str, Backend] = {}
        self._model_places: list[Path] = []
        self.backend = self._backend()
        self.encoder: Encoder | None = make(settings.encoder, station="encoders") if isinstance(settings.encoder, str) else settings.encoder
        self.models = models_of(settings.rerankers, backend=self.backend is not None, open_backend=self._opened, key=settings.rerank_key)
        self.retrievers = (*names("retrievers"), *settings.retrievers)
        for retriever in settings.retrievers:
            check_name(retriever, station="retrievers")
        self.default_model = next(iter(settings.rerankers), RERANKS_BY_WORDS)
        private = private_hosts(settings.fetch_hosts)
        fetch = Fetcher(settings.fetch_hosts, private=private) if settings.fetch_hosts else None
        for host in private:
            logger.warning("pictures are fetched from %s, which has an address that is not public", host)
        self.pictures = Pictures(max_pixels=settings.limits.picture_pixels, fetch=fetch)
        self.grids = Grids()
        self._built: dict[str, Reranker] = {}
        parts = (settings.backend, *settings.rerankers.values())
        self._servers = _addresses(part if isinstance(part, str) else part.name for part in parts if part is not None)

    def name_of(self, name: str | None) -> str:
        """The name of a collection: that one, or that of the only one.

        Raises:
            NoSuchThing: there is none of that name.
            RequestRefused: there are several, and none is named.
        """
        known = self.collections.names
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise RequestRefused(400, f"name a collection; there are: {', '.join(known) or 'none'}", param="collection")
        if name not in known:
            raise NoSuchThing(str(UnknownName.among("collection", name, known)), param="collection")
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
        resources = {"backend", *(["descriptors"] if self.encoder is not None else [])}
        return [name for name, model in self.models.items() if model.needs <= resources]

    def check_retriever(self, name: str, version: CollectionVersion) -> None:
        """NoSuchThing unless it is a first stage that works there, by its plain name: options are the operator's."""
        known = self.retrievers_for(version)
        if name not in known:
            raise NoSuchThing(str(UnknownName.among("retriever", name, known)), param="retriever")

    def retrievers_for(self, version: CollectionVersion) -> list[str]:
        """The first stages that work there: of those that ship and those that the operator named."""
        return capabilities.retrievers(version, backend=self.backend is not None, among=self.retrievers)

    def picture(self, reference: str | ItemRef, version: CollectionVersion, where: str) -> ImageHandle:
        """The picture that a client gives, or that of an item.

        Raises:
            RequestRefused: as of `Pictures.handle`, or the item has none.
            NoSuchThing: there is no such item.
        """
        if isinstance(reference, str):
            return self.pictures.handle(reference, where)
        item = self.item_of(reference.id, version, where)
        if item.image is None:
            raise RequestRefused(400, f"{where}: the item {reference.id!r} has no picture", param=where)
        return item.image

    def item(self, item_id: str, collection: str | None, where: str) -> Item:
        """An item that a client names.

        Raises:
            NoSuchThing: the collection or the item is not here.
        """
        return self.item_of(item_id, self.version(collection)[1], where)

    def item_of(self, item_id: str, version: CollectionVersion, where: str) -> Item:
        """The same where the version is known; errors as of `item`."""
        try:
            return version.item(item_id)
        except InputError as error:
            raise NoSuchThing(f"{where}: {error.message}", param=where) from error

    def key_of(self, item_id: str, version: CollectionVersion, where: str) -> int:
        """The key of an item, without the item; errors as of `item`."""
        try:
            return int(version.snapshot.keys_of([item_id])[0])
        except InputError as error:
            raise NoSuchThing(f"{where}: {error.message}", param=where) from error

    def count(self, stages: Iterable[Stage]) -> None:
        """Counts what stages did and took."""
        for stage in stages:
            self.metrics.stage(stage.name, stage.seconds, stage.ranking.notes.status, stage.cost)

    def redact_paths(self, text: str) -> str:
        """The text without the places of this machine and of its models' servers, which are none of a client's business."""
        for collection in self.collections.all():
            for place in (*(root.path for root in collection.manifest.roots), collection.path.absolute().parent):
                text = text.replace(f"{place}/", "")
        for place in self._model_places:
            text = text.replace(f"{place}/", "")
        return text if self._servers is None else self._servers.sub("the model's server", text)

    def models_for(self, version: CollectionVersion) -> list[str]:
        """The models that can rerank what is found there."""
        by_rows = bool(version.manifest.encoders)
        return [name for name, model in self.models.items() if by_rows or "descriptors" not in model.needs]

    def rerankers(self, wanted: Sequence[str], version: CollectionVersion) -> list[AnyReranker]:
        """The parts of these models for one search.

        Raises:
            NoSuchThing: the collection has no use for one of that name.
        """
        known = self.models_for(version)
        return [self.model(name, known).part for name in wanted]

    def reranker(self, model: Model, candidates: Sequence[Candidate]) -> Reranker:
        """The part of a model for candidates that no collection holds; made anew where it works on descriptors of just these."""
        if not isinstance(model.part, NamedReranker):
            return model.part
        if model.name in self._built:
            return self._built[model.name]
        resources: dict[str, Any] = {} if self.backend is None else {"backend": self.backend}
        if self.encoder is not None:
            resources["descriptors"] = EncodedOnTheFly(self.encoder, candidates)
        part = model.part.made(**resources)
        if "descriptors" not in model.needs:
            self._built[model.name] = part
        return part

    def _backend(self) -> Backend | None:
        """The model, with batching in front of it and a cache in front of that."""
        if self.settings.backend is None or isinstance(self.settings.backend, str):
            return None if self.settings.backend is None else self._opened(self.settings.backend)
        return self._batched(self.settings.backend)

    def _opened(self, name: str) -> Backend:
        """The model of that name, one for the service and for all rerankers that name it."""
        settings = self.settings
        if name not in self._models:
            key = settings.api_key if name == settings.backend else settings.own_keys.get(name)
            self._models[name] = open_backend(name, cache=settings.cache, behind_cache=self._batched, api_key=key)
            place = Path(parse(name).argument or "")
            self._model_places += [place.parent] if place.is_absolute() and place.exists() else []
        return self._models[name]

    def _batched(self, backend: Backend) -> Backend:
        window_s = self.settings.load.batch_window_ms / 1000
        return BatchingBackend(backend, window_s=window_s, check=current, on_batch=self.metrics.batch)


def _addresses(names: Iterable[str]) -> re.Pattern[str] | None:
    """What the addresses of servers in the names of parts look like in a text, whatever path follows; None where no name has one."""
    servers = {match[0] for name in names for match in re.finditer(r"https?://[^/#\s]+", name)}
    return re.compile("(?:" + "|".join(map(re.escape, sorted(servers))) + r")[^\s#,)'\"]*") if servers else None
