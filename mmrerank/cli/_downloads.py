"""What a command is about to download, said before it starts; a person at a terminal is asked."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

import typer

from mmrerank.cli import _output
from mmrerank.errors import BackendError

if TYPE_CHECKING:
    from mmrerank.types import Download

REACH_S = 5.0

WITHOUT = "Without it: --encoder none (texts only), --encoder openclip/local-dir:PATH, or --encoder openclip/mini (a demonstration model)."

NO_ENCODER = (
    "a picture without text, and the collection has no picture encoder: index it again with --encoder "
    "openclip/ViT-B-32.laion2b_s34b_b79k@224 (a download), openclip/local-dir:PATH or openclip/mini (a demonstration model)"
)


def announce(names: Iterable[str], *, yes: bool) -> None:
    """Says what making these encoders downloads: what, from where, how much, and what to do without. Asks at a terminal.

    Args:
        yes: nobody is asked; nor where nobody sits at a terminal.

    Raises:
        typer.Exit: the answer is no; the exit code is 1.
        BackendError: where it comes from cannot be reached, which is found out in seconds: the hub's own client tries for minutes.
    """
    downloads = list(downloads_of(names))
    for download in downloads:
        size = "of unknown size" if download.mib is None else f"about {download.mib:.0f} MiB"
        _output.say(f"{download.name} is not on this machine yet: {size} from {download.source}, kept in {download.folder}.")
    if not downloads:
        return
    for download in downloads:
        if not is_reachable(download.source):
            raise BackendError(f"{download.name} cannot be fetched: {download.source} is out of reach", retryable=True, hint=WITHOUT)
    _output.say(WITHOUT)
    if not yes and at_a_terminal() and not typer.confirm("Download now?", default=True, err=True):
        raise typer.Exit(_output.INPUT)


def is_reachable(source: str) -> bool:
    """Whether the server of an address takes a connection; taken for granted where a proxy stands in between."""
    parts = urlsplit(source)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):  # as huggingface_hub reads it
        return False
    if parts.hostname is None or getproxies():
        return True
    reached = threading.Event()
    place = (parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))

    def reach() -> None:
        with suppress(OSError), socket.create_connection(place, timeout=REACH_S):
            reached.set()

    thread = threading.Thread(target=reach, daemon=True)  # looking up a name without a network has no limit of its own
    thread.start()
    thread.join(timeout=REACH_S)
    return reached.is_set()


def at_a_terminal() -> bool:
    """Whether somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def downloads_of(names: Iterable[str]) -> Iterator[Download]:
    """What is not on this machine of the encoders of these names; a name that cannot be made is complained of when it is."""
    from mmrerank.errors import MMRerankError
    from mmrerank.parts import module, options_of
    from mmrerank.protocols import DownloadingFactory

    for name in dict.fromkeys(names):
        try:
            factory = module(name, station="encoders")
            download = factory.download(options_of(name, factory.Options)) if isinstance(factory, DownloadingFactory) else None
        except MMRerankError:
            continue
        if download is not None:
            yield download
