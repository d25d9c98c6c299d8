"""The Lance table of a collection: upserts in atomic commits, removals, filters, snapshots.

Lance gives the versions, the commits and the SQL; nothing here journals. Every write either happened whole or not at all, so a
killed process leaves the last commit. Two writers at once would both insert the same id: `lock.py` keeps them apart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmrerank.errors import DamagedData, InputError
from mmrerank.store.fields import OF_ENGINE, WIDER, Misfit, Renamed, column_name, fitted
from mmrerank.store.filters import MOST_VALUES, conditions, explained, for_engine, quoted
from mmrerank.store.reading import dropping, reading
from mmrerank.store.records import FIXED, PREFIX, TOKENS, Record
from mmrerank.store.rows import Rows, rows_of, token_column, vector_column
from mmrerank.store.short_fields import WITH_TEXT, FieldCache, ShortFields, data_files_of
from mmrerank.store.vectors import StoredVectors, vectors_of
from mmrerank.types import Array, Keys

logger = logging.getLogger(__name__)
REPAIR = "index any of the folders of the collection again: that repairs it."
SMALL_FILES = 8  # from so many on they are joined
ROWS_A_FILE = 65_536  # a file of as many is never written again for being small
TAG = "reading-"  # before the number of a version that somebody reads
SCAN_ROWS, SCAN_BYTES = 2048, 8 << 20  # of a batch, and read ahead: a scan holds some 100 MB then, and 250 with batches of 8,192
_KNOWN = [
    "item_id",
    "file",
    "reader",
    "content_hash",
    "file_size",
    "file_mtime_ns",
    "file_items",
    "seen_ns",
    "state",
    "reason",
    "encoders",
    "document_id",
    "page_number",
]
_OF_FILES = ("content_hash", "file_size", "file_mtime_ns", "file_items", "seen_ns", "state", "reason", "encoders")


class Table:
    """The items of one collection on disk, at its newest version."""

    def __init__(self, path: Path, dataset: Any, uri: str = "") -> None:
        self.path = path
        self.uri = uri or str(path)
        self._dataset = dataset

    @classmethod
    def create(cls, path: Path, uri: str = "") -> Table:
        """A new, empty table, in place of an empty one that a killed process left.

        Args:
            path: where it lies; where it does not, what belongs to it lies beside that.
            uri: of object storage, where it lies there; as Lance takes it, with credentials from the environment.

        Raises:
            InputError: a table with items is there, or the storage refuses.
        """
        place = uri or str(path)
        is_there = _is_table(path, uri)
        if is_there and Table.open(path, uri)._dataset.count_rows():
            raise InputError(f"{place} holds items already", hint=f"Restore the collection.toml beside it, or move {place} away.")
        try:
            dataset = lance.write_dataset(FIXED.empty_table(), place, schema=FIXED, mode="overwrite" if is_there else "create")
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"no table can be made at {place}: {error}") from error
        return cls(path, dataset, uri)

    @classmethod
    def open(cls, path: Path, uri: str = "") -> Table:
        """The table at `path`, or at its `uri` in object storage.

        Raises:
            DamagedData: it is not there or Lance cannot read it.
        """
        try:
            return cls(path, lance.dataset(uri or str(path)), uri)
        except (OSError, ValueError) as error:
            hint = "Index the sources again into a new collection."
            raise DamagedData(f"the table {uri or path} cannot be read: {error}", hint=hint) from error

    def refresh(self) -> None:
        """Moves to the newest version; other processes may have written."""
        self._dataset = lance.dataset(self.uri)

    @property
    def version(self) -> int:
        """Its number, from 1; each commit makes the next."""
        return int(self._dataset.version)

    @property
    def is_newest(self) -> bool:
        """Whether nobody wrote since it was opened or refreshed."""
        return int(self._dataset.latest_version) == self.version

    @property
    def schema(self) -> pa.Schema:
        """All columns, those of vectors too."""
        return self._dataset.schema

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The fields that came with the items, beside those that every table has."""
        return tuple(name for name in self._dataset.schema.names if name not in FIXED.names and _is_readable(name))

    @property
    def row_count(self) -> int:
        """Of items and of what could not be read."""
        return int(self._dataset.count_rows())

    @property
    def data_files(self) -> Mapping[str, str]:
        """Number of each file of the table -> what tells its content."""
        return data_files_of(self._dataset)

    def dimension(self, slug: str) -> int | None:
        """Of the descriptors of one encoder; None when the table has none of it."""
        name = PREFIX + slug
        schema = self._dataset.schema
        return int(schema.field(name).type.list_size) if name in schema.names else None

    def add_encoder(self, slug: str, dimension: int, *, tokens: bool = False) -> None:
        """Makes room for the descriptors of another encoder, and its token vectors where it has them; all null at first."""
        if tokens and TOKENS + slug not in self._dataset.schema.names:
            self._dataset.add_columns(pa.field(TOKENS + slug, pa.list_(pa.float16())))
        if self.dimension(slug) is None:
            self._dataset.add_columns(pa.field(PREFIX + slug, pa.list_(pa.float32(), dimension)))

    def known(self, under: str = "", is_wanted: Callable[[str], bool] | None = None) -> list[dict[str, Any]]:
        """The bookkeeping fields of every row whose file id begins with `under`, and its notes where any row has one.

        Args:
            is_wanted: tells of a file id whether its rows are; asked once a file. Of large tables no more than these are read.
        """
        columns = [*_KNOWN, *(name for name in ("text_note", "picture_note") if name in self._dataset.schema.names)]
        return list(self._of_files(columns, under, is_wanted).to_pylist())

    def _of_files(self, columns: list[str], under: str, is_wanted: Callable[[str], bool] | None) -> pa.Table:
        """Some columns of the rows whose file id begins with `under`, and is wanted."""
        where = f"starts_with(file, {quoted(under)})" if under else None
        if is_wanted is not None:
            rows = self._dataset.to_table(columns=["file"], filter=where, with_row_id=True)
            names = pa.array([name for name in rows["file"].unique().to_pylist() if is_wanted(name)], pa.string())
            wanted = rows["_rowid"].filter(pc.is_in(rows["file"], value_set=names)).to_pylist()
            if len(wanted) < len(rows):
                pieces = [wanted[start : start + ROWS_A_FILE] for start in range(0, len(wanted), ROWS_A_FILE)] or [[]]
                return pa.concat_tables([self._dataset._take_rows(piece, columns=columns) for piece in pieces])
        return self._dataset.to_table(columns=columns, filter=where)

    def has_files(self, under: str) -> bool:
        """Whether a file id begins with `under`."""
        return bool(len(self._dataset.to_table(columns=["file"], filter=f"starts_with(file, {quoted(under)})", limit=1)))

    def file_sizes(self) -> dict[str, int]:
        """File id -> the bytes of the file when it was looked at."""
        rows = self._dataset.to_table(columns=["file", "file_size"])
        return dict(zip(rows["file"].to_pylist(), rows["file_size"].to_pylist(), strict=True))

    def widen(self, rows: Rows) -> None:
        """Makes the columns that these rows need, in the types that they need; writes none of them."""
        with self._columns_undone_on_failure():
            self._fit_columns(fitted(rows.item_ids, rows.metadata, self.metadata_types()).types)

    def fragments_of(self, rows: Rows) -> tuple[list[str], list[Misfit]]:
        """Writes rows as fragments that no version of the table has until they are appended; the columns are there.

        Returns:
            the fragments as JSON, and the values that their columns could not hold as they came.
        """
        fields = fitted(rows.item_ids, rows.metadata, self.metadata_types())
        arrow = self.as_arrow(rows, fields.columns)
        fragments = lance.fragment.write_fragments(arrow, self._dataset, mode="append", max_rows_per_file=ROWS_A_FILE)
        return [json.dumps(fragment.to_json()) for fragment in fragments], fields.misfits

    def append_fragments(self, fragments: Sequence[str]) -> None:
        """Appends what `fragments_of` wrote, in one atomic commit."""
        if fragments:
            added = lance.LanceOperation.Append([lance.fragment.FragmentMetadata.from_json(fragment) for fragment in fragments])
            self._dataset = lance.LanceDataset.commit(self._dataset, added, read_version=self.version)

    def drop_orphans(self) -> None:
        """Deletes files that no version has, such as those that killed workers began; for whoever alone writes."""
        self._dataset.cleanup_old_versions(older_than=timedelta(days=36_500), delete_unverified=True, error_if_tagged_old_versions=False)

    def has_any(self, item_ids: Sequence[str]) -> bool:
        """Whether a row has one of these ids."""
        return any(self._dataset.count_rows(filter=some) for some in conditions("item_id", item_ids))

    def files(self, is_wanted: Callable[[str], bool]) -> pa.Table:
        """Of each wanted file its rows by state, reader and encoders: `rows`, `seen_ns` (the earliest), and the stamps they agree in."""
        keys = ["file", "file_size", "file_mtime_ns", "file_items", "reader", "state", "encoders"]
        rows = self._of_files([*keys, "seen_ns"], "", is_wanted)
        counts = rows.group_by(keys).aggregate([("seen_ns", "min"), ("seen_ns", "count")])
        return counts.rename_columns([{"seen_ns_min": "seen_ns", "seen_ns_count": "rows"}.get(name, name) for name in counts.column_names])

    def of_file(self, file_id: str, columns: Sequence[str], state: str | None = None) -> pa.Table:
        """Some columns of the rows of one file, or of those in one state."""
        among = "" if state is None else f" AND state = {quoted(state)}"
        return self._dataset.to_table(columns=list(columns), filter=f"file = {quoted(file_id)}{among}")

    def remove_files(self, file_ids: Sequence[str]) -> None:
        """Removes all rows of these files."""
        for some in conditions("file", file_ids):
            self._dataset.delete(some)

    def write(self, records: Sequence[Record], *, with_vectors: bool = True, new: bool = False) -> tuple[list[Renamed], list[Misfit]]:
        """Writes rows, replacing those of the same `item_id`, in one atomic commit; where it fails, the columns are what they were.

        Args:
            with_vectors: False for rows that are there and keep their descriptors and token vectors.
            new: whether no row has any of these ids: they are appended then, and nothing is looked for.

        Returns:
            the fields that are called otherwise here, and the values that their columns could not hold as they came.
        """
        if not records:
            return [], []
        return self.write_rows(rows_of(records, self._dataset.schema, self.metadata_types()), with_vectors=with_vectors, new=new)

    def write_rows(self, rows: Rows, *, with_vectors: bool = True, new: bool = False) -> tuple[list[Renamed], list[Misfit]]:
        """As `write`, of rows that are columns already."""
        fields = fitted(rows.item_ids, rows.metadata, self.metadata_types())
        with self._columns_undone_on_failure():
            self._fit_columns(fields.types)
            arrow = self.as_arrow(rows, fields.columns)
            if not with_vectors:
                arrow = arrow.select([n for n in arrow.column_names if n != "encoders" and not n.startswith((PREFIX, TOKENS))])
            if new:
                self._dataset = lance.write_dataset(arrow, self.uri, mode="append", max_rows_per_file=ROWS_A_FILE)
            else:
                self._merge(arrow, insert=with_vectors)
        return list(rows.renamed), fields.misfits

    def metadata_types(self) -> dict[str, pa.DataType]:
        """The columns of metadata with their types."""
        return {name: self._dataset.schema.field(name).type for name in self.metadata_fields}

    def as_arrow(self, rows: Rows, metadata: Mapping[str, pa.Array]) -> pa.Table:
        """The rows as the table has its columns now."""
        schema = self._dataset.schema
        known = {**metadata, **rows.vectors, **rows.fixed}
        columns = [known[name] if name in known else pa.nulls(len(rows), schema.field(name).type) for name in schema.names]
        return pa.Table.from_arrays(columns, schema=schema)

    @contextmanager
    def _columns_undone_on_failure(self) -> Iterator[None]:
        """Goes back to the version before where the columns were changed and what was to fill them could not be written."""
        version, schema = self.version, self._dataset.schema
        try:
            yield
        except BaseException:  # the engine's panics are no Exception
            self.refresh()
            if self._dataset.schema != schema:
                lance.dataset(self.uri, version=version).restore()
                self.refresh()
            raise

    def repair(self) -> list[str]:
        """Drops columns that the engine cannot stand beside its own, which earlier versions made of fields of that name, and ends what a
        kill left of a change of type; returns what was done, in sentences."""
        lines = []
        for name in self._dataset.schema.names:
            if OF_ENGINE.fullmatch(name):
                self._dataset.drop_columns([name])
                lines.append(
                    f"the column {name!r}, which the storage engine cannot hold, was dropped; the field is {column_name(name)!r} now"
                )
            elif name.startswith(WIDER):
                column = name[len(WIDER) :]
                if column in self._dataset.schema.names:
                    self._dataset.drop_columns([name])
                else:
                    self._dataset.alter_columns({"path": name, "name": column})
                lines.append(f"the change of the type of {column!r}, which was stopped half way, was brought to its end")
        self.refresh()
        return lines

    def fill(self, item_ids: Sequence[str], updates: Mapping[str, Sequence[Any]]) -> None:
        """Replaces some columns of rows that exist, in one atomic commit; a vector column is named `descriptor:SLUG`, one of
        token vectors `tokens:SLUG`."""
        if not item_ids:
            return
        schema = self._dataset.schema
        columns = {"item_id": pa.array(item_ids, pa.string())}
        for name, values in updates.items():
            kind = schema.field(name).type
            if name.startswith(TOKENS):
                columns[name] = token_column(values)
            else:
                columns[name] = vector_column(values, kind) if name.startswith(PREFIX) else pa.array(values, kind)
        self._merge(pa.table(columns), insert=False)

    def remove(self, item_ids: Sequence[str]) -> None:
        """Removes rows by id; ids that are not there are passed over."""
        for some in conditions("item_id", item_ids):
            self._dataset.delete(some)

    def drop_doubles(self) -> int:
        """Removes all but the row seen last of each id that several rows have; returns how many rows went.

        Two writers at once could leave such rows before there was a lock, and no search works beside them.
        """
        counts = self._dataset.to_table(columns=["item_id"])["item_id"].value_counts()
        doubled = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        doubles: list[int] = []
        for some in conditions("item_id", doubled):
            rows = self._dataset.to_table(columns=["item_id", "seen_ns"], filter=some, with_row_id=True).to_pylist()
            newest = {row["item_id"]: row["_rowid"] for row in sorted(rows, key=lambda row: int(row["seen_ns"]))}
            doubles += [row["_rowid"] for row in rows if row["_rowid"] != newest[row["item_id"]]]
        for start in range(0, len(doubles), MOST_VALUES):
            self._dataset.delete(f"_rowid IN ({', '.join(map(str, doubles[start : start + MOST_VALUES]))})")
        self.refresh()
        return len(doubles)

    def compact(self) -> None:
        """Joins small files once there are several of them, and drops the versions that nobody reads any more.

        What was joined to full files stays as it is: an addition writes its own rows, and again at most those of the last small files.
        """
        small = [file for file in self._dataset.get_fragments() if file.metadata.physical_rows < ROWS_A_FILE]
        if len(small) >= SMALL_FILES:
            self._dataset.optimize.compact_files(target_rows_per_fragment=ROWS_A_FILE)
            self.refresh()
        self._drop_old_versions()
        self.refresh()

    def _drop_old_versions(self) -> None:
        """Drops every version but the newest and those that somebody reads, which are tagged for that."""
        with dropping(self.path.parent) as used:
            if used is None:  # somebody opens one at this moment, and the next write comes to it; or there are no locks here
                self._dataset.cleanup_old_versions(error_if_tagged_old_versions=False)  # Lance's default: older than two weeks
                return
            tags = {name: int(tag["version"]) for name, tag in self._dataset.tags.list().items() if name.startswith(TAG)}
            present = {int(entry["version"]) for entry in self._dataset.versions()}
            for name, version in tags.items():
                if version not in used:
                    self._dataset.tags.delete(name)
            for version in (used & present) - set(tags.values()):
                self._dataset.tags.create(f"{TAG}{version}", version)
            self._dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)

    def snapshot(self, cache: FieldCache | None = None) -> Snapshot:
        """A view of the version that was opened or written last, which later writes do not change; of a table that needs `repair`, of the
        newest that does not. Writers keep the version for as long as the view lives.

        Args:
            cache: where the short fields of a large table are; without one they are read into memory, some 100 bytes an item.
        """
        return reading(self.path.parent, lambda: self._snapshot(cache), lambda snapshot: snapshot.version)

    def _snapshot(self, cache: FieldCache | None) -> Snapshot:
        try:
            dataset = lance.dataset(self.uri, version=self._dataset.version)
        except (OSError, ValueError):  # a writer dropped that version while nobody read it
            self.refresh()
            dataset = lance.dataset(self.uri, version=self._dataset.version)
        if not any(map(OF_ENGINE.fullmatch, dataset.schema.names)):
            return Snapshot(dataset, cache)
        logger.warning("the table %s has a column that its engine cannot read; %s", self.uri, REPAIR)
        return Snapshot(self._newest_readable(), cache)

    def _newest_readable(self) -> Any:
        for entry in reversed(self._dataset.versions()):
            dataset = lance.dataset(self.uri, version=entry["version"])
            if not any(map(OF_ENGINE.fullmatch, dataset.schema.names)):
                return dataset
        raise DamagedData(f"the table {self.uri} has a column that its engine cannot read", hint=REPAIR)

    def _fit_columns(self, types: Mapping[str, pa.DataType]) -> None:
        schema = self._dataset.schema
        new = [pa.field(name, kind) for name, kind in types.items() if name not in schema.names]
        if new:
            self._dataset.add_columns(new)
        for name, kind in types.items():
            if name in schema.names and schema.field(name).type != kind:
                self._retype(name, kind)

    def _retype(self, name: str, kind: pa.DataType) -> None:
        """Lance casts within one family of types only, so a wider column is computed beside the old one and takes its name."""
        copy = WIDER + name  # what a kill between these steps leaves behind, for `repair`
        self._dataset.add_columns({copy: f"CAST(`{name}` AS {'STRING' if pa.types.is_string(kind) else 'DOUBLE'})"})
        self._dataset.drop_columns([name])
        self._dataset.alter_columns({"path": copy, "name": name})

    def _merge(self, rows: pa.Table, *, insert: bool) -> None:
        merge = self._dataset.merge_insert("item_id").when_matched_update_all()
        (merge.when_not_matched_insert_all() if insert else merge).execute(rows)
        self.refresh()


