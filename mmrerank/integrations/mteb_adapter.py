"""MTEB: an encoder, a whole pipeline as one search model, and rerankers over a task's own candidates. Extra: `mmrerank[mteb]` (Python 3.11
and later).

    mteb.evaluate(MMRerankEncoder("openclip/mini"), task)
    mteb.evaluate(MMRerankSearch(encoders=["openclip/mini"], rerank=["superglobal"], depth=50), task)
    mteb.evaluate(MMRerankReranker("ragllava", backend="local/PATH", folder="runs"), mteb.get_benchmark("ViDoRe(v3.1, reranking)"))

How a task shows its texts (titles, instructions, conversations) is left to mteb's own loader of batches. mteb stores a result under
name, revision and experiment of a model and takes it from there the next time, so these hold all that moves the numbers: the names
of the parts, the hashes of their weights, the depth and our version. What one document lacks, or one query, spoils that one only: what
cannot be judged keeps the place it came with behind the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from mmrerank.backends import backend_of
from mmrerank.collection import Collection
from mmrerank.errors import FormatError, InputError, MissingExtra
from mmrerank.integrations._checks import at_most, check_resources, check_retriever, check_stages, folder_at, refusing_unknown
from mmrerank.integrations._mteb_data import CorpusPicture, batches, has_pictures, model_meta, rows_of, texts
from mmrerank.integrations._reranking import Reranking, order_of
from mmrerank.integrations._run_log import Line, RunLog, key_of, table
from mmrerank.parts import as_tuple, make
from mmrerank.pictures import PilPicture
from mmrerank.pipeline import AnyReranker, check_count, rerank_candidates
from mmrerank.protocols import Backend, Encoder, QueryEncoder, weights_of
from mmrerank.types import Array, Candidate, Cost, ImageHandle, Item, Query

try:
    from mteb.models.model_meta import ScoringFunction
    from mteb.similarity_functions import cos_sim, pairwise_cos_sim
    from mteb.types import PromptType
except ImportError as error:
    raise MissingExtra.of("mteb", "mteb", "The MTEB adapter") from error

logger = logging.getLogger(__name__)
DEPTH = 100
ROWS = "corpus.parquet"
SCHEMA = pa.schema([("key", pa.string()), ("text", pa.string()), ("image", pa.binary())])


class MMRerankEncoder:
    """One of our encoders. Similarity is the cosine.

    What has text and a picture is their sum at length 1, or the one that the encoder takes; in a mixed corpus each document is what it
    has, and one that has nothing is a row of zeros, as unlike everything as what is at right angles to it. An encoder with many rows a page
    gives their mean here; `MMRerankSearch` with the retriever `late_interaction` compares them all.
    """

    @refusing_unknown
    def __init__(self, encoder: str | Encoder) -> None:
        """
        Args:
            encoder: a part or its name, such as "openclip/mini".

        Raises:
            UnknownName: no encoder of that name, or no such option.
            InputError: it is no encoder.
        """
        check_resources({"encoder": encoder})
        self.model: Encoder = make(encoder, station="encoders") if isinstance(encoder, str) else encoder
        about = {"encoder": self.model.name, "weights": weights_of(self.model)}
        more = {"embed_dim": self.model.dimension, "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = model_meta(self.model.name, self.model.takes, about, **more)

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
        encode = self.model.encode_queries if for_queries and isinstance(self.model, QueryEncoder) else self.model.encode
        takes = self.model.takes & batch.keys()
        pictures = _opened(batch["image"]) if "image" in takes else {}
        columns: list[tuple[Any, dict[int, Any]]] = []
        if "text" in takes:  # an empty text is what a document is only where it has no picture
            words = enumerate(batch["text"])
            columns.append((encode, {n: text for n, text in words if text is not None and (text.strip() or n not in pictures)}))
        if "image" in takes:
            columns.append((self.model.encode, pictures))
        if not columns:
            raise InputError(f"{self.model.name!r} takes {' and '.join(sorted(self.model.takes))}; the task has {', '.join(sorted(batch))}")
        total = np.zeros((len(next(iter(batch.values()))), self.model.dimension), dtype=np.float32)
        for encoded, values in columns:
            if values:
                total[list(values)] += encoded(list(values.values()))
        rows: Array = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return rows


def _opened(pictures: Sequence[Any]) -> dict[int, Any]:
    """Place -> picture of those that are there and can be opened."""
    opened: dict[int, Any] = {}
    for place, picture in enumerate(pictures):
        try:
            if picture is not None:
                opened[place] = PilPicture(picture).open()
        except FormatError as error:
            logger.warning("the picture of a document is left out: %s", error)
    return opened


class MMRerankSearch:
    """First stage and rerankers, over a collection that is made of each corpus.

    A hit's score says only how many stand behind it: the order is all that every pipeline has, and mteb would break ties by its own
    rule. So mteb's nAUC, which reads scores as confidence, means nothing here. In reranking tasks the pipeline searches among the
    candidates given, and those that it does not find, holds to be irrelevant, or that are in no corpus, follow in the order given;
    `MMRerankReranker` takes the candidates as they stand.
    """

    @refusing_unknown
    def __init__(
        self,
        *,
        encoders: str | Encoder | Sequence[str | Encoder] = (),
        retriever: str | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: str | Backend | None = None,
        depth: int = DEPTH,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            encoders: one or several, for a first stage by descriptors; with none, the words of texts are searched.
            folder: where collections stay, so that a second run encodes nothing again; a temporary one for each corpus when None.
            depth: how many candidates the rerankers see. The rest is as in `Collection.search`.

        Raises:
            InputError: an option cannot be used.
            UnknownName: no part of that name, or no such option.
        """
        check_count("depth", depth)
        parts = as_tuple(encoders)
        options = {"backend": backend, "encoder": parts or None}
        self._rerank = check_stages(rerank, options)
        check_retriever(retriever, options)
        self._encoders = [make(encoder, station="encoders") if isinstance(encoder, str) else encoder for encoder in parts]
        self._retriever, self._depth = retriever, depth
        self._backend = backend_of(backend)
        self._folder = folder_at(folder)
        self._remove_temporary: weakref.finalize[..., Any] | None = None
        self._collection: Collection | None = None
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self.mteb_model_meta = self._described()

    def _described(self) -> Any:
        stages = [self._retriever or "default", *map(_name_of, self._rerank)]
        about = {
            "stages": stages,
            "encoders": [encoder.name for encoder in self._encoders],
            "weights": [weights_of(encoder) for encoder in self._encoders],
            "backend": "" if self._backend is None else self._backend.name,
            "depth": self._depth,
        }
        return model_meta("+".join(stages), {"text", "image"}, about)

    def index(self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, encode_kwargs: Any, num_proc: Any, **_: Any) -> None:
        """Makes the collection of a corpus, in place of the one before.

        Raises:
            InputError: a document cannot be indexed.
        """
        folder = self._folder_for(f"{task_metadata.name} {hf_subset} {hf_split}")
        folder.mkdir(parents=True, exist_ok=True)
        self._ids = _write_rows(folder / ROWS, batches(corpus, task_metadata, PromptType.document, encode_kwargs, num_proc))
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
        for batch in batches(queries, task_metadata, PromptType.query, encode_kwargs, num_proc):
            for query_id, text, picture in rows_of(batch):
                images = () if picture is None else (PilPicture(picture),)
                candidates = None if top_ranked is None else list(dict.fromkeys(top_ranked.get(query_id, ())))
                if text is None and not images:
                    logger.warning("query %r is empty: nothing is searched for it", query_id)
                    scores[query_id] = _by_place((candidates or [])[:top_k])
                    continue
                scores[query_id] = _by_place(self._best(Query(query_id=query_id, text=text, images=images), top_k, candidates))
        return scores

    def _best(self, query: Query, top_k: int, candidates: list[str] | None) -> list[str]:
        """The ids of the best documents, of all or of the candidates."""
        if self._collection is None:
            raise InputError("there is no corpus to search in", hint="Call index() first.")
        if candidates is not None:
            known = [document for document in candidates if document in self._places]
            _tell_strays(query.query_id, candidates, self._places)
            if not known:
                return candidates[:top_k]
            listed = ", ".join(f"'{ROWS}::{_key(self._places[document])}'" for document in known)
            query = replace(query, filter=f"item_id IN ({listed})")
        parts: dict[str, Any] = {"retriever": self._retriever, "rerank": self._rerank, "backend": self._backend}
        hits = self._collection.search(query, k=top_k, depth=self._depth, **parts).hits
        ids = [self._ids[_place(hit.item.item_id)] for hit in hits]
        return list(dict.fromkeys([*ids, *(candidates or ())]))[:top_k]


