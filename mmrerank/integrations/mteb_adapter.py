"""MTEB: an encoder, and a whole pipeline as one search model. Extra: `mmrerank[mteb]` (Python 3.11 and later).

    mteb.evaluate(MMRerankEncoder("openclip/mini"), task)
    mteb.evaluate(MMRerankSearch(encoders=["openclip/mini"], rerank=["superglobal"], depth=50), task)

How a task shows its texts (titles, instructions, conversations) is left to mteb's own loader of batches. mteb stores a result under
name, revision and experiment of a model and takes it from there the next time, so these hold all that moves the numbers: the names
of the parts, the hashes of their weights, the depth and our version.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from mmrerank import __version__
from mmrerank.backends import backend_of
from mmrerank.collection import Collection
from mmrerank.errors import InputError, MissingExtra
from mmrerank.integrations import _reranking
from mmrerank.parts import make
from mmrerank.pictures import PilPicture
from mmrerank.types import Array, Backend, Encoder, Query, Reranker

try:
    from mteb._create_dataloaders import create_dataloader
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction
    from mteb.similarity_functions import cos_sim, pairwise_cos_sim
    from mteb.types import PromptType
except ImportError as error:
    raise MissingExtra.of("mteb", "mteb", "The MTEB adapter") from error

DEPTH = 100
ROWS = "corpus.parquet"
SCHEMA = pa.schema([("key", pa.string()), ("text", pa.string()), ("image", pa.binary())])


class MMRerankEncoder:
    """One of our encoders. Similarity is the cosine.

    What has text and a picture is their sum at length 1, or the one that the encoder takes. An encoder with many rows a page gives
    their mean here; `MMRerankSearch` with the retriever `late_interaction` compares them all.
    """

    def __init__(self, encoder: str | Encoder) -> None:
        """
        Args:
            encoder: a part or its name, such as "openclip/mini".
        """
        self.model: Encoder = make(encoder, station="encoders") if isinstance(encoder, str) else encoder
        about = {"encoder": self.model.name, "weights": _weights(self.model)}
        more = {"embed_dim": self.model.dimension, "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = _meta(self.model.name, self.model.takes, about, **more)

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Array:
        """(n, dimension) float32 unit rows of what the batches hold; the texts of queries by the encoder's way for queries.

        Raises:
            InputError: the task has nothing that the encoder takes.
        """
        rows = [self._rows(batch, for_queries=prompt_type == PromptType.query) for batch in inputs]
        return np.concatenate(rows) if rows else np.zeros((0, self.model.dimension), dtype=np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n, m) cosines of all pairs, as a tensor."""
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n,) cosines row by row, as a tensor."""
        return pairwise_cos_sim(embeddings1, embeddings2)

    def _rows(self, batch: Mapping[str, Any], *, for_queries: bool) -> Array:
        parts: list[Array] = []
        if "text" in batch and "text" in self.model.takes:
            encode = getattr(self.model, "encode_queries", self.model.encode) if for_queries else self.model.encode
            parts.append(encode(list(batch["text"])))
        if "image" in batch and "image" in self.model.takes:
            parts.append(self.model.encode([PilPicture(picture).open() for picture in batch["image"]]))
        if not parts:
            raise InputError(f"{self.model.name!r} takes {' and '.join(sorted(self.model.takes))}; the task has {', '.join(sorted(batch))}")
        total = np.sum(parts, axis=0)
        rows: Array = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return rows


class MMRerankSearch:
    """First stage and rerankers, over a collection that is made of each corpus.

    A hit's score says only how many stand behind it: the order is all that every pipeline has, and mteb would break ties by its own
    rule. So mteb's nAUC, which reads scores as confidence, means nothing here. In reranking tasks the pipeline searches among the
    candidates given, and those that it does not find, or holds to be irrelevant, follow in the order given.
    """

    def __init__(
        self,
        *,
        encoders: Sequence[str | Encoder] = (),
        retriever: str | None = None,
        rerank: Sequence[str | Reranker] = (),
        backend: str | Backend | None = None,
        depth: int = DEPTH,
        folder: str | Path | None = None,
    ) -> None:
        """
        Args:
            encoders: for a first stage by descriptors; with none, the words of texts are searched.
            folder: where collections stay, so that a second run encodes nothing again; a temporary one for each corpus when None.
            depth: how many candidates the rerankers see. The rest is as in `Collection.search`.

        Raises:
            InputError: an option cannot be used.
            UnknownName: no part of that name, or no such option.
        """
        _reranking.check_count("depth", depth)
        options = {"backend": backend, "encoder": encoders or None}
        for part in rerank:
            _reranking.check(part, options)
        if retriever is not None:
            _reranking.check(retriever, options, station="retrievers")
        self._encoders = [make(encoder, station="encoders") if isinstance(encoder, str) else encoder for encoder in encoders]
        self._retriever, self._rerank, self._depth = retriever, list(rerank), depth
        self._backend = backend_of(backend)
        self._folder = None if folder is None else Path(folder)
        self._remove_temporary: weakref.finalize[..., Any] | None = None
        self._collection: Collection | None = None
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self.mteb_model_meta = self._described()

    def _described(self) -> Any:
        stages = [self._retriever or "default", *(part if isinstance(part, str) else part.name for part in self._rerank)]
        about = {
            "stages": stages,
            "encoders": [encoder.name for encoder in self._encoders],
            "weights": [_weights(encoder) for encoder in self._encoders],
            "backend": "" if self._backend is None else self._backend.name,
            "depth": self._depth,
        }
        return _meta("+".join(stages), {"text", "image"}, about)

    def index(self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, encode_kwargs: Any, num_proc: Any, **_: Any) -> None:
        """Makes the collection of a corpus, in place of the one before.

        Raises:
            InputError: a document cannot be indexed.
        """
        folder = self._folder_for(f"{task_metadata.name} {hf_subset} {hf_split}")
        folder.mkdir(parents=True, exist_ok=True)
        self._ids = _write_rows(folder / ROWS, _batches(corpus, task_metadata, PromptType.document, encode_kwargs, num_proc))
        self._places = {document: place for place, document in enumerate(self._ids)}
        place = folder / "collection"
        self._collection = Collection.open_or_create(place, encoders=self._encoders)
        report = self._collection.add([folder / ROWS], encoders=self._encoders)
        if report.failed:
            document = self._ids[_place(report.failed[0].path)]
            raise InputError(f"document {document!r} of {task_metadata.name} cannot be indexed: {report.failed[0].reason}")

    def _folder_for(self, corpus: str) -> Path:
        """Where the collection of a corpus lies; another one for other encoders, since the first that suits a query is searched."""
        if self._folder is None:
            if self._remove_temporary is not None:
                self._remove_temporary()
            temporary = Path(tempfile.mkdtemp(prefix="mmrerank-mteb-"))
            self._remove_temporary = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            return temporary
        key = json.dumps([corpus, [encoder.name for encoder in self._encoders]])
        return self._folder / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Any,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: Any,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Query id -> document id -> score, for the `top_k` best documents of each query.

        Args:
            top_ranked: the candidates of each query, in reranking tasks.

        Raises:
            InputError: there is no corpus yet, or it cannot be searched for these queries.
        """
        scores = {}
        for batch in _batches(queries, task_metadata, PromptType.query, encode_kwargs, num_proc):
            for query_id, text, picture in _rows(batch):
                images = () if picture is None else (PilPicture(picture),)
                candidates = None if top_ranked is None else list(dict.fromkeys(top_ranked.get(query_id, ())))
                best = self._best(Query(query_id=query_id, text=text, images=images), top_k, candidates)
                scores[query_id] = {document: float(len(best) - place) for place, document in enumerate(best)}
        return scores

    def _best(self, query: Query, top_k: int, candidates: list[str] | None) -> list[str]:
        """The ids of the best documents, of all or of the candidates."""
        if self._collection is None:
            raise InputError("there is no corpus to search in", hint="Call index() first.")
        if candidates is not None:
            if not candidates:
                return []
            listed = ", ".join(f"'{ROWS}::{_key(self._places[document])}'" for document in candidates)
            query = replace(query, filter=f"item_id IN ({listed})")
        parts: dict[str, Any] = {"retriever": self._retriever, "rerank": self._rerank, "backend": self._backend}
        hits = self._collection.search(query, k=top_k, depth=self._depth, **parts).hits
        ids = [self._ids[_place(hit.item.item_id)] for hit in hits]
        return list(dict.fromkeys([*ids, *(candidates or ())]))[:top_k]


