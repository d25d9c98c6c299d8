"""What a running service holds: its collections, models and threads."""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmrerank import abilities
from mmrerank.backends import open_backend
from mmrerank.backends._batching import BatchingBackend
from mmrerank.collection import Collection
from mmrerank.errors import InputError, UnknownName
from mmrerank.exchange import EncodedOnTheFly
from mmrerank.parts import PartName, make, module, options_of, parse, printed
from mmrerank.pipeline import Stage
from mmrerank.service._failures import NoSuchThing, Refused
from mmrerank.service._fetching import Fetcher
from mmrerank.service._metrics import Metrics
from mmrerank.service._pictures import Pictures
from mmrerank.service._work import Work, current
from mmrerank.service.schemas import ItemRef
from mmrerank.service.settings import Settings
from mmrerank.types import Backend, Candidate, Encoder, ImageHandle, Item, Reranker

DEFAULT = "default"
FALLBACK = "bm25"  # needs nothing
GRIDS = 128  # kept to be looked at


class Grids:
    """The last grids that rerankers showed their model, as PNG, by their content."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, png: bytes) -> str:
        """The name under which the grid can be had for a while."""
        name = hashlib.blake2b(png, digest_size=12).hexdigest()
        self._held[name] = png
        self._held.move_to_end(name)
        while len(self._held) > GRIDS:
            self._held.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """NoSuchThing where it is not kept any more."""
        if name not in self._held:
            raise NoSuchThing(f"the grid {name!r} is not kept any more", hint="Search again.")
        return self._held[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A reranker under the name that clients use."""

    name: str
    part: str | Reranker
    needs: frozenset[str]

    @property
    def draws(self) -> bool:
        """Whether it can write the grids that it shows its model."""
        return isinstance(self.part, str) and "grids" in {f.name for f in fields(module(self.part, station="rerankers").Options)}


