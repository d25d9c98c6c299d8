"""Texts, pictures, pages or items in a row, reranked in one line: `rerank("a red door", [Path("a.jpg"), "a text", ...], "ragllava")`.

The picture of a mapping is looked for under `image`, `image_path` and `image_url`, then in the file that `file_path`, `path` or `source`
names: a picture, a page of a PDF where `page_number` (a number however it is written) or `page_label` says which, or the row or member of a
table or tar that `item_id` names (`t.parquet::KEY`). It may be a path, a `file://` address, `report.pdf#page=3`, a data URI, base64, bytes,
a PIL image, a numpy array, an open file or handle, or a mapping that holds one of these. Nothing is fetched from a network. A picture that
cannot be had is an error only when a reranker looks at it, so that the rerankers can say so and go on with the others.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank import pictures
from mmrerank.backends import backend_of
from mmrerank.collection.encoders import encoder_of
from mmrerank.errors import FormatError, InputError
from mmrerank.ingest.files import reader_of, readers
from mmrerank.json_io import from_base64, is_data_uri, local_path, picture_from
from mmrerank.parts import RERANKS_BY_WORDS, as_tuple, make
from mmrerank.pictures import query_of
from mmrerank.pipeline import AnyReranker, EncodedOnTheFly, NamedReranker, check_count, check_reranker, rerank_candidates
from mmrerank.protocols import Backend, Encoder, Reader, Reranker
from mmrerank.readers import PICTURE_SUFFIXES, inspect
from mmrerank.results import Hit, Reranked, RerankResult
from mmrerank.types import Candidate, ImageHandle, Item, Query

if TYPE_CHECKING:
    from PIL import Image

IDS, TEXTS = ("item_id", "id"), ("text", "content")  # keys of a mapping, the first that is there counts
PICTURES = ("image", "image_path", "image_url")
FILES = ("file_path", "path", "source")
HOLDERS = ("url", "image_url", "path", "bytes", "base64", "data")  # where a mapping under one of PICTURES keeps the picture itself
PAGE, LABEL = "page_number", "page_label"  # from 1; what is printed on the page
BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]{40,}")  # shorter is no picture
PASSED_AS = {"backend": "backend='local/PATH', or another backend", "descriptors": "encoder='openclip/...', or another encoder"}
UNNAMED = "document"  # the id of what brings none, until it gets its place
EXPECTED = "Expected a text, a pathlib.Path, bytes, a PIL picture, a numpy array, an Item, a Candidate or a mapping with text and image."


def rerank(
    query: Query | str | None,
    documents: Sequence[Any],
    reranker: AnyReranker | Sequence[AnyReranker] = RERANKS_BY_WORDS,
    *,
    image: Any = None,
    exclude_text: str | Sequence[str] = (),
    exclude_image: Any = (),
    backend: Backend | str | None = None,
    encoder: Encoder | str | None = None,
    api_key: str | None = None,
    depth: int | None = None,
    top_n: int | None = None,
) -> RerankResult:
    """Documents in the order in which they answer a query, each with its place among those that came, score and reason.

    Args:
        query: a text or a whole Query; with `image`, what should be different.
        documents: best first where they come from a search. Each is a text, a picture (a `pathlib.Path`, `report.pdf#page=3` as a
            Path, bytes, a PIL picture, a numpy array, an open file, what `mmrerank.picture` returns), an Item, a Candidate, or a mapping
            with `text`, `image`, `id` and `score`, whose other fields are metadata. A str is a text, even one that looks like a path:
            nothing that came as text opens a file.
        reranker: a name or a part, or several that work one after the other; `bm25` needs no model.
        backend: the MLLM that rerankers given by name ask; a part or its name.
        encoder: makes descriptors for those that work on them, such as `superglobal`.
        api_key: for a reranker or backend that asks a server.
        depth: how many documents the rerankers see; all when None. The others keep their order behind, without scores.
        top_n: how many come back; all when None. What a reranker holds to be irrelevant does not.

    Raises:
        InputError: a document is none of these, or a reranker needs a backend or an encoder that is not given.

    >>> result = rerank("red door", ["a blue boat", "the red door of a red house"])
    >>> result.order, result[0].document
    ([1, 0], 'the red door of a red house')
    """
    for name, count in (("top_n", top_n), ("depth", depth)):
        if count is not None:
            check_count(name, count)
    candidates = candidates_of(documents)
    parts = _parts(reranker, candidates, backend=backend, encoder=encoder, api_key=api_key)
    whole = query_of(query, image=image, exclude_text=exclude_text, exclude_image=exclude_image)
    result = rerank_candidates(whole, candidates, parts, depth=depth, k=top_n)
    places = {candidate.item.item_id: n for n, candidate in enumerate(candidates)}
    ranked = tuple(_reranked(hit, places[hit.item.item_id], documents) for hit in result.hits)
    return RerankResult(documents=ranked, search=result, document_notes=tuple(_mistaken_paths(documents)))


def candidates_of(documents: Sequence[Any]) -> list[Candidate]:
    """Candidates in the order of the documents, each with an id of its own.

    Raises:
        InputError: they come in no list, or one of them is neither text nor picture, nor a record that has one.

    >>> [candidate.item.item_id for candidate in candidates_of(["a", {"text": "b", "id": "page 7"}])]
    ['document (place 1)', 'page 7']
    """
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Sequence):
        raise InputError(f"documents come in a list; got {type(documents).__name__}", hint=EXPECTED)
    candidates = [_candidate(document, place) for place, document in enumerate(documents)]
    ids = unique_ids([candidate.item.item_id if candidate.item.item_id != UNNAMED else None for candidate in candidates])
    return [replace(c, item=replace(c.item, item_id=item_id)) for c, item_id in zip(candidates, ids, strict=True)]


def _candidate(document: Any, place: int) -> Candidate:
    if isinstance(document, Candidate):
        return document
    if isinstance(document, Item):
        return Candidate(item=document)
    if isinstance(document, str):
        return Candidate(item=Item(item_id=UNNAMED, text=document or None))
    if isinstance(document, Mapping):
        return _from_mapping(document, place)
    try:
        item_id = document.name or UNNAMED if isinstance(document, Path) else UNNAMED
        return Candidate(item=Item(item_id=item_id, image=pictures.picture(document)))
    except InputError as error:
        raise InputError(f"document {place}: {error.message}", hint=EXPECTED) from error


def _from_mapping(document: Mapping[str, Any], place: int) -> Candidate:
    text = next((document[key] for key in TEXTS if not _is_absent(document.get(key))), None)
    image = picture_in(document, None)
    if text is not None and not isinstance(text, str):
        raise InputError(f"document {place}: its text is a {type(text).__name__}", hint=EXPECTED)
    if text is None and image is None:
        fields = ", ".join(map(str, document)) or "none"
        raise InputError(f"document {place} has neither text nor image; its fields are {fields}", hint=EXPECTED)
    item_id = next((str(document[key]) for key in IDS if not _is_absent(document.get(key))), UNNAMED)
    metadata = {str(key): value for key, value in document.items() if key not in (*IDS, *TEXTS, *PICTURES, "score")}
    return Candidate(item=Item(item_id=item_id, text=text or None, image=image, metadata=metadata), score=number(document.get("score")))


def unique_ids(names: Sequence[str | None]) -> list[str]:
    """An id for each name, in their order: itself where it comes once, else with its place, from 1, behind it.

    >>> unique_ids(["a", "b", None, "b"])
    ['a', 'b (place 2)', 'document (place 3)', 'b (place 4)']
    """
    count = Counter(names)
    others = {name for name in names if name}
    ids = []
    for place, name in enumerate(names, 1):
        if not name or count[name] > 1:
            name = f"{name or 'document'} (place {place})"
            while name in others:
                name += "'"
            others.add(name)
        ids.append(name)
    return ids


def picture_in(fields: Mapping[str, Any], folder: Path | None) -> ImageHandle | None:
    """The picture that the metadata of a document names, or None.

    Args:
        folder: where paths are looked up, and which they may not leave; None takes them as they are.
    """
    for key in PICTURES:
        if not _is_absent(value := fields.get(key)):
            return picture(value, folder)
    for key in FILES:
        value = fields.get(key)
        if isinstance(value, str | os.PathLike) and (image := _picture_of_file(os.fsdecode(value), fields, folder)) is not None:
            return image
    return None


def picture(value: Any, folder: Path | None) -> ImageHandle:
    """The picture that a path, an address, a data URI, base64, bytes, a PIL image, an array or a handle stands for, or what a mapping holds
    one of these in; `Unavailable` for anything else."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in HOLDERS if not _is_absent(value.get(key))), None)
        fields = ", ".join(map(str, value)) or "none"
        return Unavailable("picture", f"is a mapping without {', '.join(HOLDERS)}: {fields}") if inner is None else picture(inner, folder)
    if isinstance(value, str | os.PathLike):
        return _picture_at(os.fsdecode(value), folder)
    try:
        return pictures.picture(value)
    except InputError as error:
        return Unavailable("picture", str(error))


