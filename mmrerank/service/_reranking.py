"""`/v2/rerank`, `/v1/rerank`, `/rerank`, `/v1/ranking`, `/v1/score` and `/v1/models`: one way of reranking behind several dialects.

What a dialect has no field for (options that nothing is done about, that nothing was reranked) also stands in the headers of every reply,
since TEI's is a bare array."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from mmrerank.ordering import Scale, to_unit_scale
from mmrerank.pipeline import rerank_candidates
from mmrerank.results import Stage
from mmrerank.service import dialects
from mmrerank.service._failures import MOST_LETTERS, RESPONSES, RequestRefused
from mmrerank.service._models import Model
from mmrerank.service._pictures import SideBySide
from mmrerank.service._searching import gone
from mmrerank.service._state import Service
from mmrerank.service.content import Content, echoed
from mmrerank.types import Candidate, ImageHandle, Item, Query, Ranking

STARTED = int(time.time())
PATHS = ("/v1/rerank", "/rerank", "/v1/ranking")
OTHER_PATHS = (  # of other servers, which lead to the same
    "/ranking",
    "/reranking",
    "/v1/reranking",
    "/v1/rerankings",
    "/v1/reranks",
    "/compatible-api/v1/reranks",
    "/api/v1/services/rerank/text-rerank/text-rerank",
)
NAMED_PATHS = ("/v1/retrieval/{name:path}/reranking", "/_inference/rerank/{name:path}")  # NVIDIA's and Elasticsearch's, with the model
RERANKED_HEADER, NOTES_HEADER = "X-MMRerank-Reranked", "X-MMRerank-Notes"
SEVERAL_PICTURES = "documents with several pictures are shown as one picture that holds them side by side"


def header_text(text: str) -> str:
    """A text as the value of a header: letters beyond ASCII and line breaks quoted as in a URL, not too long, and no blank at its ends,
    which no header may have.

    >>> header_text("größer; 1: ")
    'gr%C3%B6%C3%9Fer; 1:'
    """
    return quote(text[:MOST_LETTERS].strip(), safe=" ,;:()'./=+*-_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One result. `index` is the place of its document in the request."""

    index: int
    to_unit_scale: float
    raw: float  # on the scale of the method, where every document has one; else within 0 and 1 as well
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
    def tokens(self) -> dialects.Tokens:
        usage = self.usage
        return dialects.Tokens(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)

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


Method: TypeAlias = Callable[[Request, Response, dialects.Wish], Awaitable[Reranked]]


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(tags=["rerank"], responses=RESPONSES)
    ranked = _method(service)
    _add_cohere(routes, ranked)
    _add_dialects(routes, ranked)
    _add_scores(routes, ranked)
    _add_models(routes, service)
    return routes


def _method(service: Service) -> Method:
    """What every dialect has its wishes answered by; it fills the headers of the reply as well."""

    async def ranked(request: Request, response: Response, wish: dialects.Wish) -> Reranked:
        model = service.model(wish.model)
        answer = await service.work.run(lambda: reranked(service, model, wish), gone=lambda: gone(request))
        response.headers[RERANKED_HEADER] = "true" if answer.notes.reranked else "false"
        if answer.messages:
            response.headers[NOTES_HEADER] = header_text("; ".join(answer.messages))
        return answer

    return ranked


def _add_cohere(routes: APIRouter, ranked: Method) -> None:
    @routes.post("/v2/rerank", response_model_exclude_none=True)
    async def cohere(request: Request, response: Response, body: dialects.CohereRequest) -> dialects.CohereReply:
        """Reranks texts, as Cohere's v2."""
        answer = await ranked(request, response, body.wish)
        meta = meta_of(answer, "2")
        return dialects.CohereReply(id=str(uuid.uuid4()), results=results_of(answer, body), meta=meta, mmrerank=answer.notes)


def _add_dialects(routes: APIRouter, ranked: Method) -> None:
    """The dialects that are told by the body, on the paths of all of them, and infinity's on its own."""

    async def by_client(request: Request, response: Response, body: dialects.AnyRequest) -> Any:
        """Reranks texts, pictures, both, or indexed items, in the dialect that the body speaks: Jina, vLLM, Voyage, infinity, TEI,
        NVIDIA, DashScope or Elasticsearch."""
        return reply_in(body, await ranked(request, response, body.wish))

    async def by_client_with_name(request: Request, response: Response, body: dialects.AnyRequest, name: str) -> Any:
        wish = body.wish if body.wish.model is not None else replace(body.wish, model=name)
        return reply_in(body, await ranked(request, response, wish))

    replies = dialects.JinaReply | dialects.VoyageReply | dialects.InfinityReply | dialects.NvidiaReply
    reply = replies | dialects.DashScopeReply | dialects.ElasticReply | list[dialects.TeiResult]
    options: dict[str, Any] = {"methods": ["POST"], "response_model": reply, "response_model_exclude_none": True}
    for path in (*PATHS, *OTHER_PATHS):
        routes.add_api_route(path, by_client, include_in_schema=path in PATHS, **options)
    for path in NAMED_PATHS:
        routes.add_api_route(path, by_client_with_name, include_in_schema=False, **options)

    @routes.post("/infinity/rerank", response_model_exclude_none=True, include_in_schema=False)
    @routes.post("/infinity/v1/rerank", response_model_exclude_none=True, include_in_schema=False)
    async def infinity(request: Request, response: Response, body: dialects.InfinityRequest) -> dialects.InfinityReply:
        return as_infinity(await ranked(request, response, body.wish), body)


