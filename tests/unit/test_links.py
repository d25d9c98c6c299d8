"""Every relative link and picture in the repository's Markdown leads to a file that is there, or to a page that the documentation makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.pages.hook import made_pages

ROOT = Path(__file__).parents[2]
FOLDERS = ("mmrerank", "docs", "datasets", "indexes", "demos", "tools", "tests")
MADE = {ROOT / "docs" / page for page in made_pages()}
CODE = re.compile(r"^(```|~~~).*?^\1[ \t]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"|^\[[^\]^]+\]:[ \t]+(\S+)", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")  # a scheme or a host


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])


def targets(text: str) -> Iterator[str]:
    """Where the links and pictures of a page lead, code left out, without the places within a page."""
    for match in LINK.finditer(CODE.sub("", text)):
        target = next(filter(None, match.groups())).partition("#")[0]
        if target and not ELSEWHERE.match(target):
            yield target


def missing(path: Path) -> list[str]:
    """Links of the page that lead nowhere."""
    ends = {target: path.parent / target for target in targets(path.read_text(encoding="utf-8"))}
    return [target for target, end in ends.items() if not end.exists() and end.resolve() not in MADE]


def test_there_are_pages_and_links() -> None:
    paths = documents()
    assert ROOT / "README.md" in paths
    assert ROOT / "mmrerank" / "mini" / "mllm" / "CARD.md" in paths
    assert len([target for path in paths for target in targets(path.read_text(encoding="utf-8"))]) > 10


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(path: Path) -> None:
    assert missing(path) == []


def test_a_link_that_leads_nowhere_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "here.png").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "![a](here.png) [b](gone.png 'title') [c](https://example.org/x) [d](#place) [e](here.png#x)\n"
        '`[f](code.md)`\n```\n[g](code.md)\n```\n<img src="gone-too.png">\n\n[h]: gone-as-well.md\n'
    )
    assert missing(page) == ["gone.png", "gone-too.png", "gone-as-well.md"]
