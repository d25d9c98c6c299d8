"""The app: routes, errors and doors around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mmrerank import __version__
from mmrerank.errors import MissingExtra
from mmrerank.service.settings import Settings

try:
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
    from fastapi import Depends, FastAPI
    from fastapi.security import HTTPBearer
except ImportError as missing:
    raise MissingExtra.of(missing.name or "fastapi", "serve", "The service") from missing

from mmrerank.service import _assets, _embeddings, _failures, _health, _reranking, _searching
from mmrerank.service._admission import AdmissionMiddleware
from mmrerank.service._state import Service

BRIEFLY_S = 1.0  # in which threads come to their next step, where they see that they were given up


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI app. Everything it serves is opened now.

    Raises:
        InputError: a collection, reranker, backend or encoder of the settings cannot be used.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.work.close(BRIEFLY_S)  # nobody waits any more: the server has let requests come to their end, or ended them

    app = FastAPI(
        title="mmrerank",
        version=__version__,
        summary="Finds the right picture or document page and puts it first.",
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if settings.token else [],  # described here, asked for by the doors
    )
    app.state.service = service
    _failures.install(app, service.redact_paths)
    app.include_router(_searching.router(service))
    app.include_router(_reranking.router(service))
    app.include_router(_embeddings.router(service))
    app.include_router(_health.router(service))
    app.include_router(_assets.router(service))
    app.add_middleware(AdmissionMiddleware, settings=settings, metrics=service.metrics)
    return app
