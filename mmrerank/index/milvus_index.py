"""Index "milvus_index": the descriptors stand in a Milvus server, for more of them than one machine should hold.

    milvus_index/http://milvus.example:19530(token_file='/run/secrets/milvus')
    milvus_index/trial.db(kind=FLAT)             Milvus Lite in a file: a stand-in for trials and tests, slow above some ten thousand

Each index that is built is a collection of its own on the server, `NAME_DIMENSION_ID`, with the keys of the items as its primary keys.
What is saved beside the table is a note of which one it is, so that a version is found again, and one that was rebuilt changes nothing
under those who still search in the former: that is dropped when the next one is saved. A filter goes to the server as keys, some
thousand at a time. The exact cosines are computed from the table afterwards, as for every index.
Source: pymilvus's `MilvusClient`; ids, ties at the edge and the note are ours. Cost a query: one call to the server, and one more for each
`KEYS_AT_ONCE` keys that a filter allows.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import uuid4

import numpy as np

from mmrerank.errors import BackendError, DamagedData, InputError, ManifestError, MissingExtra
from mmrerank.index._checks import integer_ids, positive, unit_rows, with_ids
from mmrerank.ordering import ROUNDING, levelled
from mmrerank.parts import printed
from mmrerank.types import Array, Keys, Neighbours

SEARCHES = "rows"
MOST = 16_384  # hits that the server gives at once
SLACK = 16  # hits beyond k, so that ties at the edge are settled by id
KEYS_AT_ONCE = 16_384  # in a filter
ROWS_AT_ONCE = 4096  # in an insertion: 8 MiB of rows of 512 numbers
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Options:
    uri: str = ""  # of the server, or a file NAME.db for Milvus Lite; "": a file that goes with the process
    collection: str = "mmrerank"  # how the collections on the server begin
    kind: Literal["AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8"] = "AUTOINDEX"  # what the server builds
    database: str = ""  # on the server; "": its default
    token_file: str = ""  # file with the server's token, so that none stands in a name


class MilvusIndex:
    """An `Index` (protocols.py) whose rows are on a server."""

    def __init__(self, options: Options, dimension: int) -> None:
        self.name = printed("milvus_index", options, argument=bool(options.uri))
        self.dimension = positive(dimension)
        self._options = options
        self._collection = ""  # on the server; "" before the first row
        self._former = ""  # what was searched before this one was built

    def __len__(self) -> int:
        return int(self._rows("", ["count(*)"])[0]["count(*)"]) if self._collection else 0

    @property
    def ids(self) -> Keys:
        """(n,) ascending; asks the server for all of them."""
        if not self._collection:
            return np.empty(0, np.int64)
        ids = [row["key"] for rows in self._pages() for row in rows]
        return np.sort(np.array(ids, np.int64))

    @property
    def needs_rebuild(self) -> bool:
        """Never: the server compacts by itself."""
        return False

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows under (n,) new ids.

        Raises:
            ShapeError: another dimension, or not as many ids as rows.
            InputError: an id that it holds, an id twice, or a row that is not of unit length.
            BackendError: the server cannot be reached, or refuses.
        """
        ids, rows = with_ids(ids, rows, self.dimension)
        if len(np.unique(ids)) != len(ids):
            raise InputError("an id comes twice")
        if not len(ids):
            return
        if self._collection and (present := self._present(ids)):
            raise InputError(f"the index holds the id {present[0]} already")
        self._collection = self._collection or self._created()
        for start in range(0, len(ids), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            batch = [{"key": key, "row": row} for key, row in zip(ids[part].tolist(), rows[part], strict=True)]
            self._answer_of(partial(self._client.insert, self._collection, batch))

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable; one that it does not hold is left aside."""
        ids = integer_ids(ids)
        for some in _groups(ids) if self._collection else ():
            self._answer_of(partial(self._client.delete, self._collection, ids=some))

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of each of (n_queries, dimension) unit rows, among `allowed` only when it is given. Ties go by id.

        Raises:
            ShapeError: another dimension.
            InputError: k below 1 or beyond what the server gives, or a row that is not of unit length.
            BackendError: the server cannot be reached, or refuses.
        """
        queries, k = unit_rows(rows, self.dimension), positive(k)
        if k > MOST:
            raise InputError(f"Milvus gives at most {MOST} hits at once; got k={k}")
        filters = [""] if allowed is None else [_among(some) for some in _groups(np.unique(integer_ids(allowed)))]
        if not self._collection or not len(queries):
            filters = []
        parts = [self._hits(queries, k, condition) for condition in filters]
        return [_best([part[n] for part in parts], k) for n in range(len(queries))]

    def _hits(self, queries: Array, k: int, condition: str) -> list[tuple[Keys, Array]]:
        """Ids and scores of each query, the k best among them and all that tie with the last of these."""
        limit = min(k + SLACK, MOST)
        while True:
            ask = partial(self._client.search, self._collection, data=list(queries), limit=limit, filter=condition)
            answer = self._answer_of(partial(ask, output_fields=["key"], search_params=_METRIC))
            hits = [
                (np.array([hit["key"] for hit in one], np.int64), np.array([hit["distance"] for hit in one], np.float32)) for one in answer
            ]
            if limit == MOST or all(_is_settled(scores, k, limit) for _, scores in hits):
                return hits
            limit = min(4 * limit, MOST)

    # ------------------------------------------------------------------ the note of what it is

    def save(self, path: Path) -> None:
        """Writes which collection of the server this is to one file, in one step; the one before the former is dropped there.

        Raises:
            BackendError: the server cannot be reached.
        """
        path = Path(path)
        notes = [note for file in path.parent.glob("*") if (note := _note(file)) and note.get("uri") == self._options.uri]
        for note in notes:
            if note["collection"] not in ("", self._collection):
                self._former = note["collection"]
            if note["former"] not in ("", self._collection, self._former):
                self._answer_of(partial(self._client.drop_collection, note["former"]))
        text = json.dumps({**self._header(), "uri": self._options.uri, "collection": self._collection, "former": self._former})
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            draft.write_text(f"{_sum(text)}\n{text}\n", encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Takes over the collection that `save` noted.

        Raises:
            DamagedData: the note is missing or changed, or the server has no such collection any more.
            ManifestError: it is of an index of another kind or dimension.
        """
        note = _note(Path(path))
        if note is None:
            raise DamagedData(f"the note of a Milvus index {path} is missing or changed", hint=_REBUILD)
        header = {name: note[name] for name in self._header()}
        if header != self._header():
            message = f"the note {path} is of an index of {header}, not {self._header()}"
            raise ManifestError(message, hint="Open it as what it is, or rebuild.")
        name = note["collection"]
        if name and not self._answer_of(lambda: self._client.has_collection(name)):
            raise DamagedData(f"the server has no collection {name!r}, which {path} names", hint=_REBUILD)
        self._collection, self._former = name, note["former"]

    def _header(self) -> dict[str, Any]:
        return {"index": "milvus_index", "dimension": self.dimension}

    # ------------------------------------------------------------------ the server

    @cached_property
    def _client(self) -> Any:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise MissingExtra.of("pymilvus", "milvus", "the index milvus_index") from error
        options = self._options
        token = Path(options.token_file).read_text(encoding="utf-8").strip() if options.token_file else ""
        uri = options.uri or str(Path(_trial_folder().name) / "index.db")
        return self._answer_of(lambda: MilvusClient(uri, token=token, **({"db_name": options.database} if options.database else {})))

    def _created(self) -> str:
        from pymilvus import DataType

        name = f"{self._options.collection}_{self.dimension}_{uuid4().hex}"
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("row", DataType.FLOAT_VECTOR, dim=self.dimension)
        parameters = self._client.prepare_index_params()
        built = _BUILD.get(self._options.kind, {})
        parameters.add_index(field_name="row", index_type=self._options.kind, metric_type="COSINE", params=built)
        how = {"schema": schema, "index_params": parameters, "consistency_level": "Strong"}  # a search sees whatever was added before it
        self._answer_of(lambda: self._client.create_collection(name, **how))
        return name

    def _rows(self, condition: str, fields: Sequence[str]) -> Any:
        return self._answer_of(lambda: self._client.query(self._collection, filter=condition, output_fields=list(fields)))

    def _present(self, ids: Keys) -> list[int]:
        return [row["key"] for some in _groups(ids) for row in self._rows(_among(some), ["key"])]

    def _pages(self) -> Iterator[Any]:
        pages = self._answer_of(lambda: self._client.query_iterator(self._collection, batch_size=MOST, output_fields=["key"]))
        try:
            while rows := self._answer_of(pages.next):
                yield rows
        finally:
            pages.close()

    def _answer_of(self, ask: Callable[[], T]) -> T:
        """What the server answers; whatever its client raises is told as an error of the server."""
        try:
            return ask()
        except (InputError, MissingExtra, DamagedData):
            raise
        except Exception as error:  # pymilvus has no one class for what can go wrong, and passes gRPC's errors on
            place = self._options.uri or "Milvus Lite"
            raise BackendError(f"{place} does not answer as expected: {error}", hint="See whether the server is up.") from error


@cache
def _trial_folder() -> tempfile.TemporaryDirectory[str]:
    """Where the Milvus Lite of this process lies; it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="mmrerank-milvus-", ignore_cleanup_errors=True)


_METRIC = {"metric_type": "COSINE"}
_BUILD = {"HNSW": {"M": 32, "efConstruction": 200}, "IVF_FLAT": {"nlist": 1024}, "IVF_SQ8": {"nlist": 1024}}
_REBUILD = "Rebuild the index from its descriptors."


def _groups(ids: Keys) -> Iterator[list[int]]:
    for start in range(0, len(ids), KEYS_AT_ONCE):
        yield ids[start : start + KEYS_AT_ONCE].tolist()


def _among(ids: Sequence[int]) -> str:
    return f"key in {list(ids)}"


def _is_settled(scores: Array, k: int, limit: int) -> bool:
    """Whether nothing beyond what came can tie with the k-th: all came, or a step of more than rounding lies behind it."""
    return len(scores) < limit or bool((scores[k - 1 : -1] - scores[k:] > ROUNDING).any())


def _best(parts: Sequence[tuple[Keys, Array]], k: int) -> Neighbours:
    if not parts:
        return Neighbours(ids=np.empty(0, np.int64), scores=np.empty(0, np.float32))
    ids, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    scores = levelled(scores).astype(np.float32)
    order = np.lexsort((ids, -scores))[:k]
    return Neighbours(ids=ids[order], scores=scores[order])


def _sum(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _note(path: Path) -> dict[str, Any] | None:
    """What a note says; None where there is none that can be trusted."""
    try:
        head, text, rest = path.read_text(encoding="utf-8").split("\n")
        note: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return None
    return note if head == _sum(text) and not rest and {"uri", "collection", "former"} <= note.keys() else None


def build(options: Options, dimension: int) -> MilvusIndex:
    """The index for rows of `dimension` numbers; the server is asked when there is something to ask."""
    return MilvusIndex(options, dimension)


def tiny() -> MilvusIndex:
    """An empty index for rows of 8 numbers, in a Milvus Lite of its own."""
    return MilvusIndex(Options(), 8)
