"""Errors as replies: the tree of `mmrerank.errors` maps to status codes by type, in the envelope that OpenAI clients read."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mmrerank.errors import AnswerError, BackendError, DamagedData, ManifestError, MissingExtra, MMRerankError
from mmrerank.service._work import RETRY_AFTER_S, Abandoned, DeadlinePassed, TooBusy
from mmrerank.service.dialects import TAGS
from mmrerank.service.schemas import Error

KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(MMRerankError):
    """A request that is turned away at the door, with its status."""

    def __init__(self, status: int, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.param = status, param


class NoSuchThing(Refused):
    """What a request names is not here."""

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(404, message, hint=hint, param=param)


STATUS: dict[type[MMRerankError], int] = {
    TooBusy: 429,
    DeadlinePassed: 504,
    Abandoned: 499,  # nobody reads it; what nginx logs for a client that closed the connection
    BackendError: 502,
    AnswerError: 502,
    DamagedData: 500,
    ManifestError: 409,
    MissingExtra: 501,
}


def status_of(error: MMRerankError) -> int:
    """The status code for an error, by its type; 400 for what was given wrongly."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, BackendError) and error.retryable:
        return 503
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)


def envelope(error: MMRerankError) -> dict[str, Any]:
    """The body of the reply."""
    return body(status_of(error), str(error), code=type(error).__name__, param=getattr(error, "param", None))


def body(status: int, message: str, *, code: str, param: str | None = None) -> dict[str, Any]:
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def reply(error: MMRerankError) -> JSONResponse:
    """The reply to an error, with when to come again where that helps."""
    status = status_of(error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": str(RETRY_AFTER_S)}, 503: {"Retry-After": str(RETRY_AFTER_S)}}
    return JSONResponse(envelope(error), status, headers=headers.get(status))


BROKEN = body(500, "an error of the service; its log says more", code="InternalError")


def install(app: FastAPI) -> None:
    """Makes every error of the app leave in the envelope, and none with a trace."""

    @app.exception_handler(MMRerankError)
    async def ours(request: Request, error: MMRerankError) -> JSONResponse:
        return reply(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(piece) for piece in first["loc"][1:] if piece not in TAGS) or None
        said = first["msg"].removeprefix("Value error, ")
        message = f"{where}: {said}" if where else said
        return JSONResponse(body(422, message, code="ValidationError", param=where), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(body(error.status_code, str(error.detail), code="HTTPError"), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def other(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(BROKEN, 500)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": what}
    for status, what in {
        400: "What was given cannot be used.",
        401: "The bearer token is missing or wrong.",
        403: "The request names another host, or comes from a page of one.",
        404: "A collection, model or item of that name is not here.",
        408: "The body did not arrive in time.",
        409: "A collection and an encoder disagree.",
        413: "The body is too large.",
        422: "The request has another shape.",
        429: "Too many requests at once; come again after Retry-After seconds.",
        500: "An error of the service.",
        501: "An optional library is not installed.",
        502: "The model gave no usable answer.",
        503: "The model cannot be reached now.",
        504: "It took too long.",
    }.items()
}
