"""Prompts that list candidates, taken apart again, for fake models that know what is relevant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mmrerank.types import Candidate, Item, Prompt

LINE = re.compile(r"^\[(\w{1,2})\] (.*)$", re.MULTILINE)


def text_of(prompt: Prompt) -> str:
    return "\n".join(part for message in prompt for part in message.parts if isinstance(part, str))


def lines_of(prompt: Prompt) -> dict[str, str]:
    """Mark -> the text behind it."""
    return dict(LINE.findall(text_of(prompt)))


def numbered(numbers: Sequence[int]) -> list[Candidate]:
    """Candidates whose text is a number that only an oracle can read, of scores that fall."""
    return [Candidate(item=Item(item_id=f"{n}", text=f"worth {number}"), score=100.0 - n) for n, number in enumerate(numbers)]


def worth(text: str) -> int:
    return int(text.split()[1])


def by_worth(prompt: Prompt) -> list[str]:
    """The marks of a prompt, the candidate of the largest number first."""
    lines = lines_of(prompt)
    return sorted(lines, key=lambda mark: -worth(lines[mark]))


def oracle(form: str, joint: str = " > ") -> Callable[[Prompt], str]:
    """An answer that gives the true order; {} stands for it."""
    return lambda prompt: form.replace("{}", joint.join(f"[{mark}]" for mark in by_worth(prompt)))
