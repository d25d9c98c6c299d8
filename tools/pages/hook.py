"""mkdocs asks here for what is made from the source, and has each page looked at before it is written.

Named in `mkdocs.yml` under `hooks`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path

from tools.pages import card_pages, command_page, parts_page, room_pages  # noqa: E402

REFERENCE = ["reference/index.md", "reference/parts.md", "reference/commands.md", "reference/benchmarks.md", "reference/indexes.md"]
FOREIGN = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""")


MARK = re.compile(r"<!-- made: (\w+) -->")
MADE: dict[str, Callable[[], str]] = {
    "parts": parts_page.page,
    "commands": command_page.page,
    "benchmarks": card_pages.benchmarks,
    "indexes": card_pages.indexes,
    "names": room_pages.offered,
}


def on_config(config: Any) -> Any:
    """Adds the made pages to the navigation."""
    sections = {title: pages for entry in config.nav if isinstance(entry, dict) for title, pages in entry.items()}
    rooms = [{room: f"reference/rooms/{room}.md"} for room in room_pages.rooms()]
    sections["Reference"][:0] = [*REFERENCE, {"Modules": rooms}]
    sections["Results"] += ["models/mini-clip.md", "models/mini-mllm.md"]
    sections["House"] += ["contributing.md", "changes.md"]
    return config


def made_pages() -> dict[str, str]:
    """Path below docs/ -> Markdown of every page that no file below docs/ holds."""
    return {
        "models/mini-clip.md": card_pages.model("clip"),
        "models/mini-mllm.md": card_pages.model("mllm"),
        "contributing.md": page_of_the_root("CONTRIBUTING.md"),
        "changes.md": page_of_the_root("CHANGELOG.md"),
        **{f"reference/rooms/{room}.md": room_pages.page(room) for room in room_pages.rooms()},
    }


def page_of_the_root(name: str) -> str:
    """The text of a file beside docs/, with the links that hold from a page below it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](").replace("](CHANGELOG.md", "](changes.md")


def on_files(files: Files, config: Any) -> Files:
    """Adds the made pages."""
    for path, text in made_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Puts what is made from the source where a page says `<!-- made: NAME -->`."""
    return MARK.sub(lambda mark: MADE[mark[1]](), markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuses a page that would load anything from another server."""
    if foreign := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another server: {foreign[0]}")
    return output
