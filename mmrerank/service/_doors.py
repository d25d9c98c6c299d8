"""What a request passes before anything reads it: the host it names, its token, and how much and how slowly it may send.

The body is read here, as a whole, within its limits; after that the app hears no more than that the client has gone.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias

from starlette.datastructures import Headers, MutableHeaders

from mmrerank.readers._files import MIB
from mmrerank.service._failures import Refused, reply
from mmrerank.service._metrics import Metrics
from mmrerank.service.settings import LOOPBACK, Settings

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mmrerank_token"
OPEN = frozenset({"/", "/healthz", "/v1/session"})  # without a token: the page, which asks for one, and whether the service is up
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-resource-policy": "same-origin"}


class Doors:
    """Lets a request through to the app, or answers it."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._most = int(settings.limits.body_mib * MIB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        start = time.perf_counter()

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")  # a path as it came would make a series of every item
                self._metrics.request(route, message["status"], time.perf_counter() - start)
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._admit(scope)
            body: bytes | None = await self._body(receive)
        except Refused as refused:
            await reply(refused)(scope, receive, safe)
            return
        if body is None:
            return  # the client went away before its body had come

        async def replayed() -> Message:
            nonlocal body
            if body is None:
                return await receive()  # that the client has gone
            read, body = body, None
            return {"type": "http.request", "body": read, "more_body": False}

        await self._app(scope, replayed, safe)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = hostname(headers.get("host", ""))
        allowed = LOOPBACK | set(self._settings.names)
        if (self._settings.names or self._settings.token is None) and host not in allowed:
            # A page elsewhere whose name is made to point here could otherwise read what is served to this machine alone.
            raise Refused(403, f"this service does not answer to the name {host[:80]!r}", hint="Start it with --name NAME.")
        origin = headers.get("origin")
        if origin is not None and hostname(str(origin).partition("://")[2]) != host:
            raise Refused(403, "requests from pages of other hosts are not answered")
        if self._settings.token is not None and not _open(scope["path"]) and not same(self._settings.token, token_in(headers)):
            raise Refused(401, "the bearer token is missing or wrong", hint="Send the header Authorization: Bearer TOKEN.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None where the client went away before its end.

        Raises:
            Refused: it is too large, or comes too slowly.
        """
        body = bytearray()
        seconds = self._settings.limits.body_seconds
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), end - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                raise Refused(408, f"the body did not arrive within {seconds:g} s") from None
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> Refused:
        return Refused(413, f"a body has {self._settings.limits.body_mib:g} MiB at most", hint="Send fewer or smaller pictures.")


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
    try:
        held = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return held.value if held is not None else ""


def same(token: str, given: str) -> bool:
    """Whether they are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))


def _open(path: str) -> bool:
    return path in OPEN or path.startswith("/static/")
