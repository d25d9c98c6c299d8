"""What a request passes before anything reads it: how many are inside already, the host it names, its token, and how much and how
slowly it may send.

The body is read here, as a whole, within its limits; after that the app hears no more than that the client has gone.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import quote

from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser

from mmrerank.readers import MIB
from mmrerank.service._failures import RequestRefused, broken, reply
from mmrerank.service._metrics import Metrics
from mmrerank.service._origins import headers_for, is_allowed, preflight
from mmrerank.service._paths import canonical
from mmrerank.service._work import RETRY_AFTER_S, TooBusy
from mmrerank.service.settings import LOOPBACK, Settings

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)
COOKIE = "mmrerank_token"
PROBES = frozenset({"/healthz", "/health"})  # asked by load balancers, which name an address or nothing as host
# without a token: the page, which asks for one, whether the service is up, and whether it asks for one
OPEN = PROBES | {"/", "/v1/session", "/v1/cluster/auth"}
MOST_LOGGED = 200  # letters of a path
OPEN_MIB = 64 / 1024  # that a body has there at most, since anyone may send it
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-resource-policy": "same-origin"}


class AdmissionMiddleware:
    """Lets a request through to the app, or answers it."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._names = frozenset(name.lower() for name in settings.names)  # a host comes lowered
        self._inside = 0  # requests between their first line and the end of their reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "path": canonical(scope["path"])}
        bare = scope["method"] == "HEAD"  # answered as GET, without the body
        sending = _Sending(scope, send, self._metrics, self._settings, bare=bare)
        scope["method"] = "GET" if bare else scope["method"]
        self._inside += 1
        try:
            await self._answered(scope, receive, sending)
        except asyncio.CancelledError:
            if not sending.begun:
                await reply(RequestRefused(503, "the service stops"))(scope, receive, sending)
            raise
        except Exception:
            if sending.begun:
                raise  # the server logs it and closes the connection, by which the client knows that something is missing
            logger.exception("%s failed", scope["path"])
            await JSONResponse(broken(), 500)(scope, receive, sending)
        finally:
            self._inside -= 1
            sending.count()  # where the client left before the end

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._most(scope["path"])
        try:
            self._admit(scope, most)
            if _is_preflight(scope):
                await Response(status_code=204, headers=preflight(Headers(scope=scope)))(scope, receive, send)
                return
            body: bytes | None = await self._body(receive, most)
        except (RequestRefused, TooBusy) as refused:
            await reply(refused)(scope, receive, send)
            return
        if body is None:
            return  # the client went away before its body had come

        async def replayed() -> Message:
            nonlocal body
            if body is None:
                return await receive()  # that the client has gone
            read, body = body, None
            return {"type": "http.request", "body": read, "more_body": False}

        await self._app(scope, replayed, send)

    def _most(self, path: str) -> float:
        """MiB that a body may have."""
        most = self._settings.limits.body_mib
        return min(most, OPEN_MIB) if _open(path) else most

    def _admit(self, scope: Scope, most: float) -> None:
        if self._inside > self._settings.load.connections:
            raise TooBusy(f"{self._inside} requests are open", hint=f"Try again in {RETRY_AFTER_S} s.")
        headers = Headers(scope=scope)
        if scope["path"] not in PROBES:
            self._check_place(headers)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestRefused(415, f"the body is packed ({headers['content-encoding'][:20]})", hint="Send it unpacked.")
        is_free = _open(scope["path"]) or _is_preflight(scope)  # a browser sends no token before it knows that it may
        if self._settings.token is not None and not is_free and not same(self._settings.token, token_in(headers)):
            raise RequestRefused(401, "the bearer token is missing or wrong", hint="Send the header Authorization: Bearer TOKEN.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most * MIB:
            raise _too_large(most)

    def _check_place(self, headers: Headers) -> None:
        """Refuses other names than its own, and pages of other hosts; a proxy may send its own name for the service as host."""
        host = hostname(headers.get("host", ""))
        if (self._names or self._settings.token is None) and host not in LOOPBACK | self._names:
            # A page elsewhere whose name is made to point here could otherwise read what is served to this machine alone.
            raise RequestRefused(403, f"this service does not answer to the name {host[:80]!r}", hint="Start it with --name NAME.")
        origin = headers.get("origin")
        known = self._names | {host}
        if origin is not None and hostname(origin.partition("://")[2]) not in known and not is_allowed(origin, self._settings.origins):
            hint = "Start it with --name NAME of that host, or with --allow-origin ORIGIN."
            raise RequestRefused(403, "requests from pages of other hosts are not answered", hint=hint)

    async def _body(self, receive: Receive, most: float) -> bytes | None:
        """The whole body; None where the client went away before its end.

        Raises:
            RequestRefused: it is too large, or comes too slowly.
        """
        body = bytearray()
        seconds = self._settings.limits.body_seconds
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), end - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                raise RequestRefused(408, f"the body did not arrive within {seconds:g} s") from None
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > most * MIB:
                raise _too_large(most)
            if not message.get("more_body", False):
                return bytes(body)


class _Sending:
    """Sends the messages of one reply with safe headers; counts and logs it at its end."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics, settings: Settings, *, bare: bool) -> None:
        self._scope, self._send, self._metrics, self._log, self._bare = scope, send, metrics, settings.access_log, bare
        self._method = scope["method"]
        origin = Headers(scope=scope).get("origin")
        self._cors = headers_for(origin, settings.origins) if origin is not None else {}
        self._start = time.perf_counter()
        self._status = self._bytes = 0  # until it begins, and the status once it is counted
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self._status = True, message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in {**SAFE, **self._cors}.items():
                headers.setdefault(name, value)
        else:
            self._bytes += 0 if self._bare else len(message.get("body", b""))
            if not message.get("more_body", False):
                self.count()  # before the client has its last byte, and could ask
        await self._send({**message, "body": b""} if self._bare and message["type"] == "http.response.body" else message)

    def count(self) -> None:
        """Counts the reply, and logs it where that was asked for, the first time it is called."""
        if self._status:
            seconds = time.perf_counter() - self._start
            route = getattr(self._scope.get("route"), "path", "none")  # a path as it came would make a series of every item
            self._metrics.request(route, self._status, seconds)
            if self._log is not None:
                self._log(self._line(seconds))
        self._status = 0

    def _line(self, seconds: float) -> str:
        """One line: when, who, what, and what came of it. No query string, which names items, and nothing of what was sent."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        client = (self._scope.get("client") or ("-",))[0]
        path = quote(self._scope["path"][:MOST_LOGGED], safe="/:")  # a path may hold line ends
        return f"{at} {client} {self._method} {path} {self._status} {self._bytes} B {seconds:.3f} s"


def hostname(host: str) -> str:
    """The name in a Host header, without the port.

    >>> hostname("[::1]:8080"), hostname("LocalHost:80")
    ('::1', 'localhost')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def token_in(headers: Headers) -> str:
    """The token that a request carries: as bearer token, or in the cookie that the page was given."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")  # SimpleCookie stops at the first that is malformed


def same(token: str, other: str) -> bool:
    """Whether they are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(token.encode(), other.encode("utf-8", "replace"))


def _is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if it may ask."""
    return scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope)


def _open(path: str) -> bool:
    return path in OPEN or path.startswith("/static/")


def _too_large(most: float) -> RequestRefused:
    return RequestRefused(413, f"a body has {most:g} MiB at most", hint="Send fewer or smaller pictures.")
