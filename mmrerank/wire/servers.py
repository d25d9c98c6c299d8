"""Where a served model is, as a part's name says it (`URL#MODEL`), and an HTTP client for it."""

from __future__ import annotations

from ipaddress import ip_address

import httpx

from mmrerank.errors import InputError


def address(server: str, *, form: str, endpoint: str = "") -> tuple[str, str]:
    """The base URL, without a slash at its end, and the model. A bare host gets /v1; a URL with a path is taken as it stands.

    Args:
        form: what is expected, for the message of an error.
        endpoint: what a URL may end in that people copy whole, such as "/chat/completions".

    Raises:
        InputError: it is no `URL#MODEL`, or holds what must not be printed.

    >>> address("http://localhost:8000#some/model", form=""), address("https://gate.example/openai/v1/#m", form="")
    (('http://localhost:8000/v1', 'some/model'), ('https://gate.example/openai/v1', 'm'))
    """
    url, _, model = server.partition("#")
    try:
        whole = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise InputError(f"{url!r} is no URL: {error}", hint=form) from error
    if whole.scheme not in ("http", "https") or not whole.host or not model.strip():
        raise InputError(f"{server!r} does not name a server and a model", hint=form)
    if whole.userinfo or whole.query:
        raise InputError("the URL of a server may hold no password and no query: it is printed", hint="Pass the key as api_key=...")
    base = str(whole).rstrip("/").removesuffix(endpoint)
    return (base if httpx.URL(base).path.strip("/") else f"{base}/v1"), model.strip()


def client_of(base: str, key: str, *, timeout_s: float, connections: int, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for one server; the key goes into the Authorization header and nowhere else, and redirects are not followed.

    Raises:
        InputError: the key cannot stand in a header.
    """
    if not key.isascii() or not key.isprintable():
        raise InputError("the server's key has letters that no header can hold", hint="Was more than the key copied?")
    return httpx.Client(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0), pool=None),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        trust_env=not _is_here(httpx.URL(base).host),  # a proxy has no business between this machine and itself
        transport=transport,
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
