"""Errors as replies: the tree of `mmrerank.errors` maps to status codes by type, in the envelope that OpenAI clients read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mmrerank.errors import AnswerError, BackendError, DamagedData, FormatError, ManifestError, MissingExtra, MMRerankError, with_hint
from mmrerank.service._collections import CollectionGone
from mmrerank.service._work import RETRY_AFTER_S, Abandoned, DeadlinePassed, TooBusy
from mmrerank.service.dialects import TAGS
from mmrerank.service.schemas import Error

Redaction: TypeAlias = Callable[[str], str]  # a text without the places of this machine
MOST_LETTERS = 600  # characters of what is wrong with a request, which may quote it
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class RequestRefused(MMRerankError):
    """A request that is turned away at the door, with its status."""

    code = "Refused"

    def __init__(self, status: int, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.param = status, param


class NoSuchThing(RequestRefused):
    """What a request names is not here."""

    code = "NoSuchThing"

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(404, message, hint=hint, param=param)


STATUS: dict[type[MMRerankError], int] = {
    CollectionGone: 503,
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
    if isinstance(error, RequestRefused):
        return error.status
    if isinstance(error, BackendError) and error.retryable:
        return 503
    if isinstance(error, FormatError) and PurePath(error.path).is_absolute():
        return 410  # a file of this machine, gone or broken since it was indexed; what a client sends has no path
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)


def envelope(error: MMRerankError, redact: Redaction = str) -> dict[str, Any]:
    """The body of the reply.

    Args:
        redact: cleans what the error says.
    """
    return body(status_of(error), _text_of(error, redact), code=error.type, param=getattr(error, "param", None))


def _text_of(error: MMRerankError, redact: Redaction) -> str:
    """What the error says; the place of a file as collections know it, or not at all."""
    if not isinstance(error, FormatError):
        return redact(str(error))[:MOST_LETTERS]
    place = redact(error.path)
    text = redact(with_hint(error.reason, error.hint))
    return f"a file: {text}" if PurePath(place).is_absolute() else f"{place}: {text}"


def body(status: int, message: str, *, code: str, param: str | None = None) -> dict[str, Any]:
    """The envelope of OpenAI, and beside it what the clients of others read: `message` Cohere's and DashScope's, `detail` those of Jina,
    Voyage and NVIDIA, `error_type` TEI's, `code` and `request_id` DashScope's."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    envelope = {"message": message, "type": kind, "param": param, "code": code}
    identity = uuid.uuid4().hex
    return {"error": envelope, "message": message, "detail": message, "error_type": kind, "code": code, "request_id": identity}


def reply(error: MMRerankError, redact: Redaction = str) -> JSONResponse:
    """The reply to an error, with when to come again where that helps."""
    status = status_of(error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": str(RETRY_AFTER_S)}, 503: {"Retry-After": str(RETRY_AFTER_S)}}
    return JSONResponse(envelope(error, redact), status, headers=headers.get(status))


def broken() -> dict[str, Any]:
    """The body of the reply to an error that is none of ours."""
    return body(500, "an error of the service; its log says more", code="InternalError")


def install(app: FastAPI, redact: Redaction) -> None:
    """Makes the errors of the app leave in the envelope, cleaned by `redact`; what is no error of ours is answered by the doors."""

    @app.exception_handler(MMRerankError)
    async def ours(request: Request, error: MMRerankError) -> JSONResponse:
        return reply(error, redact)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        where, wrong = _mistake(error.errors()[0], request.headers.get("content-type", ""))
        message = f"{where}: {wrong}" if where else wrong
        return JSONResponse(body(422, message[:MOST_LETTERS], code="ValidationError", param=where), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        message = _way_out(error, request.url.path, sorted(app.openapi()["paths"]))
        return JSONResponse(body(error.status_code, message, code="HTTPError"), error.status_code, headers=error.headers)


def _mistake(error: Any, content_type: str) -> tuple[str | None, str]:
    """(field, what is wrong with it) of the first thing that a request has in another shape; no field where it is no JSON at all."""
    if error["type"] == "json_invalid":
        return None, f"the body is no JSON: {error['ctx']['error']}, at character {error['loc'][-1]}"
    where = ".".join(str(piece) for piece in error["loc"][1:] if piece not in TAGS)[:MOST_LETTERS] or None
    if where is None and error["type"] == "missing":
        return None, "the body is empty; send a JSON object"
    if where is None and error["type"] == "model_attributes_type" and not isinstance(error["input"], str | bytes):
        return None, f"the body is {_kind(error['input'])}; send a JSON object"
    if where is None and not content_type.startswith("application/json"):
        return None, f"the body came as {content_type[:60] or 'nothing'}; send JSON with the header Content-Type: application/json"
    if error["type"] == "union_tag_invalid":
        tag, value = error["ctx"]["tag"], error["input"]
        came = f"{tag!r:.60}" if isinstance(value, dict) and value.get("type") == tag else _kind(value)
        return where, f"expected {error['ctx']['expected_tags'].replace(chr(39), '').replace(', ', ' or ')}; got {came}"
    if error["type"] == "string_type":
        return where, f"expected a text; got {_kind(error['input'])}"
    return where, error["msg"].removeprefix("Value error, ")[:MOST_LETTERS]


def _kind(value: Any) -> str:
    """What a value of JSON is called."""
    names = {bool: "true or false", str: "a text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def _unread(cause: BaseException | None) -> str:
    """Why a body could not be read at all; "" where it is not known."""
    if isinstance(cause, UnicodeDecodeError):
        return f"the body is not UTF-8: byte 0x{cause.object[cause.start]:02x} at place {cause.start}; send JSON in UTF-8"
    return "the body is nested too deeply" if isinstance(cause, RecursionError) else ""


def _way_out(error: HTTPException, path: str, paths: Sequence[str]) -> str:
    """What is wrong with a path or its method, with the path that was meant."""
    if error.status_code == 405:
        return f"{path[:80]} takes other methods: {(error.headers or {}).get('Allow', 'see /openapi.json')}"
    if error.status_code != 404:
        return _unread(error.__cause__) or str(error.detail)
    ends = [known for known in paths if known.strip("/").rpartition("/")[2] == path.strip("/").rpartition("/")[2]]
    near = ends or get_close_matches(path, paths, n=3, cutoff=0.5)
    return f"there is no {path[:80]} here; " + (f"did you mean {', '.join(near)}?" if near else "see /openapi.json")


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": what}
    for status, what in {
        400: "What was given cannot be used.",
        401: "The bearer token is missing or wrong.",
        403: "The request names another host, or comes from a page of one.",
        404: "A collection, model or item of that name is not here.",
        408: "The body did not arrive in time.",
        409: "A collection and an encoder disagree.",
        410: "A file of the collection is gone or broken.",
        413: "The body is too large.",
        415: "The body is packed.",
        422: "The request has another shape.",
        429: "Too many requests at once; come again after Retry-After seconds.",
        500: "An error of the service.",
        501: "An optional library is not installed.",
        502: "The model gave no usable answer.",
        503: "The model cannot be reached now, or the collection is gone.",
        504: "It took too long.",
    }.items()
}
