"""`/v2/rerank`, `/v1/rerank`, `/rerank`, `/v1/score` and `/v1/models`: one way of reranking behind several dialects."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request

from mmrerank.ordering import Scale, to_unit_scale
from mmrerank.pipeline import rerank_candidates
from mmrerank.results import Stage
from mmrerank.service import dialects
from mmrerank.service._failures import MOST_LETTERS, RESPONSES, RequestRefused
from mmrerank.service._models import Model
from mmrerank.service._searching import gone
from mmrerank.service._state import Service
from mmrerank.types import Candidate, ImageHandle, Item, Query, Ranking

STARTED = int(time.time())
MOST_IGNORED = 20  # names of fields that a reply repeats
PATHS = ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v1/rerankings", "/v1/reranks")  # llama.cpp's and others' beside


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
    method: str
    lines: list[Line]
    stage: Stage
    scale: Scale
    messages: list[str]

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
            method=self.method,
            reranked=stage.ranking.notes.status != "fallback",
            scale=self.scale,
            status=stage.ranking.notes.status,
            notes=self.messages,
            seconds=round(stage.seconds, 4),
            calls=stage.cost.calls,
            cached=stage.cost.cached,
        )


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(tags=["rerank"], responses=RESPONSES)

    async def ranked(request: Request, wish: dialects.Wish) -> Reranked:
        model = service.model(wish.model)
        return await service.work.run(lambda: reranked(service, model, wish), gone=lambda: gone(request))

    @routes.post("/v2/rerank", response_model_exclude_none=True)
    async def cohere(request: Request, body: dialects.CohereRequest) -> dialects.CohereReply:
        """Reranks texts, as Cohere's v2."""
        answer = await ranked(request, body.wish)
        cost = answer.stage.cost
        meta = {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": cost.prompt_tokens, "output_tokens": cost.generated_tokens},
            **({"warnings": answer.messages} if answer.messages else {}),
        }
        return dialects.CohereReply(id=str(uuid.uuid4()), results=results_of(answer, body), meta=meta, mmrerank=answer.notes)

    async def by_client(request: Request, body: dialects.AnyRequest) -> Any:
        """Reranks texts, pictures, both, or indexed items, in the dialect that the body speaks: Jina, vLLM, Voyage, infinity or TEI."""
        answer = await ranked(request, body.wish)
        if isinstance(body, dialects.TeiRequest):
            return as_tei(answer, body)
        if isinstance(body, dialects.InfinityRequest):
            return as_infinity(answer, body)
        return as_voyage(answer, body) if isinstance(body, dialects.VoyageRequest) else as_jina(answer, body)

    reply = dialects.JinaReply | dialects.VoyageReply | dialects.InfinityReply | list[dialects.TeiResult]
    for path in PATHS:
        options: dict[str, Any] = {"methods": ["POST"], "response_model": reply, "response_model_exclude_none": True}
        routes.add_api_route(path, by_client, include_in_schema=path in PATHS[:2], **options)

    @routes.post("/v1/score")
    @routes.post("/score", include_in_schema=False)
    async def score(request: Request, body: dialects.ScoreRequest) -> dialects.ScoreReply:
        """Scores documents against a query, or pairs, in the order in which they came, as vLLM."""
        return as_scores([await ranked(request, wish) for wish in body.wishes])

    @routes.get("/v1/models")
    @routes.get("/models", include_in_schema=False)
    async def models() -> dialects.ModelList:
        """The rerankers that `model` names."""
        return dialects.ModelList(data=[dialects.ModelCard(id=name, created=STARTED) for name in service.models_alone])

    return routes


def reranked(service: Service, model: Model, wish: dialects.Wish) -> Reranked:
    """The documents of a request in the order of a model. All of them: also those that it holds to be irrelevant."""
    limits = service.settings.limits
    count = len(wish.documents)
    if count > limits.documents:
        raise RequestRefused(400, f"at most {limits.documents} documents at once; got {count}", param="documents")
    reading = _Reading(service)
    question = reading.query(wish.query, wish.ours)
    candidates = [reading.candidate(document, n) for n, document in enumerate(wish.documents)]
    stage = rerank_candidates(question, candidates, [service.reranker(model, candidates)]).stages[-1]
    service.count([stage])
    ranking = _whole(stage.ranking, candidates)
    scores, scale = to_unit_scale(ranking)
    notes = ranking.notes
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
        for candidate, score in zip(ranking.candidates, scores, strict=True)
    ]
    ignored = ", ".join(wish.ignored[:MOST_IGNORED])[:MOST_LETTERS]
    return Reranked(
        model=model,
        method=service.redact_paths(stage.name),
        lines=lines,
        stage=stage,
        scale=scale,
        messages=[*(service.redact_paths(note) for note in stage.notes), *([f"nothing is done about: {ignored}"] if ignored else [])],
    )


def _whole(ranking: Ranking, candidates: Sequence[Candidate]) -> Ranking:
    """The ranking with the candidates that lie beyond the model's depth behind it, without scores: a reply holds every document."""
    ranked = set(ranking.item_ids)
    beyond = (Candidate(item=candidate.item) for candidate in candidates if candidate.item.item_id not in ranked)
    return replace(ranking, candidates=(*ranking.candidates, *beyond))


def as_tei(answer: Reranked, body: dialects.TeiRequest) -> list[dialects.TeiResult]:
    """The bare array of text-embeddings-inference."""
    return [
        dialects.TeiResult(
            index=line.index,
            score=line.raw if body.raw_scores else line.to_unit_scale,
            text=body.texts[line.index] if body.return_text else None,
        )
        for line in answer.lines
    ]


