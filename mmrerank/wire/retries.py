"""One JSON request to a server, tried again where trying again can help.

Tried again: a connection that fails or breaks, a time-out, 408, 409, 425, 429 and 5xx. The wait doubles each time and is cut by a
random share of up to a half, so that many clients do not come back at once; `Retry-After` is honoured up to a minute.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from mmrerank.errors import BackendError

logger = logging.getLogger(__name__)
RETRYABLE = frozenset({408, 409, 425, 429})
FOR_GOOD = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # codes that come with 429, and that no wait mends
LONGEST_WAIT_S = 60.0
LONGEST_MESSAGE = 300  # characters of what a server said that go into a message


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long to try."""

    retries: int
    backoff_s: float  # before the second try


class RequestRefused(Exception):
    """The server answered with a status that no further try will change, or the tries are used up."""

    def __init__(self, status: int, message: ServerMessage, *, retryable: bool) -> None:
        super().__init__(message.text)
        self.status, self.message, self.retryable = status, message, retryable


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMessage:
    """What a server said with an error, from any of the envelopes in use."""

    text: str
    codes: frozenset[str] = frozenset()


def post(client: httpx.Client, url: str, body: Mapping[str, Any], policy: RetryPolicy, cancellation: threading.Event) -> Any:
    """The JSON that the server answers with.

    Args:
        cancellation: once it is set, nothing is tried again.

    Raises:
        RequestRefused: by its status.
        BackendError: the server cannot be reached (retryable), or does not speak JSON.
    """
    return _json(url, _first_success(client, url, body, policy, cancellation, stream=False))


def post_lines(
    client: httpx.Client, url: str, body: Mapping[str, Any], policy: RetryPolicy, cancellation: threading.Event
) -> Iterator[str]:
    """The lines that the server answers with, as they come. Only what fails before the first is tried again.

    Raises:
        RequestRefused: by its status.
        BackendError: the server cannot be reached, or the answer breaks off; retryable.
    """
    reply = _first_success(client, url, body, policy, cancellation, stream=True)
    try:
        yield from reply.iter_lines()
    except httpx.RequestError as error:
        raise _unreachable(url, error) from error
    finally:
        reply.close()


def _first_success(
    client: httpx.Client, url: str, body: Mapping[str, Any], policy: RetryPolicy, cancellation: threading.Event, *, stream: bool
) -> httpx.Response:
    """The reply of the first try that succeeds; with `stream` its body is still to be read."""
    for remaining in range(policy.retries, -1, -1):
        wait = _backoff(policy, policy.retries - remaining)
        try:
            reply = client.send(client.build_request("POST", url, json=body), stream=stream)
            if not reply.is_success:
                reply.read()
        except httpx.RequestError as error:  # also an answer that cannot be decompressed
            failure: Exception = _unreachable(url, error)
        else:
            if reply.is_success:
                return reply
            failure = refusal(reply)
            if not failure.retryable:
                raise failure
            wait = retry_after_s(reply.headers.get("retry-after")) or wait
        if remaining == 0 or wait > LONGEST_WAIT_S or cancellation.is_set():
            raise failure
        logger.warning("%s: %s; trying again in %.1f s", url, failure, wait)
        cancellation.wait(wait)
    raise AssertionError("the last try returns or raises")


def _backoff(policy: RetryPolicy, tries: int) -> float:
    return float(min(policy.backoff_s * 2**tries, LONGEST_WAIT_S)) * random.uniform(0.5, 1.0)


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date; None where it is absent or unreadable.

    >>> retry_after_s("1.5")
    1.5
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def refusal(reply: httpx.Response) -> RequestRefused:
    """The error that a reply stands for."""
    message = _message_of(reply)
    again = (reply.status_code in RETRYABLE or reply.status_code >= 500) and not message.codes & FOR_GOOD
    return RequestRefused(reply.status_code, message, retryable=again)


def _message_of(reply: httpx.Response) -> ServerMessage:
    """From `{"error": {"message", "type", "code"}}`, `{"error": "..."}`, `{"detail": ...}`, `{"message": "..."}` or plain text."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return ServerMessage(text=_short(reply.text) or reply.reason_phrase)
    error = body.get("error", body)
    if not isinstance(error, dict):
        return ServerMessage(text=_short(str(error)))
    text = error.get("message") or error.get("detail") or json.dumps(body)
    inner = error.get("innererror")
    codes = {error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None}
    return ServerMessage(text=_short(str(text)), codes=frozenset(code for code in codes if isinstance(code, str)))


def _short(text: str) -> str:
    return " ".join(text.split())[:LONGEST_MESSAGE]


def _unreachable(url: str, error: httpx.RequestError) -> BackendError:
    if isinstance(error, httpx.TimeoutException):
        hint = "Give it longer with timeout_s, or ask less at once with concurrency."
        return BackendError(f"{url} did not answer in time ({type(error).__name__})", retryable=True, hint=hint)
    if isinstance(error, httpx.DecodingError):
        return BackendError(f"{url} answers with something that cannot be decompressed: {_short(str(error))}", retryable=True)
    hint = "Is the server running, and is this its address?"
    return BackendError(f"{url} cannot be reached: {_short(str(error)) or type(error).__name__}", retryable=True, hint=hint)


def _json(url: str, reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        hint = "The URL should be that of an OpenAI-compatible server, such as http://host:8000/v1."
        raise BackendError(f"{url} answers with something that is no JSON: {_short(reply.text)[:80]!r}", hint=hint) from error