class MMRerankReranker:
    """Rerankers over the candidates of a reranking task, in the order in which the task's own first stage left them.

    With a folder each query's order is written as it comes, so that a run that was stopped asks no model twice. What it took is logged
    after each corpus, and `report` shows it. A hit's score says only how many stand behind it, as in `MMRerankSearch`.
    """

    @refusing_unknown
    def __init__(
        self,
        rerank: AnyReranker | Sequence[AnyReranker],
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        api_key: str | None = None,
        depth: int | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            rerank: a part or its name, or several that work one after the other.
            backend: the MLLM that rerankers given by name ask.
            encoder: makes the descriptors that rerankers given by name work on.
            api_key: for a backend given by name, or without one for a reranker that asks a server.
            depth: how many candidates they see; all when None.
            folder: where the orders of each task are kept, a line a query.

        Raises:
            InputError: an option cannot be used, or a reranker needs one that is missing.
            UnknownName: no part of that name, or no such option.
        """
        self._depth = at_most("depth", depth)
        self._work = Reranking(rerank, backend=backend, encoder=encoder, api_key=api_key)
        if not self._work.stages:
            raise InputError("there is no reranker", hint="Give one by its name, such as bm25.")
        self._folder = folder_at(folder)
        names = [_name_of(stage) for stage in self._work.stages]
        self._about: dict[str, Any] = {
            "stages": names,
            "backend": backend if isinstance(backend, str | None) else backend.name,
            "encoder": encoder if isinstance(encoder, str | None) else encoder.name,
            "weights": "" if isinstance(encoder, str | None) else weights_of(encoder),
            "depth": self._depth,
        }
        self.mteb_model_meta = model_meta("+".join(names), {"text", "image"}, self._about)
        self.costs: dict[str, tuple[int, Cost]] = {}  # task, subset and split -> its queries, and what they took
        self._corpus: Any = None
        self._places: dict[str, int] = {}
        self._texts: list[str | None] = []
        self._has_picture: Any = ()

    def index(self, corpus: Any, *, task_metadata: Any, num_proc: Any = None, **_: Any) -> None:
        """Takes the documents of a task in place of those before; their pictures are decoded when a reranker looks at them."""
        rows = texts(corpus, task_metadata, PromptType.document, num_proc)
        self._corpus, self._texts = corpus, [text for _, text in rows]
        self._places = {document: place for place, (document, _) in enumerate(rows)}
        self._has_picture = has_pictures(corpus)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: Any = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Query id -> document id -> score, for the `top_k` best candidates of each query.

        Raises:
            InputError: the task has no candidates, or there is no corpus yet.
        """
        if top_ranked is None or self._corpus is None:
            why = f"{task_metadata.name} has no candidates to rerank" if top_ranked is None else "there is no corpus to rerank"
            raise InputError(why, hint="MMRerankSearch searches a whole corpus; in a reranking task, call index() first.")
        log = RunLog(self._log_path(task_metadata, hf_subset, hf_split))
        pictures = has_pictures(queries)
        scores, total = {}, Cost()
        for place, (query_id, text) in enumerate(texts(queries, task_metadata, PromptType.query, num_proc)):
            images = (CorpusPicture(queries, place),) if pictures[place] else ()
            line = self._line(log, query_id, text, images, list(dict.fromkeys(top_ranked.get(query_id, ()))))
            scores[query_id], total = _by_place(line.order[:top_k]), total + line.cost
        name = f"{task_metadata.name} {hf_subset} {hf_split}"
        self.costs[name] = (len(scores), total)
        logger.info("%s\n%s", self._work.name, table({name: self.costs[name]}))
        return scores

    def report(self) -> str:
        """A table of what each task took: queries, and a query's calls, tokens and seconds of model work. Answers that were kept from an
        earlier run count with what they took then."""
        return table(self.costs)

    def _log_path(self, task: Any, subset: str, split: str) -> Path | None:
        if self._folder is None:
            return None
        revision = str(task.dataset.get("revision", ""))
        key = key_of(self._about, self.mteb_model_meta.revision, revision)
        return self._folder / f"{task.name} {subset} {split} {key}.jsonl"

    def _line(self, log: RunLog, query_id: str, text: str | None, images: tuple[ImageHandle, ...], candidates: list[str]) -> Line:
        """The order of one query, as it was kept or as it comes now."""
        pixels = [hashlib.blake2b(image.open().tobytes(), digest_size=12).hexdigest() for image in images]
        key = key_of(text, pixels, candidates)
        line = log.line(query_id, key)
        if line is None:
            line = self._reranked(query_id, text, images, candidates)
            log.add(query_id, key, line)
        return line

    def _reranked(self, query_id: str, text: str | None, images: tuple[ImageHandle, ...], candidates: list[str]) -> Line:
        _tell_strays(query_id, candidates, self._places)
        known = [self._candidate(document) for document in candidates if document in self._places]
        if not known or (text is None and not images):
            why = "it is empty" if known else "it has no candidates"
            logger.warning("query %r is not reranked: %s", query_id, why)
            return Line(order=tuple(candidates), status="fallback", notes=(why,))
        query = Query(query_id=query_id, text=text, images=images)
        order = order_of(rerank_candidates(query, known, self._work.parts_for(known), depth=self._depth), known)
        ids = [known[line.position].item.item_id for line in order.lines]
        return Line(order=tuple(dict.fromkeys([*ids, *candidates])), status=order.status, notes=order.notes, cost=order.cost)

    def _candidate(self, document: str) -> Candidate:
        place = self._places[document]
        image = CorpusPicture(self._corpus, place) if self._has_picture[place] else None
        return Candidate(item=Item(item_id=document, text=self._texts[place], image=image))


def _by_place(order: Sequence[str]) -> dict[str, float]:
    """Document -> how many stand behind it, itself counted."""
    return {document: float(len(order) - place) for place, document in enumerate(order)}


def _tell_strays(query_id: str, candidates: Sequence[str], known: Mapping[str, int]) -> None:
    """Logs the candidates that are in no corpus."""
    strays = [document for document in candidates if document not in known]
    if strays:
        logger.warning("%d of %d candidates of query %r are not in the corpus: %s", len(strays), len(candidates), query_id, strays[:3])


def _name_of(stage: AnyReranker) -> str:
    return stage if isinstance(stage, str) else stage.name


def _write_rows(path: Path, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Writes the documents as a table whose keys are their places; returns all ids, also of empty ones, which nothing can find."""
    ids: list[str] = []
    with parquet.ParquetWriter(path, SCHEMA) as writer:
        for batch in parts:
            pictures = _opened(batch.get("image", ()))
            rows = []
            for place, (document, text, _) in enumerate(rows_of(batch)):
                if place in pictures or text is not None:
                    image = _png(pictures[place]) if place in pictures else None
                    rows.append({"key": _key(len(ids)), "text": text, "image": image})
                ids.append(document)
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return ids


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _key(place: int) -> str:
    return f"{place:09}"  # of one width, since ties go by the names of items


def _place(item_id: str) -> int:
    return int(item_id.rpartition("::")[2])