def _batches(dataset: Any, task: Any, kind: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None) -> Iterable[Mapping[str, Any]]:
    """Documents or queries as mteb shows them to its own models: dicts of lists."""
    options = {"prompt_type": kind, "batch_size": encode_kwargs.get("batch_size", 32), "num_proc": num_proc}
    loader: Iterable[Mapping[str, Any]] = create_dataloader(dataset, task_metadata=task, **options)
    return loader


def _rows(batch: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Id, text and picture of each row; None for what the task has not."""
    ids = batch["id"]
    without = [None] * len(ids)
    return zip(ids, batch.get("text", without), batch.get("image", without), strict=True)


def _write_rows(path: Path, batches: Iterable[Mapping[str, Any]]) -> list[str]:
    """Writes the documents as a table whose keys are their places; returns all ids, also of empty ones, which nothing can find."""
    ids: list[str] = []
    with parquet.ParquetWriter(path, SCHEMA) as writer:
        for batch in batches:
            rows = []
            for document, text, picture in _rows(batch):
                if picture is not None or (text and text.strip()):
                    rows.append({"key": _key(len(ids)), "text": text, "image": None if picture is None else _png(picture)})
                ids.append(document)
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return ids


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    PilPicture(picture).open().save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _key(place: int) -> str:
    return f"{place:09}"  # of one width, since ties go by the names of items


def _place(item_id: str) -> int:
    return int(item_id.rpartition("::")[2])


def _weights(encoder: Encoder) -> str:
    return str(getattr(encoder, "weights_hash", ""))


def _meta(name: str, modalities: Iterable[str], about: Mapping[str, Any], **more: Any) -> Any:
    """What mteb knows a model by. Its names have one slash, and become names of folders."""
    short = "+".join(stage.partition("(")[0].replace("/", "-") for stage in name.split("+"))
    own = {"name": f"mmrerank/{short}", "revision": __version__, "modalities": sorted(modalities), "experiment_kwargs": about}
    return ModelMeta.create_empty({**own, **more})
