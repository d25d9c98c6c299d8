"""Parts with weights of their own: what tells these from others, and what making a part would fetch."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from mmrerank.types import Download


@runtime_checkable
class Weighted(Protocol):
    """A part with weights of its own, and what tells them from others."""

    @property
    def weights_hash(self) -> str: ...


def weights_of(part: object) -> str:
    """The hash of the weights of an encoder or backend; "" where it has none of its own."""
    return str(part.weights_hash) if isinstance(part, Weighted) else ""


@runtime_checkable
class DownloadingFactory(Protocol):
    """What the module of a part declares that fetches weights."""

    def download(self, options: Any) -> Download | None:
        """What making the part with these options would fetch; None where all is on this machine. Reaches no network."""
        ...
