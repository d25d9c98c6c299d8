"""Asks a rerank service: ours (`mmrerank serve`), or any that speaks one of these dialects.

    rerank_http/http://host:8080/v1/rerank#MODEL                     Jina, vLLM, ours: texts and pictures
    rerank_http(server='https://host/v2/rerank#MODEL')               Cohere: texts
    rerank_http(server='http://host/rerank', dialect='tei')          text-embeddings-inference: texts

Pictures travel in data URIs: small ones as PNG, the others as JPEG, since all candidates are one body. What the query has beyond
the dialect (exclusions) goes along under `mmrerank`, where there is any; other servers leave it aside, and then that is noted.
Documents that do not come back keep their order behind those that do, and that is noted.

Source: field names as those services document them.  Cost per query: one request, whatever the service does for it.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
import numpy as np
from PIL import Image
from pydantic import Field

from mmrerank.errors import BackendError, InputError
from mmrerank.ordering import ROUNDING
from mmrerank.parts import printed, runtime_option
from mmrerank.prompting.items import MAX_PIXELS, open_within
from mmrerank.rerankers._pointwise import Scores, pointwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.types import Candidate, Cost, ImageHandle, Item, Modality, Query, QueryPart, Ranking
from mmrerank.wire.data_uris import data_uri
from mmrerank.wire.retries import RequestRefused, RetryPolicy, post

FORM = "Expected rerank_http/URL#MODEL, such as rerank_http/http://localhost:8080/v1/rerank#default."
KEY = "Pass the service's key: api_key=... in Python, MMRERANK_RERANK_KEY on the command line."
LESS = "Send less at once: fewer candidates (depth) or smaller pictures (max_pixels)."
HINTS = {401: KEY, 403: KEY, 413: LESS}
MOST_NOTED = 300  # letters of a note of the service
LARGE, QUALITY = 224 * 224, 90  # pixels from which a picture travels as JPEG, and how good
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    server: str = ""  # URL of the endpoint, and after # the model
    dialect: Literal["jina", "cohere", "tei"] = "jina"  # what the service speaks
    max_pixels: int = MAX_PIXELS  # of each picture
    timeout_s: Annotated[float, Field(gt=0)] = runtime_option(120.0)  # without a byte from the service
    retries: Annotated[int, Field(ge=0)] = runtime_option(4)
    backoff_s: Annotated[float, Field(ge=0)] = runtime_option(0.5)


class RerankHttp:
    """Reranks by asking a service."""

    takes_instruction = True  # as far as the service does, which says so itself

    def __init__(self, options: Options, api_key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.name = printed("rerank_http", options)
        self._options = options
        self._url, self._model = _address(options.server)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=options.timeout_s, transport=transport)
        self.close = weakref.finalize(self, self._client.close)
        self._retries = RetryPolicy(retries=options.retries, backoff_s=options.backoff_s)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates as the service orders them, with its scores.

        A candidate that the dialect cannot carry (a picture where only texts go, or one that does not open) is not sent: it stays
        behind the others, without a score and with the reason.

        Raises:
            BackendError: the service cannot be reached or refuses.
            InputError: the dialect cannot carry the query.
        """
        aside: list[str] = []  # what is not about single documents
        ranking = pointwise(
            query,
            candidates,
            show=self._document,
            judge=lambda documents: self._judge(query, documents, aside),
            label="the service gives",
            unshown="not sent",
            rounding=ROUNDING,
            at_once=max(len(candidates), 1),  # a service may compare them
        )
        return with_messages(ranking, aside)

    def _judge(self, query: Query, documents: Sequence[Any], aside: list[str]) -> Scores:
        """The score of each document; NaN for those that do not come back. What the service leaves aside is added to `aside`."""
        field = "texts" if self._options.dialect == "tei" else "documents"
        results, notes = self._results({**self._query_fields(query), field: list(documents)})
        with_pictures: tuple[QueryPart, ...] = ("picture",) if self._options.dialect == "jina" else ()
        aside += query.left_aside("text", *with_pictures) if notes is None else notes
        raw = np.full(len(documents), np.nan)
        strangers = 0
        for index, score in results:
            if 0 <= index < len(documents) and np.isnan(raw[index]):
                raw[index] = score
            else:
                strangers += 1
        messages = [f"{strangers} results were repeated or out of range and dropped"] if strangers else []
        return Scores(raw=raw, messages=messages, cost=Cost(calls=1))

    def _document(self, item: Item) -> Any:
        text = (item.text or "").strip()
        if self._options.dialect == "jina" and item.image is not None:
            picture = self._uri(item.image)
            return {"image": picture, **({"text": text} if text else {})}
        if not text:
            raise InputError("it has no text" if self._options.dialect != "jina" else "it has neither a picture nor a text")
        return text

    def _query_fields(self, query: Query) -> dict[str, Any]:
        model = {"model": self._model} if self._model else {}
        if self._options.dialect != "jina":
            if query.images or not query.text:
                raise InputError(f"the dialect {self._options.dialect!r} carries a query of text; this one has pictures or no text")
            return {**model, "query": query.text}
        pictures = [self._uri(image) for image in query.images]
        texts = [{"type": "text", "text": query.text}] if query.text else []
        parts = [*texts, *({"type": "image_url", "image_url": {"url": picture}} for picture in pictures)]
        excluded = [self._uri(image) for image in query.exclude_images]
        more = {"exclude_text": list(query.exclude_text), "exclude_images": excluded, "instruction": query.instruction}
        beyond = {"mmrerank": {name: value for name, value in more.items() if value}} if any(more.values()) else {}
        return {**model, **beyond, "query": {"content": parts} if pictures else query.text, "return_documents": False}

    def _uri(self, picture: ImageHandle) -> str:
        opened = open_within(picture, self._options.max_pixels)
        return _jpeg_uri(opened) if opened.width * opened.height >= LARGE else data_uri(opened)

    def _results(self, body: Mapping[str, Any]) -> tuple[list[tuple[int, float]], list[str] | None]:
        """The (index, score) of each result, best first; and what the service notes, None where it is none of ours, which heeds no
        exclusions."""
        try:
            reply = post(self._client, self._url, body, self._retries, threading.Event())
        except RequestRefused as refused:
            message = f"{self._url} refuses (status {refused.status}): {refused}"
            raise BackendError(message, retryable=refused.retryable, hint=HINTS.get(refused.status, "")) from refused
        try:
            lines = reply if isinstance(reply, list) else reply["results"]
            pairs = [(int(line["index"]), float(line["score"] if "score" in line else line["relevance_score"])) for line in lines]
        except (LookupError, TypeError, ValueError) as error:
            raise BackendError(f"{self._url} answers with something that is no ranking", hint=FORM) from error
        ordered = sorted(pairs, key=lambda pair: -pair[1])  # of a repeated one the best counts
        return ordered, _notes(reply) if self._options.dialect == "jina" else None


