"""HTML and Markdown -> blocks of text under their headings. Nothing that a page refers to is fetched, no script is run.

Python's own parser of HTML reads what browsers read, and knows neither entities from outside nor a network.
Cost: about 0.1 s a megabyte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from mmrerank.readers._parts_of_text import Block

_SILENT = frozenset(("script", "style", "template", "noscript", "svg", "head", "iframe", "object"))
_LISTS = frozenset(("ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "caption", "option"))
_SECTIONS = frozenset(("body", "main", "article", "section", "header", "footer", "nav", "aside", "address", "form", "details", "summary"))
_BLOCKS = _LISTS | _SECTIONS | frozenset(("p", "div", "br", "hr", "pre", "blockquote", "figure", "figcaption"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_MAX_DEPTH = 1000  # of silent elements within one another
_MARKDOWN_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")


class _Blocks(HTMLParser):
    """Collects the text of a page, a block an element that stands on lines of its own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title = ""
        self._text: list[str] = []
        self._headings: dict[int, str] = {}  # level -> heading
        self._heading = 0  # level of the heading that is open
        self._silent: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        elif tag in _SILENT and len(self._silent) < _MAX_DEPTH:
            self._silent.append(tag)
        elif tag == "body":  # a head that was never closed
            self._silent.clear()
        if tag in _HEADINGS:
            self._end_block()
            self._heading = int(tag[1])
        elif tag in _BLOCKS:
            self._end_block()
        elif tag in ("td", "th") and self._text:
            self._text.append(" | ")
        elif tag == "img" and not self._silent:
            self._text.append(next((f" {value} " for name, value in attributes if name == "alt" and value), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in _HEADINGS or tag in _BLOCKS:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._end_block()

    def _end_block(self) -> None:
        text = " ".join("".join(self._text).split()).strip(" |")
        self._text = []
        if self._heading and text:
            self._headings = {level: name for level, name in self._headings.items() if level < self._heading} | {self._heading: text}
        self._heading = 0
        if text:
            self.blocks.append(Block(text, " > ".join(self._headings.values())))


def html_blocks(text: str) -> tuple[str, list[Block]]:
    """Title and blocks of an HTML page.

    >>> html_blocks("<title>T</title><h1>One</h1><p>a &amp; b<script>x()</script>")
    ('T', [Block(text='One', section='One'), Block(text='a & b', section='One')])
    """
    parser = _Blocks()
    parser.feed(text)
    parser.close()
    return " ".join(parser.title.split())[:300], parser.blocks


def markdown_blocks(text: str) -> Iterator[Block]:
    """The paragraphs of a Markdown text as they are written, under their headings; what stands in fences is no heading.

    >>> [block.section for block in markdown_blocks("# A\\n\\nx\\n\\n## B\\n\\ny")]
    ['A', 'A', 'A > B', 'A > B']
    """
    headings: dict[int, str] = {}
    fence = ""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        match = None if fence else _MARKDOWN_HEADING.match(line)
        if (match or not line.strip()) and not fence and lines:
            yield Block("\n".join(lines), " > ".join(headings.values()))
            lines = []
        if match:
            level = len(match[1])
            headings = {n: name for n, name in headings.items() if n < level} | {level: match[2]}
            yield Block(match[2], " > ".join(headings.values()))
        elif line.strip() or fence:
            lines.append(line.rstrip())
    if lines:
        yield Block("\n".join(lines), " > ".join(headings.values()))


def plain_blocks(text: str) -> Iterator[Block]:
    """The paragraphs of a text: what stands between empty lines."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if paragraph.strip():
            yield Block(paragraph.strip("\n"))