def _add_scores(routes: APIRouter, ranked: Method) -> None:
    @routes.post("/v1/score")
    @routes.post("/score", include_in_schema=False)
    async def score(request: Request, response: Response, body: dialects.ScoreRequest) -> dialects.ScoreReply:
        """Scores documents against a query, or pairs, in the order in which they came, as vLLM."""
        return as_scores([await ranked(request, response, wish) for wish in body.wishes])


def _add_models(routes: APIRouter, service: Service) -> None:
    @routes.get("/v1/models")
    @routes.get("/models", include_in_schema=False)
    async def models() -> dialects.ModelList:
        """The rerankers that `model` names."""
        return dialects.ModelList(data=[dialects.ModelCard(id=name, created=STARTED) for name in service.models_alone])

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dialects.ModelCard:
        """One of them."""
        return dialects.ModelCard(id=service.model(name).name, created=STARTED)


def reranked(service: Service, model: Model, wish: dialects.Wish) -> Reranked:
    """The documents of a request in the order of a model. All of them: also those that it holds to be irrelevant.

    Raises:
        RequestRefused: there are too many documents, or one of them cannot be read.
        BackendError: the model cannot be reached.
    """
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
    return Reranked(
        model=model,
        method=service.redact_paths(stage.name),
        lines=_lines(service, ranking, scores),
        stage=stage,
        scale=scale,
        messages=[*(service.redact_paths(note) for note in stage.notes), *reading.notes, *dialects.unheeded(wish.ignored)],
    )


def _lines(service: Service, ranking: Ranking, scores: Sequence[float]) -> list[Line]:
    """A line for each candidate, in their order; raw scores as such where all have one, since two scales in one list are no order."""
    known = [candidate.score if candidate.raw_score is None else candidate.raw_score for candidate in ranking.candidates]
    raws = [raw for raw in known if raw is not None]
    notes = ranking.notes
    return [
        Line(
            index=int(candidate.item.item_id),
            to_unit_scale=score,
            raw=raw,
            notes=dialects.ResultNotes(
                raw_score=candidate.raw_score,
                calibrated_score=candidate.calibrated_score,
                explanation=service.redact_paths(notes.reasons.get(candidate.item.item_id, "")),
                irrelevant=candidate.item.item_id in notes.irrelevant,
            ),
        )
        for candidate, score, raw in zip(ranking.candidates, scores, raws if len(raws) == len(known) else scores, strict=True)
    ]


def _whole(ranking: Ranking, candidates: Sequence[Candidate]) -> Ranking:
    """The ranking with the candidates that lie beyond the model's depth behind it, without scores: a reply holds every document."""
    ranked = set(ranking.item_ids)
    beyond = (Candidate(item=candidate.item) for candidate in candidates if candidate.item.item_id not in ranked)
    return replace(ranking, candidates=(*ranking.candidates, *beyond))


def reply_in(body: dialects.AnyRequest, answer: Reranked) -> Any:
    """The reply in the dialect of its request."""
    if isinstance(body, dialects.TeiRequest):
        return as_tei(answer, body)
    if isinstance(body, dialects.InfinityRequest):
        return as_infinity(answer, body)
    if isinstance(body, dialects.NvidiaRequest):
        return as_nvidia(answer)
    if isinstance(body, dialects.DashScopeRequest):
        return as_dashscope(answer, body)
    if isinstance(body, dialects.ElasticRequest):
        return as_elastic(answer, body)
    return as_voyage(answer, body) if isinstance(body, dialects.VoyageRequest) else as_jina(answer, body)


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
    return dialects.InfinityReply(
        id=identity, model=answer.model.name, created=int(time.time()), results=results, usage=answer.usage, mmrerank=answer.notes
    )


def as_voyage(answer: Reranked, body: dialects.VoyageRequest) -> dialects.VoyageReply:
    """The reply of Voyage."""
    results = [
        dialects.VoyageResult(
            index=line.index,
            relevance_score=line.to_unit_scale,
            document=_plainly(body.documents[line.index]) if body.return_documents else None,
        )
        for line in answer.lines[: body.top_k or None]
    ]
    return dialects.VoyageReply(data=results, model=answer.model.name, usage=answer.usage, mmrerank=answer.notes)