def _notes(reply: Any) -> list[str] | None:
    """What a service of ours notes of its ranking; None where it is another's."""
    ours = reply.get("mmrerank") if isinstance(reply, dict) else None
    if not isinstance(ours, dict):
        return None
    notes = ours.get("notes")
    return [f"the service notes: {str(note)[:MOST_NOTED]}" for note in notes] if isinstance(notes, list) else []


def _jpeg_uri(picture: Image.Image) -> str:
    """The picture as JPEG in a data URI, a fifth of a photo's PNG or less."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _address(server: str) -> tuple[str, str]:
    """The URL of the endpoint, and the model."""
    url, _, model = server.partition("#")
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise InputError(f"{url!r} is no URL: {error}", hint=FORM) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"a rerank service has a URL; got {url!r}", hint=FORM)
    if parsed.userinfo or parsed.query:
        raise InputError("the URL of a server may hold no password and no query: it is printed", hint=KEY)
    return str(parsed), model.strip()


def build(options: Options, api_key: str | None = None) -> RerankHttp:
    return RerankHttp(options, api_key)


def tiny() -> RerankHttp:
    """The same code before a service that is a function in this process: it likes long texts."""

    def answer(request: httpx.Request) -> httpx.Response:
        documents = json.loads(request.content)["documents"]
        scores = [len(str(document)) % 97 / 97 for document in documents]
        return httpx.Response(200, json={"results": [{"index": n, "relevance_score": score} for n, score in enumerate(scores)]})

    part = RerankHttp(Options(server="http://localhost/v1/rerank"), transport=httpx.MockTransport(answer))
    part.name = printed("rerank_http", Options())  # that server is nowhere
    return part
