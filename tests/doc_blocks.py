"""The blocks of code in README and guides: which are run, what they print, and which commands they show.

    <!-- run -->                           the next block is run, and the block of text behind it is what it prints
    <!-- run: tesseract -->                the same, where that program is installed
    <!-- first: mmrerank index ... -->     a command that makes what the page needs, and is not shown

Blocks of a page run in their order, in one folder and one Python session. `...` in an output stands for anything, on its own line
for any lines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs").glob("guides/*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (run|first)(?:: (.*?))? -->\n*\Z")
SETTING = re.compile(r"[A-Z]+=")
FIRST = re.compile(r"^<!-- first: (.*?) -->$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, whether it is run, and the output that stands behind it."""

    language: str
    text: str
    run: bool
    needs: str | None  # a program without which it is not run
    output: str | None


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, outputs left out: they belong to the block before."""
    fences = list(FENCE.finditer(page))
    marks = [MARK.search(page[: fence.start()]) for fence in fences]
    run = [mark is not None and mark[1] == "run" for mark in marks]
    outputs = [n > 0 and run[n - 1] and fence[1] == "text" and fence.start() == fences[n - 1].end() + 1 for n, fence in enumerate(fences)]
    outputs.append(False)
    return [
        Block(
            language=fence[1],
            text=fence[2],
            run=run[n],
            needs=mark[2] if run[n] and mark else None,
            output=fences[n + 1][2] if outputs[n + 1] else None,
        )
        for n, (fence, mark) in enumerate(zip(fences, marks, strict=True))
        if not outputs[n]
    ]


def preparations(page: str) -> list[str]:
    """The commands that a page wants run before it begins."""
    return FIRST.findall(page)


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each `mmrerank` command in a block for the shell, lines that end in a backslash joined, settings before it left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=False)
        words = list(dropwhile(lambda word: SETTING.match(word), words))
        if words[:1] == ["mmrerank"]:
            yield words[1:]


def agrees(printed: str, expected: str) -> bool:
    """Whether an output is as expected, where `...` stands for anything; blanks at the ends of lines do not count.

    >>> agrees("a\\nb\\nc 3 ms", "a\\n...\\nc ... ms"), agrees("a", "b")
    (True, False)
    """
    pieces = [re.escape(piece) for piece in tidy(expected).split("...")]
    return re.fullmatch(".*".join(pieces), tidy(printed), re.DOTALL) is not None


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
