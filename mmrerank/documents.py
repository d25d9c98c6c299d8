"""Texts, pictures, pages or items in a row, reranked in one line: `rerank("a red door", [Path("a.jpg"), "a text", ...], "ragllava")`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.errors import InputError
from mmrerank.parts import as_tuple, make
from mmrerank.pictures import picture, query_of
from mmrerank.pipeline import EncodedOnTheFly, rerank_candidates
from mmrerank.readers import PICTURE_SUFFIXES
from mmrerank.results import Hit, Reranked, RerankResult
from mmrerank.types import Backend, Candidate, Encoder, Item, Query, Reranker

IDS, TEXTS = ("item_id", "id"), ("text", "content")  # keys of a mapping, the first that is there counts
EXPECTED = "Expected a text, a pathlib.Path, bytes, a PIL picture, an Item, a Candidate or a mapping with text and image."


def rerank(
    query: Query | str | None,
    documents: Sequence[Any],
    reranker: str | Reranker | Sequence[str | Reranker] = "bm25",
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
            Path, bytes, a PIL picture, what `mmrerank.picture` returns), an Item, a Candidate, or a mapping with `text`, `image`, `id`
            and `score`, whose other fields are metadata. A str is a text, even one that looks like a path: nothing that came as text
            opens a file.
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
    if top_n is not None and top_n < 1:
        raise InputError(f"top_n must be at least 1; got {top_n}")
    candidates = candidates_of(documents)
    parts = _parts(reranker, candidates, backend=backend, encoder=encoder, api_key=api_key)
    whole = query_of(query, image=image, exclude_text=exclude_text, exclude_image=exclude_image)
    result = rerank_candidates(whole, candidates, parts, depth=depth, k=top_n)
    places = {candidate.item.item_id: n for n, candidate in enumerate(candidates)}
    ranked = tuple(_reranked(hit, places[hit.item.item_id], documents) for hit in result.hits)
    return RerankResult(documents=ranked, search=result, remarks=tuple(_mistaken_paths(documents)))


def candidates_of(documents: Sequence[Any]) -> list[Candidate]:
    """Candidates in the order of the documents, each with an id of its own: the one it brings, or its place.

    >>> [candidate.item.item_id for candidate in candidates_of(["a", {"text": "b", "id": "page 7"}, {"text": "c", "id": "page 7"}])]
    ['0', 'page 7', 'page 7 (2)']
    """
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Sequence):
        raise InputError(f"documents come in a list; got {type(documents).__name__}", hint=EXPECTED)
    candidates: list[Candidate] = []
    ids: set[str] = set()
    for place, document in enumerate(documents):
        candidate = _candidate(document, place)
        item_id = _free(candidate.item.item_id, place, ids)
        ids.add(item_id)
        candidates.append(candidate if item_id == candidate.item.item_id else _renamed(candidate, item_id))
    return candidates


def _candidate(document: Any, place: int) -> Candidate:
    if isinstance(document, Candidate):
        return document
    if isinstance(document, Item):
        return Candidate(item=document)
    if isinstance(document, str):
        return Candidate(item=Item(item_id=str(place), text=document or None))
    if isinstance(document, Mapping):
        return _from_mapping(document, place)
    try:
        return Candidate(item=Item(item_id=str(place), image=picture(document)))
    except InputError as error:
        raise InputError(f"document {place}: {error.message}", hint=EXPECTED) from error


def _from_mapping(document: Mapping[str, Any], place: int) -> Candidate:
    text = next((document[key] for key in TEXTS if document.get(key) is not None), None)
    image, score = document.get("image"), document.get("score")
    if text is not None and not isinstance(text, str):
        raise InputError(f"document {place}: its text is a {type(text).__name__}", hint=EXPECTED)
    if text is None and image is None:
        fields = ", ".join(map(str, document)) or "none"
        raise InputError(f"document {place} has neither text nor image; its fields are {fields}", hint=EXPECTED)
    item_id = next((str(document[key]) for key in IDS if document.get(key) is not None), str(place))
    metadata = {str(key): value for key, value in document.items() if key not in (*IDS, *TEXTS, "image", "score")}
    handle = picture(Path(image) if isinstance(image, str) and not image.startswith("data:") else image) if image is not None else None
    item = Item(item_id=item_id, text=text or None, image=handle, metadata=metadata)
    return Candidate(item=item, score=float(score) if isinstance(score, int | float) else None)


def _free(item_id: str, place: int, ids: set[str]) -> str:
    """The id, with a number behind it where another document has it already."""
    number, name = 2, item_id
    while name in ids:
        name, number = f"{item_id} ({number})", number + 1
    return name


def _renamed(candidate: Candidate, item_id: str) -> Candidate:
    return replace(candidate, item=replace(candidate.item, item_id=item_id))


def _parts(
    reranker: str | Reranker | Sequence[str | Reranker],
    candidates: Sequence[Candidate],
    *,
    backend: Backend | str | None,
    encoder: Encoder | str | None,
    api_key: str | None,
) -> list[Reranker]:
    """The rerankers with what they ask for: the backend, descriptors of just these candidates, the key of a server."""
    model = backend_of(backend, api_key)
    resources: dict[str, Any] = {"api_key": api_key} if model is None else {"backend": model}
    if encoder is not None:
        part = make(encoder, station="encoders") if isinstance(encoder, str) else encoder
        resources["descriptors"] = EncodedOnTheFly(part, candidates)
    return [make(name, station="rerankers", **resources) if isinstance(name, str) else name for name in as_tuple(reranker)]


def _reranked(hit: Hit, index: int, documents: Sequence[Any]) -> Reranked:
    return Reranked(
        rank=hit.rank,
        index=index,
        document=documents[index],
        score=hit.score,
        raw_score=hit.raw_score,
        calibrated_score=hit.calibrated_score,
        reason=hit.reason,
    )


def _mistaken_paths(documents: Sequence[Any]) -> Iterator[str]:
    """A remark on each text that is the name of a picture, which somebody may have meant to be looked at."""
    for place, document in enumerate(documents):
        if isinstance(document, str) and document.lower().endswith(tuple(PICTURE_SUFFIXES)) and len(document.split()) == 1:
            yield f"document {place} is read as the text {document[:60]!r}; for the picture give pathlib.Path({document[:60]!r})"