class Snapshot:
    """One version of the table, for reading; rows are addressed by key."""

    def __init__(self, dataset: Any, cache: FieldCache | None = None) -> None:
        self._dataset = dataset
        self.version = int(dataset.version)
        self._schema = dataset.schema  # which Lance makes anew each time it is asked
        self._scalars = [name for name in self._schema.names if _is_readable(name)]
        self._types = {name: self._schema.field(name).type for name in self._scalars}
        self._short = ShortFields(dataset, [name for name in self._scalars if name not in _OF_FILES and name != "text"], cache)
        self._matching = lru_cache(maxsize=32)(self._keys_where)
        self._stored_vectors = lru_cache(maxsize=None)(lambda slug: StoredVectors(dataset, PREFIX + slug))
        self._recent: dict[str, int] = {}  # item_id -> key of rows read lately, so that rerankers' look-ups need no scan

    def __len__(self) -> int:
        return len(self._short)

    @property
    def keys(self) -> Keys:
        """(n,) ascending; read-only where they are in a file."""
        return self._short.keys

    @property
    def repeats(self) -> int:
        """How many rows have the key of another."""
        return self._short.repeats

    @property
    def data_files(self) -> Mapping[str, str]:
        """Number of each file of the table -> what tells its content."""
        return self._short.data_files

    def outside(self, data_files: Mapping[str, str]) -> tuple[Keys, int]:
        """The ascending keys of the items in other files than these `data_files` of another version, and how many items are in these."""
        return self._short.outside(data_files)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields that are no vectors."""
        return tuple(self._scalars)

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """Of these, the ones that the items brought along."""
        return tuple(name for name in self._scalars if name not in FIXED.names)

    def where(self, condition: str) -> Keys:
        """The ascending keys of the items that an SQL condition over their fields holds for: names in double quotes are
        fields, texts stand in single ones.

        Raises:
            InputError: the condition cannot be parsed or names an unknown field.
        """
        return self._matching(condition)

    def _keys_where(self, condition: str) -> Keys:
        for_lance = for_engine(condition, self._types)
        with explained(condition, self._types):
            rows = self._dataset.to_table(columns=["key"], filter=f"state = 'ready' AND ({for_lance})")
        return np.sort(rows["key"].to_numpy())

    def keys_of(self, item_ids: Sequence[str]) -> Keys:
        """(n,) the key of each id, in the order of the ids.

        Raises:
            InputError: an id is not in the collection.
        """
        keys = self.known(item_ids)
        missing = [i for i in item_ids if i not in keys]
        if missing:
            raise InputError(f"the collection has no item {missing[0]!r}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
        return np.array([keys[i] for i in item_ids], dtype=np.int64)

    def known(self, item_ids: Sequence[str]) -> dict[str, int]:
        """Those of these ids that are in the collection, with the key of each."""
        recent = self._recent  # other threads add to it or begin another
        keys = {i: recent[i] for i in item_ids if i in recent}
        unknown = [i for i in item_ids if i not in keys]
        for some in conditions("item_id", unknown):
            rows = self._dataset.to_table(columns=["item_id", "key"], filter=f"{some} AND state = 'ready'")
            keys.update(zip(rows["item_id"].to_pylist(), rows["key"].to_pylist(), strict=True))
        return keys

    def records(self, keys: Keys) -> list[dict[str, Any]]:
        """The scalar fields of these items, but for what the bookkeeping of files is, in the order of the keys."""
        texts = self._take(keys, ["text"])["text"].to_pylist() if self._short.has_texts else [None] * len(keys)
        fields = [row | {"text": text} for row, text in zip(self._short.rows(keys), texts, strict=True)]
        self._remember(fields)
        return fields

    def _remember(self, fields: list[dict[str, Any]]) -> None:
        if len(self._recent) > 100_000:
            self._recent = {}
        self._recent.update((row["item_id"], row["key"]) for row in fields)

    def descriptors(self, keys: Keys, slug: str) -> Array:
        """(n, dimension) float32 rows of these items.

        Raises:
            InputError: one of them has no descriptor of this encoder.
        """
        row_ids = self._short.row_ids(keys)
        order = np.argsort(row_ids, kind="stable")
        valid, rows = self._stored_vectors(slug).take(row_ids[order])
        if not valid.all():
            raise InputError(f"{np.count_nonzero(~valid)} of {len(keys)} items have no descriptor of {slug!r}")
        return np.asarray(rows[np.argsort(order)])

    def tokens(self, keys: Keys, slug: str) -> list[Array]:
        """The (n_tokens, dimension) float32 token vectors of each of these items, as exact as float16 keeps them.

        Raises:
            InputError: one of them has none of this encoder.
        """
        names = (TOKENS + slug, PREFIX + slug)
        columns = self._take(keys, list(names)) if names[0] in self._schema.names else None
        if columns is None or columns[names[0]].null_count:
            raise InputError(f"some of {len(keys)} items have no token vectors of {slug!r}", hint="Index them with that encoder.")
        width = columns[names[1]].type.list_size
        return [row.values.to_numpy().astype(np.float32).reshape(-1, width) for row in columns[names[0]]]

    def described(self, slug: str) -> Keys:
        """The ascending keys of the items that have a descriptor of this encoder; all descriptors are read for it."""
        return self._keys_where(f"`{PREFIX + slug}` IS NOT NULL")

    def seen(self, slug: str, *, among: Keys | None = None) -> Keys:
        """The ascending keys of the items, of those `among` ascending ones where they are given, that this encoder has looked at; there may
        have been nothing in them for it to describe."""
        if among is not None:
            if len(among) > 4 * SCAN_ROWS:
                return np.intersect1d(self.seen(slug), among)
            encoders = self._take(among, ["encoders"])["encoders"].to_pylist()
            return among[np.array([slug in (value or "").split(",") for value in encoders], np.bool_)]
        keys = [np.empty(0, np.int64)]
        for batch in self._dataset.to_batches(columns=["key", "encoders"], filter="state = 'ready'"):
            named = pa.array([value for value in batch["encoders"].unique().to_pylist() if slug in (value or "").split(",")], pa.string())
            keys.append(batch["key"].filter(pc.is_in(batch["encoders"], value_set=named)).to_numpy())
        return np.sort(np.concatenate(keys))

    def scan(self, slug: str) -> Iterator[tuple[Keys, Array]]:
        """The keys of all items that have a descriptor of this encoder with those descriptors, in the order they are stored in, some
        thousand at a time: (n,) and (n, dimension) float32."""
        for batch in self.described_batches(slug, ["key"]):
            keys = batch["key"].to_numpy().copy()  # a view would keep the vectors in memory
            yield keys, vectors_of(batch[PREFIX + slug])[1]

    def some_described(self, keys: Keys, slug: str) -> tuple[Keys, Array]:
        """Of these items the ones that have a descriptor of this encoder, with it, in the order they are stored in."""
        row_ids, reader = self._short.row_ids(keys), self._stored_vectors(slug)
        order = np.argsort(row_ids, kind="stable")
        valid, rows = np.empty(len(keys), np.bool_), np.empty((len(keys), reader.width), np.float32)
        for start in range(0, len(keys), SCAN_ROWS):  # what is read is held once more, so it comes in pieces
            some = slice(start, start + SCAN_ROWS)
            valid[some], rows[some] = reader.take(row_ids[order[some]])
        return (keys[order], rows) if valid.all() else (keys[order][valid], rows[valid])

    def sample(self, slug: str, size: int, *, seed: int) -> tuple[Keys, Array]:
        """So many items that have a descriptor of this encoder, drawn at random, with it; fewer where there are fewer."""
        generator = np.random.default_rng(seed)
        some = generator.choice(self.keys, min(size, len(self.keys)), replace=False)
        keys, rows = self.some_described(some, slug)
        if len(keys) >= min(size, len(self.keys)) // 2 or not size:
            return keys, rows
        described = self.described(slug)  # only few have one
        return self.some_described(generator.choice(described, min(size, len(described)), replace=False), slug)

    def has(self, name: str) -> bool:
        """Whether a field that is short may have a value in any item; false where it has none."""
        return self._short.has(name)

    def any(self, condition: str) -> bool:
        """Whether an SQL condition holds for any item."""
        rows = self._dataset.to_table(columns=["key"], filter=f"state = 'ready' AND ({condition})", limit=1)
        return bool(len(rows))

    def count_described(self, slug: str, condition: str | None = None) -> int:
        """How many items have a descriptor of this encoder, among those that a condition holds for."""
        where = f"{self._ready_where(condition)} AND `{PREFIX + slug}` IS NOT NULL"
        with explained(condition or "", self._types):
            return int(self._dataset.count_rows(filter=where))

    def described_batches(self, slug: str, columns: Sequence[str], condition: str | None = None) -> Iterator[Any]:
        """Some columns of these items with their descriptors, in the order they are stored in, as Arrow batches of some thousand."""
        name = PREFIX + slug
        batches = self._dataset.to_batches(
            columns=[*columns, name],
            filter=self._ready_where(condition),
            batch_size=SCAN_ROWS,
            io_buffer_size=SCAN_BYTES,
            batch_readahead=1,
            fragment_readahead=1,
        )
        for batch in batches:
            rows = batch if not batch[name].null_count else batch.filter(pc.is_valid(batch[name]))
            if len(rows):
                yield rows

    def vector_column(self, slug: str) -> str:
        """The column in which the descriptors of an encoder stand."""
        return PREFIX + slug

    def _ready_where(self, condition: str | None) -> str:
        return "state = 'ready'" + ("" if condition is None else f" AND ({for_engine(condition, self._types)})")

    def with_text(self) -> Keys:
        """The ascending keys of the items that have text."""
        return self._keys_where(WITH_TEXT)

    def texts(self, keys: Keys) -> list[str]:
        """The texts of these items in the order of the keys; "" where one has none."""
        return [text or "" for text in self._take(keys, ["text"])["text"].to_pylist()]

    def scan_texts(self) -> Iterator[tuple[Keys, list[str]]]:
        """The keys of all items that have text, with it, in the order they are stored in, some thousand at a time."""
        where = f"state = 'ready' AND ({WITH_TEXT})"
        for batch in self._dataset.to_batches(columns=["key", "text"], filter=where, batch_size=SCAN_ROWS, io_buffer_size=SCAN_BYTES):
            yield batch["key"].to_numpy().copy(), batch["text"].to_pylist()

    def table(self, columns: Sequence[str], condition: str | None = None) -> list[dict[str, Any]]:
        """Some columns of every row, failed ones included."""
        return list(self._dataset.to_table(columns=list(columns), filter=condition).to_pylist())

    def each(self, columns: Sequence[str], condition: str | None = None) -> Iterator[list[dict[str, Any]]]:
        """As `table`, some thousand rows at a time."""
        for batch in self._dataset.to_batches(columns=list(columns), filter=condition, batch_size=SCAN_ROWS, io_buffer_size=SCAN_BYTES):
            yield batch.to_pylist()

    def rows_of(self, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of the rows, failed ones included, of items or documents of these ids."""
        either = zip(conditions("item_id", ids), conditions("document_id", ids), strict=True)
        return [row for some in either for row in self.table(columns, " OR ".join(some))]

    def documents(self) -> int:
        """How many documents the items come from."""
        values = self._dataset.to_table(columns=["document_id"], filter="document_id IS NOT NULL AND document_id <> ''")["document_id"]
        return int(pc.count_distinct(values).as_py())

    def _take(self, keys: Keys, columns: list[str]) -> pa.Table:
        if len(keys) == 0:
            return self._schema.empty_table().select(columns)
        return self._dataset._take_rows(self._short.row_ids(keys).tolist(), columns=columns)


def _is_table(path: Path, uri: str) -> bool:
    if not uri:
        return any(path.glob("_versions/*.manifest"))
    try:
        lance.dataset(uri)
    except (OSError, ValueError):
        return False
    return True


def _is_readable(name: str) -> bool:
    """Whether a column is a fixed field or one that items brought along."""
    return not name.startswith((PREFIX, TOKENS, WIDER)) and not OF_ENGINE.fullmatch(name)
