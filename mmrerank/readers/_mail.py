"""What a mail says: its subject, sender, addressee and date, its words, and the names of what is attached."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from mmrerank.readers._markup import html_blocks, plain_blocks
from mmrerank.readers._metadata import clean
from mmrerank.readers._parts_of_text import Block, Words


def mail(data: bytes) -> Words:
    """The text of a mail, as plain text where it has both, behind a block of its headers."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    headers = {name: _header(message, key) for name, key in (("subject", "Subject"), ("sender", "From"), ("to", "To"), ("date", "Date"))}
    blocks = [Block("\n".join(f"{name}: {value}" for name, value in headers.items() if value))] if any(headers.values()) else []
    blocks += _body(message)
    names = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    if names:
        blocks.append(Block(f"attachments, not read: {', '.join(names)}"))
    headers.pop("to")
    return Words(blocks=blocks, metadata={**headers, "title": headers["subject"], "attachments": ", ".join(names)})


def _header(message: EmailMessage, key: str) -> str:
    try:
        return " ".join(str(message.get(key) or "").split())
    except (ValueError, IndexError, AttributeError):  # what Python's parser of headers raises over broken ones
        return ""


def _body(message: EmailMessage) -> list[Block]:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return []
    try:
        text = clean(str(body.get_content()))
    except (LookupError, UnicodeError, KeyError):  # an encoding that does not exist
        text = clean((body.get_payload(decode=True) or b"").decode("utf-8", "replace"))  # type: ignore[union-attr]
    return html_blocks(text)[1] if body.get_content_subtype() == "html" else list(plain_blocks(text))
