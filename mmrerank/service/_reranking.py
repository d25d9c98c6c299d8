"""`/v2/rerank`, `/v1/rerank`, `/rerank` and `/v1/models`: one way of reranking behind several dialects."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request

from mmrerank.ordering import Scale, to_unit_scale
from mmrerank.pipeline import rerank_candidates
from mmrerank.results import Stage
from mmrerank.service import dialects
from mmrerank.service._failures import RESPONSES, RequestRefused
from mmrerank.service._models import Model
from mmrerank.service._searching import gone
from mmrerank.service._state import Service
from mmrerank.types import Candidate, ImageHandle, Item, Query

STARTED = int(time.time())
NOTHING = dialects.Ours()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One result. `index` is the place of its document in the request."""

    index: int
    to_unit_scale: float
    raw: float  # on the scale of the method, where it has one
    notes: dialects.ResultNotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranked:
    """The results of one request, best first."""

    model: Model
    lines: list[Line]
    stage: Stage
    scale: Scale
    said: list[str]

    @property
    def usage(self) -> dialects.Usage:
        cost = self.stage.cost
        return dialects.Usage(
            prompt_tokens=cost.prompt_tokens,
            completion_tokens=cost.generated_tokens,
            total_tokens=cost.prompt_tokens + cost.generated_tokens,
        )

    @property
    def notes(self) -> dialects.ReplyNotes:
        stage = self.stage
        return dialects.ReplyNotes(
            method=stage.name,
            scale=self.scale,
            status=stage.ranking.notes.status,
            notes=self.said,
            seconds=round(stage.seconds, 4),
            calls=stage.cost.calls,
            cached=stage.cost.cached,
        )


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(tags=["rerank"], responses=RESPONSES)

    async def ranked(request: Request, model: str | None, query: Any, documents: Sequence[Any], ours: dialects.Ours) -> Reranked:
        found = service.model(model)
        return await service.work.run(lambda: reranked(service, found, query, documents, ours), gone=lambda: gone(request))

    @routes.post("/v2/rerank", response_model_exclude_none=True)
    async def cohere(request: Request, body: dialects.CohereRequest) -> dialects.CohereReply:
        """Reranks texts, as Cohere's v2."""
        found = await ranked(request, body.model, body.query, body.listed, body.mmrerank)
        cost = found.stage.cost
        meta = {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": cost.prompt_tokens, "output_tokens": cost.generated_tokens},
            **({"warnings": found.said} if found.said else {}),
        }
        return dialects.CohereReply(id=str(uuid.uuid4()), results=results_of(found, body), meta=meta, mmrerank=found.notes)

    @routes.post("/v1/rerank", response_model_exclude_none=True)
    async def jina(request: Request, body: dialects.JinaRequest) -> dialects.JinaReply:
        """Reranks texts, pictures, both, or indexed items, as Jina and vLLM."""
        found = await ranked(request, body.model, body.query, body.listed, body.mmrerank)
        return dialects.JinaReply(
            id=f"rerank-{uuid.uuid4().hex}",
            model=found.model.name,
            results=results_of(found, body),
            usage=found.usage,
            mmrerank=found.notes,
        )

    @routes.post("/rerank", response_model_exclude_none=True)
    async def bare(request: Request, body: dialects.BareRequest) -> list[dialects.TeiResult] | dialects.InfinityReply:
        """Reranks texts: as text-embeddings-inference where `texts` is present, as infinity otherwise."""
        if isinstance(body, dialects.TeiRequest):
            found = await ranked(request, None, body.query, body.texts, NOTHING)
            return [
                dialects.TeiResult(
                    index=line.index,
                    score=line.raw if body.raw_scores else line.to_unit_scale,
                    text=body.texts[line.index] if body.return_text else None,
                )
                for line in found.lines
            ]
        found = await ranked(request, body.model, body.query, body.documents, NOTHING)
        results = [
            dialects.InfinityResult(
                index=line.index,
                relevance_score=line.raw if body.raw_scores else line.to_unit_scale,
                document=body.documents[line.index] if body.return_documents else None,
            )
            for line in found.lines[: body.top_n or None]
        ]
        identity = f"infinity-{uuid.uuid4().hex}"
        return dialects.InfinityReply(id=identity, model=found.model.name, created=int(time.time()), results=results, usage=found.usage)

    @routes.get("/v1/models")
    @routes.get("/models", include_in_schema=False)
    async def models() -> dialects.ModelList:
        """The rerankers that `model` names."""
        return dialects.ModelList(data=[dialects.ModelCard(id=name, created=STARTED) for name in service.models_alone])

    return routes


