"""Pages of other origins that may ask the service (CORS). None may unless it was named when the service was started.

Such a page sends the token itself, as bearer token: cookies do not go along, so that no page acts for whoever is logged in here.

Source: the Fetch standard, section "CORS protocol".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from mmrerank.errors import InputError

EVERY = "*"
EXPOSED = "Retry-After, X-MMRerank-Notes, X-MMRerank-Reranked"
PREFLIGHT_S = 600  # for which a browser need not ask again


def check_origins(origins: Sequence[str]) -> None:
    """Passes where each is an origin or `*`.

    Raises:
        InputError: one is something else, such as an address with a path.
    """
    for origin in origins:
        parts = urlsplit(origin)
        if origin != EVERY and (not parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin or "@" in parts.netloc):
            raise InputError(f"an origin is https://HOST, https://HOST:PORT or *; got {origin[:80]!r}")


def is_allowed(origin: str, origins: Sequence[str]) -> bool:
    """Whether pages of that origin may ask."""
    return EVERY in origins or origin.lower() in {one.lower() for one in origins}


def headers_for(origin: str, origins: Sequence[str]) -> dict[str, str]:
    """What a reply says to the browser of a page of that origin; nothing to others."""
    if not is_allowed(origin, origins):
        return {}
    allowed = EVERY if EVERY in origins else origin
    return {
        "access-control-allow-origin": allowed,
        "access-control-expose-headers": EXPOSED,
        "cross-origin-resource-policy": "cross-origin",
        "vary": "Origin",
    }


def preflight(headers: Mapping[str, str]) -> dict[str, str]:
    """What a browser is told that asks whether it may ask."""
    private = {"access-control-allow-private-network": "true"} if "access-control-request-private-network" in headers else {}
    return {
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "Authorization, Content-Type",
        "access-control-max-age": str(PREFLIGHT_S),
        **private,
    }
