"""Pictures and texts -> descriptors. One file per family; its name is the encoder's name. Here is what other rooms share of this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrerank.encoders._server_keys import use_server_keys as use_server_keys
from mmrerank.errors import InputError, ShapeError
from mmrerank.protocols import Encoder, FusingEncoder, Prepares, QueryEncoder
from mmrerank.texts import is_blank
from mmrerank.types import Array, EncodedPart, Item

if TYPE_CHECKING:
    from PIL.Image import Image


def reads_text(encoder: Encoder) -> bool:
    """Whether the descriptor of an item depends on its text."""
    return encoder.reads == "text" or reads_both(encoder)


def reads_both(encoder: Encoder) -> bool:
    """Whether the descriptor of an item is that of its picture and its text together."""
    return isinstance(encoder, FusingEncoder) and encoder.reads_both


def prepared_item(encoder: Encoder, item: Item, opened: Callable[[], Image] | None = None) -> Any:
    """What the encoder prepares of an item; None where the item has nothing that it reads.

    Args:
        opened: opens the item's picture in place of its handle, such as once for several encoders.
    """
    text = None if is_blank(item.text) else item.text
    picture = None if item.image is None else opened or item.image.open
    if isinstance(encoder, FusingEncoder) and encoder.reads_both:
        parts: list[EncodedPart] = [*([picture()] if picture else []), *([text] if text else [])]
        return encoder.prepare_fused(parts) if parts else None
    if encoder.reads == "text":
        return prepared(encoder, text) if text else None
    return prepared(encoder, picture()) if picture else None


def prepared(encoder: Encoder, value: EncodedPart) -> Any:
    """What the encoder prepares of a value; one of somebody else's that prepares nothing encodes the value itself."""
    return encoder.prepare(value) if isinstance(encoder, Prepares) else value


def rows_of(encoder: Encoder, inputs: Sequence[Any]) -> Array:
    """(n, dimension) unit rows of what `prepared_item` made of items."""
    if isinstance(encoder, FusingEncoder) and encoder.reads_both:
        return encoder.encode_fused(inputs)
    return encoder.encode(inputs)


def agreement(one: Encoder, other: Encoder, values: Sequence[EncodedPart | Sequence[EncodedPart]], *, queries: bool = False) -> Array:
    """(n,) cosines between what two encoders make of the same values: 1 where they agree, such as a checkpoint here and on a server.

    Args:
        values: pictures, texts, and tuples of both for encoders that fuse.
        queries: as what is asked, in place of what is found.

    Raises:
        ShapeError: their rows have different widths, so that they cannot agree.
        InputError: a value is a tuple, and one of them does not fuse.
    """
    if one.dimension != other.dimension:
        raise ShapeError(f"{one.name!r} gives {one.dimension} numbers, {other.name!r} {other.dimension}: these are not the same vectors")
    rows = [np.stack([_row(encoder, value, queries) for value in values]) for encoder in (one, other)] if values else [np.empty((0, 1))] * 2
    cosines: Array = np.einsum("nd,nd->n", rows[0].astype(np.float64), rows[1].astype(np.float64)).astype(np.float32)
    return cosines


def _row(encoder: Encoder, value: EncodedPart | Sequence[EncodedPart], queries: bool) -> Array:
    if isinstance(value, tuple | list):
        if not isinstance(encoder, FusingEncoder):
            raise InputError(f"{encoder.name!r} makes no one vector of {len(value)} parts")
        row: Array = (encoder.encode_fused_queries([value]) if queries else encoder.encode_fused([value]))[0]
        return row
    encode = encoder.encode_queries if queries and isinstance(encoder, QueryEncoder) else encoder.encode
    single: Array = encode([value])[0]
    return single