def _is_absent(value: Any) -> bool:
    """Whether a field is empty, as JSON, tables and data frames write that."""
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> float | None:
    """The score that this is, or None."""
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        return None
    return float(value)


def whole_number(value: Any) -> int | None:
    """The whole number that this is, however a store or a table writes it: 2, 2.0, numpy's, "2" or "2.0"; None for anything else.

    >>> whole_number("2.0"), whole_number(2.5), whole_number("ii"), whole_number(True)
    (2, None, None, None)
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:\.0*)?\s*", value)
        return None if match is None else int(match[1])
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return int(float(value)) if isinstance(value, Integral) or float(value).is_integer() else None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A picture that is named but cannot be had, with why."""

    name: str
    why: str

    def open(self) -> Image.Image:
        """FormatError, always."""
        raise FormatError(self.why, path=self.name)


def _picture_at(reference: str, folder: Path | None) -> ImageHandle:
    """The picture that a text names, or is: base64 alone where it begins as a picture does, so that no path is taken for one."""
    if (data := _pixels_in(reference)) is not None:
        return pictures.picture(data)
    try:
        if is_data_uri(reference):
            return picture_from(reference, None)
        path = local_path(reference)
        outside = _outside(path.partition("#page=")[0], folder)
        return outside or picture_from(path, folder or Path())
    except (ValueError, OSError, FormatError) as error:
        return Unavailable(reference[:100], str(error))


