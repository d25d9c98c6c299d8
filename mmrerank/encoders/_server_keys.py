"""The keys of embedding servers whose names stand in collections: said once for the process, each for its own server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from mmrerank.errors import InputError

_KEYS: dict[str, str] = {}  # by scheme, host and port


def use_server_keys(keys: Mapping[str, str]) -> None:
    """From now on embedding servers at these addresses are asked with these keys, and no others, where none is passed.

    A key goes to its own server alone, whatever server a collection names.

    Args:
        keys: by address, of which scheme, host and port count.

    Raises:
        InputError: an address is none, or has no key.

    >>> use_server_keys({"https://models.example/v1": "sk-1"})
    >>> key_of("https://models.example/v1"), key_of("https://elsewhere.example/v1")
    ('sk-1', '')
    >>> use_server_keys({})
    """
    origins = {_origin(address): key.strip() for address, key in keys.items()}
    for (origin, key), address in zip(origins.items(), keys, strict=False):
        if not origin or not key:
            raise InputError(
                "the key of an embedding server stands behind its address", hint=f"Expected https://HOST KEY; got {address!r}."
            )
    _KEYS.clear()
    _KEYS.update(origins)


def key_of(address: str) -> str:
    """The key of the server at that address; "" where none was said."""
    return _KEYS.get(_origin(address), "")


def _origin(address: str) -> str:
    parts = urlsplit(address.strip())
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme in ("http", "https") and parts.netloc else ""