def as_infinity(answer: Reranked, body: dialects.InfinityRequest) -> dialects.InfinityReply:
    """The reply of infinity."""
    results = [
        dialects.InfinityResult(
            index=line.index,
            relevance_score=line.raw if body.raw_scores else line.to_unit_scale,
            document=body.documents[line.index] if body.return_documents else None,
        )
        for line in answer.lines[: body.top_n or None]
    ]
    identity = f"infinity-{uuid.uuid4().hex}"
    return dialects.InfinityReply(id=identity, model=answer.model.name, created=int(time.time()), results=results, usage=answer.usage)


def as_voyage(answer: Reranked, body: dialects.VoyageRequest) -> dialects.VoyageReply:
    """The reply of Voyage."""
    results = [
        dialects.VoyageResult(
            index=line.index,
            relevance_score=line.to_unit_scale,
            document=body.documents[line.index] if body.return_documents else None,
        )
        for line in answer.lines[: body.top_k or None]
    ]
    return dialects.VoyageReply(data=results, model=answer.model.name, usage=answer.usage)


def as_scores(answers: Sequence[Reranked]) -> dialects.ScoreReply:
    """The reply of vLLM's score: a number for each document, in the order in which they came."""
    scores = [line.to_unit_scale for answer in answers for line in sorted(answer.lines, key=lambda line: line.index)]
    usages = [answer.usage for answer in answers]
    prompt, completion = sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)
    return dialects.ScoreReply(
        id=f"score-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=answers[0].model.name,
        data=[dialects.Score(index=n, score=score) for n, score in enumerate(scores)],
        usage=dialects.Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion),
        mmrerank=[answer.notes for answer in answers],
    )


def as_jina(answer: Reranked, body: dialects.JinaRequest) -> dialects.JinaReply:
    """The reply of Jina and vLLM."""
    return dialects.JinaReply(
        id=f"rerank-{uuid.uuid4().hex}",
        model=answer.model.name,
        results=results_of(answer, body),
        usage=answer.usage,
        mmrerank=answer.notes,
    )


def results_of(answer: Reranked, body: dialects.CohereRequest | dialects.JinaRequest) -> list[dialects.Result]:
    """The results as both dialects write them."""
    return [
        dialects.Result(
            index=line.index,
            relevance_score=line.to_unit_scale,
            document=echoed(body.listed[line.index]) if body.return_documents else None,
            mmrerank=line.notes if body.mmrerank.explain else None,
        )
        for line in answer.lines[: body.top_n or None]
    ]


def echoed(document: str | dialects.Content) -> dict[str, Any]:
    """The document as replies give it back: text or picture as Jina, parts as vLLM."""
    if isinstance(document, str):
        return {"text": document}
    fields = document.model_dump(exclude_none=True)
    parts = fields.pop("content", None)
    if parts is None:
        return fields
    texts = [part["text"] for part in parts if part["type"] == "text"]
    pictures = [part for part in parts if part["type"] != "text"]
    return {**({"text": "\n".join(texts)} if texts else {}), **({"multi_modal": pictures} if pictures else {})}


class _Reading:
    """Reads the query and the documents of one request, and counts their pictures."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pictures = 0

    def query(self, document: str | dialects.Content, ours: dialects.Ours) -> Query:
        """The query, with exclusions from outside its dialect."""
        text, images, item = self._parts(document, "query")
        if item is not None:
            images = [*([item.image] if item.image is not None else []), *images]
            text = text or (None if images else item.text)
        if not text and not images:
            raise RequestRefused(400, "query: it has neither text nor a picture", param="query")
        excluded = [self._picture(uri, f"mmrerank.exclude_images.{n}") for n, uri in enumerate(ours.exclude_images)]
        return Query(
            text=text,
            images=tuple(images),
            exclude_text=tuple(ours.exclude_text),
            exclude_images=tuple(excluded),
            instruction=ours.instruction,
        )

    def candidate(self, document: str | dialects.Content, n: int) -> Candidate:
        """One document, by its place."""
        where = f"documents.{n}"
        text, images, item = self._parts(document, where)
        if len(images) > 1 or (images and item is not None and item.image is not None):
            raise RequestRefused(400, f"{where}: a document has one picture at most", hint="Give each picture as a document.", param=where)
        known = item or Item(item_id=str(n))
        return Candidate(
            item=Item(
                item_id=str(n),
                document_id=known.document_id,
                page_number=known.page_number,
                image=images[0] if images else known.image,
                text=text or known.text,
                metadata=known.metadata,
            )
        )

    def _parts(self, document: str | dialects.Content, where: str) -> tuple[str | None, list[ImageHandle], Item | None]:
        if isinstance(document, str):
            return document or None, [], None
        parts = document.content or []
        texts = [document.text or "", *(part.text for part in parts if isinstance(part, dialects.TextPart))]
        uris = [document.image] if document.image else []
        uris += [part.image_url.url for part in parts if isinstance(part, dialects.ImagePart)]
        item = self._service.item(document.id, document.collection, where) if document.id is not None else None
        return "\n".join(text for text in texts if text) or None, [self._picture(uri, where) for uri in uris], item

    def _picture(self, uri: str, where: str) -> ImageHandle:
        self._pictures += 1
        most = self._service.settings.limits.pictures
        if self._pictures > most:
            raise RequestRefused(400, f"at most {most} pictures at once", hint="Send fewer, or name indexed items by id.", param=where)
        return self._service.pictures.handle(uri, where)
