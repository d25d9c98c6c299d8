"""Paths as clients make them of a base URL, to the paths that are served.

Users write the base URL with a version or without, with a slash at its end or without; their clients append a version or none. So a
version is taken off where another follows, put before what has one here, and left out before what has none.
"""

from __future__ import annotations

import re

_SLASHES = re.compile(r"/{2,}")
_EARLIER_VERSIONS = re.compile(r"^(?:/v[12])+(?=/v[12]/)")
_PROBE = re.compile(r"^(?:/v[12])?/(healthz|health)(?:/(?:ready|live))?$")  # NIM and Triton tell two kinds apart
_WITHOUT_VERSION = re.compile(r"^/v[12]/(info|metrics|openapi\.json|infinity/.+|_inference/.+|api/v1/.+|compatible-api/v1/.+)$")
_NAMES = "search|ask|collections|session|grids|models|score|embeddings|ranking|retrieval|reranking|rerankings|reranks"
_WITH_VERSION = re.compile(rf"^(?:/v2)?/(?=(?:{_NAMES})(?:/|$))")


def canonical(path: str) -> str:
    """The path that is meant.

    >>> [canonical(path) for path in ("/v1/v2/rerank", "//rerank/", "/search", "/v1/health/ready", "/v1/info", "/v2/models")]
    ['/v2/rerank', '/rerank', '/v1/search', '/health', '/info', '/v1/models']
    """
    path = _SLASHES.sub("/", path)
    path = path.rstrip("/") or "/"
    path = _EARLIER_VERSIONS.sub("", path)
    path = _PROBE.sub(r"/\1", path)
    path = _WITHOUT_VERSION.sub(r"/\1", path)
    return _WITH_VERSION.sub("/v1/", path)