def _outside(path: str, folder: Path | None) -> Unavailable | None:
    """The refusal of a path that leaves the folder; None where it may be opened."""
    if folder is None or (folder / path).resolve().is_relative_to(folder.resolve()):
        return None
    return Unavailable(path[:100], f"lies outside {folder}, where the pictures are to be")


def _pixels_in(text: str) -> bytes | None:
    """The file that a text is in base64, without a data URI around it; None where it is no picture's."""
    if not BASE64.fullmatch(text):
        return None
    try:
        data = from_base64(text)
        inspect(data, path="base64")
    except (InputError, FormatError):
        return None
    return data


def _picture_of_file(name: str, fields: Mapping[str, Any], folder: Path | None) -> ImageHandle | None:
    """The picture in a file that a document was made from: the file, a page of it, or the row of a table or member of a tar that the
    document's id names; None where the file holds none."""
    path, mark, _ = name.partition("#page=")
    suffix = Path(path.partition("?")[0] if "://" in path else path).suffix.lower()
    if suffix in PICTURE_SUFFIXES or mark:
        return _picture_at(name, folder)
    if suffix == ".pdf":
        return _page_of(path, fields, folder)
    if "://" not in path and "::" in str(fields.get("item_id") or ""):
        return _member_of(path, str(fields["item_id"]).partition("::")[2], folder)
    return None


def _page_of(path: str, fields: Mapping[str, Any], folder: Path | None) -> ImageHandle | None:
    """The page of a PDF that the number, or else the label, of a document names; None where neither is there."""
    if not _is_absent(number_there := fields.get(PAGE)):
        page = whole_number(number_there)
        if page is None or page < 1:
            return Unavailable(path[:100], f"{PAGE} is a whole number from 1; got {number_there!r}")
        return _picture_at(f"{path}#page={page}", folder)
    if _is_absent(label := fields.get(LABEL)):
        return None
    try:
        place = local_path(path)
        handle: ImageHandle = make("pdf", station="readers").handle((folder or Path()) / place, f"#label={label}")
    except (ValueError, OSError, FormatError) as error:
        return Unavailable(path[:100], str(error))
    return _outside(place, folder) or handle


def _member_of(path: str, key: str, folder: Path | None) -> ImageHandle | None:
    """The picture of one row or member; None where it has none, or no reader knows the file."""
    file = (folder or Path()) / path
    reader = reader_of(file, _readers())
    try:
        return None if reader is None else _outside(path, folder) or reader.handle(file, f"::{key}")
    except (ValueError, OSError, FormatError) as error:
        return Unavailable(path[:100], str(error))


@lru_cache(maxsize=1)
def _readers() -> Mapping[str, Reader]:
    return readers()


def _parts(
    reranker: AnyReranker | Sequence[AnyReranker],
    candidates: Sequence[Candidate],
    *,
    backend: Backend | str | None,
    encoder: Encoder | str | None,
    api_key: str | None,
) -> list[Reranker]:
    """The rerankers with what they ask for: the backend, descriptors of just these candidates, the key of a server."""
    model = backend_of(backend, api_key)
    resources: dict[str, Any] = {} if model is None else {"backend": model}
    if encoder is not None:
        resources["descriptors"] = EncodedOnTheFly(encoder_of(encoder), candidates)
    key = api_key if model is None else None
    for one in as_tuple(reranker):
        check_reranker(one)
    named = [NamedReranker.with_key(one, key) if isinstance(one, str) else one for one in as_tuple(reranker)]
    for one in named:
        if isinstance(one, NamedReranker) and (missing := sorted(one.needs & PASSED_AS.keys() - resources.keys())):
            raise InputError(f"{str(one.stage)!r} needs {PASSED_AS[missing[0]].partition('=')[0]}", hint=f"Pass {PASSED_AS[missing[0]]}.")
    return [one.made(**resources) if isinstance(one, NamedReranker) else one for one in named]


def _reranked(hit: Hit, index: int, documents: Sequence[Any]) -> Reranked:
    return Reranked(
        rank=hit.rank,
        index=index,
        document=documents[index],
        score=hit.score,
        raw_score=hit.raw_score,
        calibrated_score=hit.calibrated_score,
        reason=hit.reason,
        explanation=hit.explanation,
    )


def _mistaken_paths(documents: Sequence[Any]) -> Iterator[str]:
    """A remark on each text that is the name of a picture, which somebody may have meant to be looked at."""
    for place, document in enumerate(documents):
        if isinstance(document, str) and document.lower().endswith(tuple(PICTURE_SUFFIXES)) and len(document.split()) == 1:
            yield f"document {place} is read as the text {document[:60]!r}; for the picture give pathlib.Path({document[:60]!r})"
