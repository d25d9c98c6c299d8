"""The keys of embedding servers, from the environment of the command line."""

from __future__ import annotations

import os

VARIABLE = "MMRERANK_EMBEDDING_KEYS"  # a line each: the server's address, a blank, its key


def use() -> None:
    """Encoders of this process ask these servers with these keys."""
    from mmrerank.encoders import use_server_keys

    pairs = (line.strip().partition(" ") for line in os.environ[VARIABLE].splitlines() if line.strip())
    use_server_keys({address: key for address, _, key in pairs})
