"""Whether a server goes on with an answer that was begun, or closes it and opens another: told by the tokens it counts.

A server that leaves the fields aside gives an answer to a prompt that nobody wrote, and nothing in its reply says so. Four small
requests tell: a beginning, the same twice as long, none, and the first without the fields.

Source: ours. Cost: four requests of one token, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmrerank.backends import _chat_wire as wire
from mmrerank.types import Message, Prompt

BEGINNING = "one two three four five six"
SLACK = 1  # tokens that may differ where a text is joined to another
ASK: Prompt = (Message(role="user", parts=("Count to nine.",)),)


def continues(count: Callable[[Mapping[str, Any]], int]) -> bool | None:
    """Whether answers begun are gone on with; None where the server's counts do not tell.

    Args:
        count: how many prompt tokens the server counts for a request with these fields.
    """
    once, twice = (count(wire.question(_begun(BEGINNING * times))) for times in (1, 2))
    length = twice - once
    if length <= SLACK:
        return None
    bare = count({"messages": wire.messages(_begun(BEGINNING))})
    if bare != once:
        return True  # the fields make a difference
    return once - count(wire.question(ASK)) <= length + SLACK  # some go on without them


def _begun(text: str) -> Prompt:
    return (*ASK, Message(role="assistant", parts=(text,)))
