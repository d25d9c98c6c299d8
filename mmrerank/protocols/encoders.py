"""Pictures and texts -> descriptors: one vector of each, or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmrerank.types import Array, EncodedPart, Modality

if TYPE_CHECKING:
    from PIL.Image import Image


class Encoder(Protocol):
    """Pictures and texts -> descriptors."""

    name: str
    dimension: int
    takes: frozenset[Modality]  # what it can encode
    reads: Modality  # what it encodes of an item

    def prepare(self, value: Image | str) -> Any:
        """The CPU work for one input (resize, normalise); safe in threads. `encode` accepts what it returns."""
        ...

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures, of texts, or of what `prepare` made of them; one modality a call.
        Unit rows, or with `normalise=False` as long as the model leaves them."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """An encoder with CPU work of its own for each input, as all have that ship; others encode what they are given."""

    def prepare(self, value: Image | str) -> Any: ...


@runtime_checkable
class Encodes(Protocol):
    """As much of an encoder as tells it from what is none."""

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array: ...


@runtime_checkable
class BatchedEncoder(Protocol):
    """An encoder that says how many values it takes at once."""

    batch_size: int


@runtime_checkable
class QueryEncoder(Protocol):
    """An encoder that tells what is asked from what is found."""

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) rows of what is asked."""
        ...


@runtime_checkable
class FusingEncoder(Protocol):
    """An encoder that makes one descriptor of pictures and texts together, in the order in which they stand."""

    reads_both: bool  # whether it encodes of an item its picture and its text together; else what `reads` says

    def prepare_fused(self, parts: Sequence[EncodedPart]) -> Any:
        """The CPU work for pictures and texts that are one value; safe in threads. `encode_fused` accepts what it returns."""
        ...

    def encode_fused(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) rows of what is searched; each value is pictures and texts, or what `prepare_fused` made of them."""
        ...

    def encode_fused_queries(
        self, values: Sequence[Sequence[EncodedPart]], *, instruction: str | None = None, normalise: bool = True
    ) -> Array:
        """(n, dimension) rows of what is asked.

        Args:
            instruction: what to look for, as a sentence; None: the encoder's own, "": none.
        """
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder of many vectors an item."""

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) unit rows of each value."""
        ...

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        """(n, dimension) rows by which items are proposed."""
        ...


@runtime_checkable
class QueryTokenEncoder(TokenEncoder, Protocol):
    """An encoder of many vectors an item that makes others of the same text where it is asked, such as with a prompt of its own."""

    def encode_query_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) unit rows of what is asked."""
        ...


@runtime_checkable
class PassageEncoder(TokenEncoder, QueryEncoder, Protocol):
    """An encoder of many vectors an item and one a query, which the best of the item's answers."""