class Service:
    """Opens everything once, so that what is wrong is said when the service starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.load)
        self.metrics = Metrics(lambda: self.work.taken)
        self.collections = _opened(settings.collections)
        self.backend = self._backend()
        self.encoder: Encoder | None = make(settings.encoder, station="encoders") if isinstance(settings.encoder, str) else settings.encoder
        self.models = self._models()
        self.default_model = next(iter(settings.rerankers), FALLBACK)
        fetch = Fetcher(settings.fetch_hosts) if settings.fetch_hosts else None
        self.pictures = Pictures(max_pixels=settings.limits.picture_pixels, fetch=fetch)
        self.grids = Grids()

    def collection(self, name: str | None) -> tuple[str, Collection]:
        """The collection of that name, or the only one.

        Raises:
            NoSuchThing: there is none of that name.
            Refused: there are several, and none is named.
        """
        held = ", ".join(self.collections) or "none"
        if name is None and len(self.collections) == 1:
            return next(iter(self.collections.items()))
        if name is None:
            raise Refused(400, f"name a collection; there are: {held}", param="collection")
        if name not in self.collections:
            raise NoSuchThing(str(UnknownName.among("collection", name, self.collections)), param="collection")
        return name, self.collections[name]

    def model(self, name: str | None) -> Model:
        """The reranker of that name; `default` and None are the configured one.

        Raises:
            NoSuchThing: none is called so; lists the real ones.
        """
        wanted = self.default_model if name in (None, DEFAULT) else str(name)
        if wanted not in self.models:
            raise NoSuchThing(str(UnknownName.among("model", wanted, [DEFAULT, *self.models])), param="model")
        return self.models[wanted]

    def check_retriever(self, name: str, collection: Collection) -> None:
        """NoSuchThing unless it is a first stage that works there, by its plain name: options are the operator's."""
        known = abilities.retrievers(collection, backend=self.backend is not None)
        if name not in known:
            raise NoSuchThing(str(UnknownName.among("retriever", name, known)), param="retriever")

    def picture(self, given: str | ItemRef, collection: Collection, where: str) -> ImageHandle:
        """The picture that a client gives, or that of an item."""
        if isinstance(given, str):
            return self.pictures.handle(given, where)
        item = self.item_of(given.id, collection, where)
        if item.image is None:
            raise Refused(400, f"{where}: the item {given.id!r} has no picture", param=where)
        return item.image

    def item(self, item_id: str, collection: str | None, where: str) -> Item:
        """An item that a client names.

        Raises:
            NoSuchThing: the collection or the item is not here.
        """
        return self.item_of(item_id, self.collection(collection)[1], where)

    def item_of(self, item_id: str, collection: Collection, where: str) -> Item:
        """The same where the collection is known."""
        try:
            return collection.item(item_id)
        except InputError as error:
            raise NoSuchThing(f"{where}: {error.message}", param=where) from error

    def count(self, stages: Iterable[Stage]) -> None:
        """Counts what stages did and took."""
        for stage in stages:
            self.metrics.stage(stage.name, stage.seconds, stage.ranking.notes.status, stage.cost)

    def said(self, text: str) -> str:
        """The text without the places of this machine, which are none of a client's business."""
        for collection in self.collections.values():
            for root in collection.manifest.roots:
                text = text.replace(f"{root.path}/", "").replace(root.path, "")
        return text

    def models_for(self, collection: Collection) -> list[str]:
        """The models that can rerank what is found there."""
        by_rows = bool(collection.manifest.encoders)
        return [name for name, model in self.models.items() if by_rows or "descriptors" not in model.needs]

    @contextmanager
    def rerankers(self, names: Sequence[str]) -> Iterator[tuple[list[str | Reranker], list[Path]]]:
        """The parts of these models for one search, and the folders into which they write their grids."""
        with tempfile.TemporaryDirectory(prefix="mmrerank-") as folder:
            parts: list[str | Reranker] = []
            places = []
            for n, name in enumerate(names):
                model = self.model(name)
                if model.draws:
                    places.append(Path(folder) / str(n))
                    parts.append(drawing(str(model.part), places[-1]))
                else:
                    parts.append(model.part)
            yield parts, places

    def reranker(self, model: Model, candidates: Sequence[Candidate]) -> Reranker:
        """The part of a model for candidates that no collection holds.

        Raises:
            InputError: it works on descriptors, and the service has no encoder to make them.
        """
        if not isinstance(model.part, str):
            return model.part
        given: dict[str, Any] = {} if self.backend is None else {"backend": self.backend}
        if self.encoder is not None:
            given["descriptors"] = EncodedOnTheFly(self.encoder, candidates)
        if not model.needs <= set(given):
            hint = "Start the service with --encoder NAME, or take another model."
            raise InputError(f"the model {model.name!r} works on descriptors, which nothing here makes", hint=hint)
        part: Reranker = make(model.part, station="rerankers", **given)
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

    def _models(self) -> dict[str, Model]:
        given = {"descriptors", *(["backend"] if self.backend is not None else [])}
        named: Mapping[str, str | Reranker] = self.settings.rerankers or {name: name for name in abilities.rerankers(given)}
        models = {name: _model(name, part, given) for name, part in named.items()}
        return models if FALLBACK in models else {**models, FALLBACK: _model(FALLBACK, FALLBACK, given)}


def drawing(name: str, folder: Path) -> str:
    """The name of the same reranker that also writes its grids there."""
    found: PartName = parse(name)
    options = options_of(name, module(name, station="rerankers").Options)
    inside = printed(found.part, options).removesuffix(")")
    return f"{inside}, grids={str(folder)!r})"


def _model(name: str, part: str | Reranker, given: set[str]) -> Model:
    if not isinstance(part, str):
        return Model(name=name, part=part, needs=frozenset())
    needs = abilities.needs(part, "rerankers")
    options_of(part, module(part, station="rerankers").Options)
    if missing := needs - given:
        raise InputError(f"the reranker {part!r} needs {', '.join(sorted(missing))}", hint="Start the service with --backend NAME.")
    return Model(name=name, part=part, needs=frozenset(needs))


def _opened(folders: Sequence[Path]) -> dict[str, Collection]:
    """Collections by the names of their folders, with everything of them that a search needs."""
    found: dict[str, Collection] = {}
    for folder in folders:
        name, number = folder.resolve().name, 2
        while name in found:
            name, number = f"{folder.resolve().name}-{number}", number + 1
        found[name] = Collection.open(folder)
        abilities.warm_up(found[name])
    return found