def _plainly(document: str | Content) -> str | dict[str, Any]:
    return document if isinstance(document, str) else echoed(document)


def as_nvidia(answer: Reranked) -> dialects.NvidiaReply:
    """The reply of NVIDIA's ranking."""
    rankings = [dialects.Ranked(index=line.index, logit=line.raw) for line in answer.lines]
    return dialects.NvidiaReply(rankings=rankings, usage=answer.usage, mmrerank=answer.notes)


def as_dashscope(answer: Reranked, body: dialects.DashScopeRequest) -> dialects.DashScopeReply:
    """The reply of DashScope."""
    results = [
        dialects.DashScopeResult(
            index=line.index,
            relevance_score=line.to_unit_scale,
            document=echoed(body.input.documents[line.index]) if body.parameters.return_documents else None,
        )
        for line in answer.lines[: body.parameters.top_n or None]
    ]
    output = dialects.DashScopeOutput(results=results)
    return dialects.DashScopeReply(output=output, usage=answer.usage, request_id=str(uuid.uuid4()), mmrerank=answer.notes)


def as_elastic(answer: Reranked, body: dialects.ElasticRequest) -> dialects.ElasticReply:
    """The reply of Elasticsearch."""
    results = [
        dialects.ElasticResult(
            index=line.index,
            relevance_score=line.to_unit_scale,
            text=echoed(body.input[line.index]).get("text") if body.return_documents else None,
        )
        for line in answer.lines[: body.top_n or None]
    ]
    return dialects.ElasticReply(rerank=results, mmrerank=answer.notes)


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


def meta_of(answer: Reranked, version: str) -> dict[str, Any]:
    """What Cohere's clients read of a reply as a whole."""
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "tokens": answer.tokens.model_dump(),
        **({"warnings": answer.messages} if answer.messages else {}),
    }


def as_jina(answer: Reranked, body: dialects.JinaRequest) -> dialects.JinaReply:
    """The reply of Jina and vLLM."""
    results = results_of(answer, body)
    return dialects.JinaReply(
        id=f"rerank-{uuid.uuid4().hex}",
        model=answer.model.name,
        results=results,
        data=[dialects.Place(index=result.index, relevance_score=result.relevance_score) for result in results],
        usage=answer.usage,
        tokens=answer.tokens,
        meta=meta_of(answer, "1"),
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


class _Reading:
    """Reads the query and the documents of one request, and counts their pictures."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pictures = 0
        self.notes: list[str] = []  # what is done otherwise than a client may think

    def query(self, document: str | Content, ours: dialects.Ours) -> Query:
        """The query, with exclusions from outside its dialect."""
        text, images, item = self._parts(document, "query")
        if item is not None:
            images = [*([item.image] if item.image is not None else []), *images]
            text = text or (None if images else item.text)
        if not (text or "").strip() and not images:
            raise RequestRefused(400, "query: it has neither text nor a picture", param="query")
        excluded = [self._picture(uri, f"mmrerank.exclude_images.{n}") for n, uri in enumerate(ours.exclude_images)]
        return Query(
            text=text,
            images=tuple(images),
            exclude_text=tuple(ours.exclude_text),
            exclude_images=tuple(excluded),
            instruction=ours.instruction,
        )

    def candidate(self, document: str | Content, n: int) -> Candidate:
        """One document, by its place."""
        text, images, item = self._parts(document, f"documents.{n}")
        known = item or Item(item_id=str(n))
        images = [*([known.image] if images and known.image is not None else []), *images]
        return Candidate(
            item=Item(
                item_id=str(n),
                document_id=known.document_id,
                page_number=known.page_number,
                image=self._one_of(images) if images else known.image,
                text=text or known.text,
                metadata=known.metadata,
            )
        )

    def _one_of(self, images: list[ImageHandle]) -> ImageHandle:
        """One picture for a document that has several, since methods show one picture a candidate."""
        if len(images) == 1:
            return images[0]
        if SEVERAL_PICTURES not in self.notes:
            self.notes.append(SEVERAL_PICTURES)
        return SideBySide(tuple(images))

    def _parts(self, document: str | Content, where: str) -> tuple[str | None, list[ImageHandle], Item | None]:
        if isinstance(document, str):
            return document or None, [], None
        item = self._service.item(document.id, document.collection, where) if document.id is not None else None
        return "\n".join(document.words) or None, [self._picture(uri, where) for uri in document.uris], item

    def _picture(self, uri: str, where: str) -> ImageHandle:
        self._pictures += 1
        most = self._service.settings.limits.pictures
        if self._pictures > most:
            raise RequestRefused(400, f"at most {most} pictures at once", hint="Send fewer, or name indexed items by id.", param=where)
        return self._service.pictures.handle(uri, where)
