"""`/v1/collections`, `/v1/search` and `/v1/ask`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from mmrerank.collection import capabilities
from mmrerank.collection.feedback import marked
from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import MMRerankError
from mmrerank.results import AskResult
from mmrerank.service import schemas
from mmrerank.service._collections import CollectionGone
from mmrerank.service._failures import RESPONSES, RequestRefused, broken, envelope
from mmrerank.service._responses import ResponseBuilder
from mmrerank.service._state import Service
from mmrerank.service._work import checkpoint
from mmrerank.types import ImageHandle, Query

logger = logging.getLogger(__name__)
KEEP_ALIVE_S = 15.0
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}, "description": "The answer, whole or as it comes."}}


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(prefix="/v1", tags=["collections"], responses=RESPONSES)

    @routes.get("/collections")
    async def collections(request: Request) -> schemas.CollectionList:
        """What can be searched here, and with what."""
        return await service.work.run(lambda: listing(service))

    @routes.post("/search")
    async def search(request: Request, body: schemas.SearchRequest) -> schemas.SearchResponse:
        """Finds pictures or pages by text, picture, both, exclusions and marks."""
        return await service.work.run(lambda: searched(service, body), gone=lambda: gone(request))

    @routes.post("/ask", response_model=schemas.AskResponse, responses=STREAM)
    async def ask(request: Request, body: schemas.AskRequest) -> Any:
        """Answers a question from the pages of a collection, with the pages and passages the answer rests on.

        With `stream`, server-sent events: `text` with {"text"} for words as they come, then one `answer` with the whole reply,
        or one `error` with the envelope.
        """
        if body.stream:
            service.name_of(body.collection)  # what is wrong so far is still said by a status
            _check(service, body.k, body.depth)
            service.work.check_room()
            return StreamingResponse(_events(service, body, request), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        return await service.work.run(lambda: answered(service, body, None), gone=lambda: gone(request))

    return routes


async def gone(request: Request) -> None:
    """Comes back when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def listing(service: Service) -> schemas.CollectionList:
    """What the service holds."""
    return schemas.CollectionList(
        collections=[_described(service, name) for name in service.collections.names],
        answers_with=None if service.backend is None else service.redact_paths(service.backend.name),
        models=service.models_alone,
        default_model=service.default_model,
        most_hits=service.settings.limits.k,
    )


def _described(service: Service, name: str) -> schemas.CollectionInfo:
    try:
        with service.collections.watched(name):
            return _of_version(service, *service.version(name))
    except CollectionGone:
        return schemas.CollectionInfo(
            name=name, state="gone", items=0, has_pages=False, encoders=[], takes=[], retrievers=[], rerankers=[], fields=[]
        )


def _of_version(service: Service, name: str, version: CollectionVersion) -> schemas.CollectionInfo:
    return schemas.CollectionInfo(
        name=name,
        items=len(version),
        has_pages=version.has_pages,
        encoders=[entry.name for entry in version.manifest.encoders],
        takes=capabilities.takes(version),
        retrievers=service.retrievers_for(version),
        rerankers=service.models_for(version),
        fields=capabilities.fields(version),
    )


def searched(service: Service, body: schemas.SearchRequest) -> schemas.SearchResponse:
    """The reply to a search."""
    name, version = service.version(body.collection)
    _check(service, body.k, body.depth)
    if body.retriever is not None:
        service.check_retriever(body.retriever, version)
    query = _query(service, version, body)
    parts = service.rerankers(body.rerank, version)
    checkpoint()
    with service.collections.watched(name):
        result = version.search(query, k=body.k, retriever=body.retriever, rerank=parts, backend=service.backend, depth=body.depth)
    grids = [service.grids.keep(noted.picture) for stage in result.stages for noted in stage.ranking.notes.pictures]
    service.count(result.stages)
    return ResponseBuilder(name, service.redact_paths).search(result, grids)


def _query(service: Service, version: CollectionVersion, body: schemas.SearchRequest) -> Query:
    def pictures(field: str, references: list[schemas.Uri | schemas.ItemRef]) -> tuple[ImageHandle, ...]:
        return tuple(service.picture(one, version, f"{field}.{n}") for n, one in enumerate(references))

    return marked(
        version,
        positive=body.positive,
        negative=body.negative,
        text=body.text,
        images=pictures("images", body.images),
        exclude_text=tuple(body.exclude_text),
        exclude_images=pictures("exclude_images", body.exclude_images),
        filter=body.filter,
    )


def answered(service: Service, body: schemas.AskRequest, on_text: Callable[[str], None] | None) -> schemas.AskResponse:
    """The reply to a question."""
    name, version = service.version(body.collection)
    _check(service, body.k, body.depth)
    with service.collections.watched(name):
        result: AskResult = version.ask(
            Query(text=body.question, filter=body.filter),
            k=body.k,
            rerank=service.rerankers(body.rerank, version),
            backend=service.backend,
            answerer=body.answerer,
            depth=body.depth,
            on_text=on_text,
        )
    service.count(result.search.stages)
    service.metrics.stage(result.answered_by, result.seconds, result.answer.notes.status, result.answer.notes.cost)
    return ResponseBuilder(name, service.redact_paths).answer(result)


def _check(service: Service, k: int, depth: int | None) -> None:
    limits = service.settings.limits
    if k > limits.k:
        raise RequestRefused(400, f"k is {limits.k} at most here; got {k}", param="k")
    if (depth or 0) > limits.depth:
        raise RequestRefused(400, f"depth is {limits.depth} at most here; got {depth}", param="depth")


async def _events(service: Service, body: schemas.AskRequest, request: Request) -> AsyncIterator[str]:
    """The words of an answer as they come, then the whole of it."""
    loop = asyncio.get_running_loop()
    words: asyncio.Queue[str] = asyncio.Queue()

    def on_text(text: str) -> None:
        checkpoint()
        loop.call_soon_threadsafe(words.put_nowait, text)

    work = asyncio.ensure_future(service.work.run(lambda: answered(service, body, on_text), gone=lambda: gone(request)))
    coming: asyncio.Future[str] | None = None
    try:
        while not work.done() or not words.empty():
            coming = asyncio.ensure_future(words.get())
            await asyncio.wait({work, coming}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                yield event("text", {"text": coming.result()})
            else:
                coming.cancel()
                if not work.done():
                    yield ": still working\n\n"
        yield event("answer", work.result().model_dump(mode="json"))
    except MMRerankError as error:
        yield event("error", envelope(error, service.redact_paths))
    except Exception:
        logger.exception("a streamed answer failed")
        yield event("error", broken())
    finally:
        work.cancel()
        if coming is not None:
            coming.cancel()  # the client left while the next words were waited for


def event(name: str, data: Any) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
