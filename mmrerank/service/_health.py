"""`/healthz`, `/info`, `/metrics`, and the token for the web page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from mmrerank import __version__
from mmrerank.service import schemas
from mmrerank.service._admission import COOKIE, same
from mmrerank.service._failures import RESPONSES, RequestRefused
from mmrerank.service._state import Service

TEXT: dict[int | str, dict[str, Any]] = {**RESPONSES, 200: {"content": {"text/plain": {}}, "description": "As Prometheus reads it."}}


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(tags=["service"], responses=RESPONSES)

    @routes.get("/healthz")
    @routes.get("/health", include_in_schema=False)
    async def health() -> schemas.Health:
        """Whether the service is up; it opens what it serves before it listens."""
        gone = [name for name in service.collections.names if service.collections.is_gone(name)]
        return schemas.Health(status="ok", version=__version__, requests=service.work.taken, gone=gone)

    @routes.get("/info")
    async def info() -> schemas.Info:
        """What serves here, as text-embeddings-inference describes itself."""
        return _info(service)

    @routes.get("/v1/cluster/auth", include_in_schema=False)
    async def cluster() -> dict[str, bool]:
        """Whether a key is asked for, which Xinference's client asks before it sends one."""
        return {"auth": service.settings.token is not None}

    @routes.get("/metrics", response_class=Response, responses=TEXT)
    async def metrics() -> Response:
        """Latency per request and stage, calls, tokens, cache hits, repairs and batches."""
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @routes.post("/v1/session", status_code=204, response_class=Response)
    async def session(request: Request, body: schemas.SessionRequest) -> Response:
        """Gives a browser the token as a cookie, since it sends no header with a picture."""
        return _with_cookie(request, service.settings.token, body.token)

    return routes


def _info(service: Service) -> schemas.Info:
    limits, load = service.settings.limits, service.settings.load
    return schemas.Info(
        model_id=service.default_model,
        version=__version__,
        max_concurrent_requests=load.workers + load.queue,
        max_client_batch_size=limits.documents,
        tokenization_workers=load.workers,
    )


def _with_cookie(request: Request, token: str | None, offer: str) -> Response:
    """An empty reply with the token as a cookie; without one where the service has none.

    Raises:
        RequestRefused: what is offered is another.
    """
    reply = Response(status_code=204)
    if token is None:
        return reply
    if not same(token, offer):
        raise RequestRefused(401, "the token is wrong", param="token")
    encrypted = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").lower())  # a proxy ends TLS
    reply.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=encrypted)
    return reply