def reranked(service: Service, model: Model, query: Any, documents: Sequence[Any], ours: dialects.Ours) -> Reranked:
    """The documents of a request in the order of a model. All of them: also those that it holds to be irrelevant."""
    limits = service.settings.limits
    if len(documents) > limits.documents:
        raise RequestRefused(400, f"at most {limits.documents} documents at once; got {len(documents)}", param="documents")
    reading = _Reading(service)
    asked = reading.query(query, ours)
    candidates = [reading.candidate(document, n) for n, document in enumerate(documents)]
    stage = rerank_candidates(asked, candidates, [service.reranker(model, candidates)]).stages[-1]
    service.count([stage])
    scores, scale = to_unit_scale(stage.ranking)
    notes = stage.ranking.notes
    lines = [
        Line(
            index=int(candidate.item.item_id),
            to_unit_scale=score,
            raw=next((s for s in (candidate.raw_score, candidate.score) if s is not None), score),
            notes=dialects.ResultNotes(
                raw_score=candidate.raw_score,
                calibrated_score=candidate.calibrated_score,
                explanation=service.redact_paths(notes.reasons.get(candidate.item.item_id, "")),
                irrelevant=candidate.item.item_id in notes.irrelevant,
            ),
        )
        for candidate, score in zip(stage.ranking.candidates, scores, strict=True)
    ]
    return Reranked(model=model, lines=lines, stage=stage, scale=scale, said=[service.redact_paths(note) for note in stage.notes])


def results_of(found: Reranked, body: dialects.CohereRequest | dialects.JinaRequest) -> list[dialects.Result]:
    """The results as both dialects write them."""
    return [
        dialects.Result(
            index=line.index,
            relevance_score=line.to_unit_scale,
            document=echoed(body.listed[line.index]) if body.return_documents else None,
            mmrerank=line.notes if body.mmrerank.explain else None,
        )
        for line in found.lines[: body.top_n or None]
    ]


def echoed(document: str | dialects.Content) -> dict[str, Any]:
    """The document as replies give it back: text or picture as Jina, parts as vLLM."""
    if isinstance(document, str):
        return {"text": document}
    given = document.model_dump(exclude_none=True)
    parts = given.pop("content", None)
    if parts is None:
        return given
    texts = [part["text"] for part in parts if part["type"] == "text"]
    pictures = [part for part in parts if part["type"] != "text"]
    return {**({"text": "\n".join(texts)} if texts else {}), **({"multi_modal": pictures} if pictures else {})}


class _Reading:
    """Reads the query and the documents of one request, and counts their pictures."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pictures = 0

    def query(self, given: str | dialects.Content, ours: dialects.Ours) -> Query:
        """The query, with exclusions from outside its dialect."""
        text, images, item = self._parts(given, "query")
        if item is not None:
            images = [*([item.image] if item.image is not None else []), *images]
            text = text or (None if images else item.text)
        if not text and not images:
            raise RequestRefused(400, "query: it has neither text nor a picture", param="query")
        excluded = [self._picture(uri, f"mmrerank.exclude_images.{n}") for n, uri in enumerate(ours.exclude_images)]
        return Query(text=text, images=tuple(images), exclude_text=tuple(ours.exclude_text), exclude_images=tuple(excluded))

    def candidate(self, given: str | dialects.Content, n: int) -> Candidate:
        """One document, by its place."""
        where = f"documents.{n}"
        text, images, item = self._parts(given, where)
        if len(images) > 1 or (images and item is not None and item.image is not None):
            raise RequestRefused(400, f"{where}: a document has one picture at most", hint="Give each picture as a document.", param=where)
        held = item or Item(item_id=str(n))
        return Candidate(
            item=Item(
                item_id=str(n),
                document_id=held.document_id,
                page_number=held.page_number,
                image=images[0] if images else held.image,
                text=text or held.text,
                metadata=held.metadata,
            )
        )

    def _parts(self, given: str | dialects.Content, where: str) -> tuple[str | None, list[ImageHandle], Item | None]:
        if isinstance(given, str):
            return given or None, [], None
        parts = given.content or []
        texts = [given.text or "", *(part.text for part in parts if isinstance(part, dialects.TextPart))]
        uris = [given.image] if given.image else []
        uris += [part.image_url.url for part in parts if isinstance(part, dialects.ImagePart)]
        item = self._service.item(given.id, given.collection, where) if given.id is not None else None
        return "\n".join(text for text in texts if text) or None, [self._picture(uri, where) for uri in uris], item

    def _picture(self, uri: str, where: str) -> ImageHandle:
        self._pictures += 1
        most = self._service.settings.limits.pictures
        if self._pictures > most:
            raise RequestRefused(400, f"at most {most} pictures at once", hint="Send fewer, or name indexed items by id.", param=where)
        return self._service.pictures.handle(uri, where)
