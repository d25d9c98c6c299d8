"""What one row of a collection's table holds, and the Arrow schema it is written in.

The fixed fields come first; then one column a metadata field, so that filters are plain SQL over names a user knows;
then one fixed-size vector column an encoder, named `descriptor:SLUG`, and for an encoder of many vectors an item those as one
flat list of float16, named `tokens:SLUG`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from mmrerank.types import Array

State = Literal["ready", "failed"]
PREFIX = "descriptor:"
TOKENS = "tokens:"
OFFERED = ("item_id", "document_id", "page_number", "text", "file")  # fields of every item that are named to users
FIXED = pa.schema(
    [
        ("item_id", pa.string()),
        ("key", pa.int64()),  # what an index knows the item by: changes when its content changes
        ("document_id", pa.string()),
        ("page_number", pa.int32()),
        ("text", pa.string()),
        ("file", pa.string()),  # id of the file the item comes from: root prefix + path below the root
        ("fragment", pa.string()),  # what item_id has beyond `file`
        ("reader", pa.string()),
        ("content_hash", pa.string()),
        ("file_size", pa.int64()),
        ("file_mtime_ns", pa.int64()),
        ("file_items", pa.int64()),  # how many items the file was said to hold: tells whether all of them are here
        ("seen_ns", pa.int64()),  # when the file was looked at: a file changed within a tick of that is read again
        ("state", pa.string()),
        ("reason", pa.string()),  # why it failed
        ("encoders", pa.string()),  # slugs of the encoders that have seen it, comma-separated
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row: an item at rest, or a file that could not be read (state "failed", with the reason)."""

    item_id: str
    file: str
    fragment: str = ""
    reader: str
    content_hash: str
    file_size: int
    file_mtime_ns: int
    file_items: int
    seen_ns: int
    document_id: str | None = None
    page_number: int | None = None
    text: str | None = None
    state: State = "ready"
    reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    descriptors: Mapping[str, Array | None] = field(default_factory=dict)  # encoder slug -> (dimension,) row; None: nothing to encode
    tokens: Mapping[str, Array | None] = field(default_factory=dict)  # encoder slug -> (n_tokens, dimension), where it has many an item

    @property
    def key(self) -> int:
        """The number that indexes know it by; another one once its content changes."""
        return key_of(self.item_id, self.content_hash)


def key_of(item_id: str, content_hash: str) -> int:
    """A 63-bit key that any process computes alike, so parallel writers need no counter.

    A changed item gets a new key: an index cache then sees one key gone and one new.
    """
    digest = hashlib.blake2b(f"{item_id}\0{content_hash}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def slug_of(encoder_name: str) -> str:
    """The encoder's name as part of a column and folder name: readable, and unequal for unequal names.

    >>> slug_of("openclip/mini")
    'openclip_mini_dc84'
    """
    readable = re.sub(r"\W+", "_", encoder_name).strip("_")[-60:]
    return f"{readable}_{hashlib.blake2b(encoder_name.encode(), digest_size=2).hexdigest()}"
