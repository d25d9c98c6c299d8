"""The pages that are made from the source: every part with its options, every command, every card, every public module."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import griffe
import pytest
from mkdocs.exceptions import PluginError
from pydantic import Field
from typer.main import get_command

from mmrerank import parts
from mmrerank.cli import app
from mmrerank.types import Query
from tools.pages import card_pages, command_page, hook, parts_page, room_pages
from tools.pages.source_comments import SourceComments, comments_by_line, one_by_one, with_fences

NAMES = [(station, name) for station in parts.STATIONS for name in parts.names(station)]


@pytest.fixture(scope="module")
def page() -> str:
    return parts_page.page()


def test_there_are_parts() -> None:
    assert len(NAMES) >= 28


@pytest.mark.parametrize(("station", "name"), NAMES, ids=[f"{station}-{name}" for station, name in NAMES])
def test_every_part_is_on_the_page_with_a_meaning_for_every_option(page: str, station: str, name: str) -> None:
    section = page.split(f"### `{name}` {{ #{station}-{name} }}")[1].split("\n#")[0]
    assert len(section.strip().splitlines()[0]) > 30, "a summary"
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", section, re.MULTILINE))
    fields = dataclasses.fields(parts.module(name, station=station).Options)
    assert list(rows) == [field.name for field in fields]
    for option, meaning in rows.items():
        assert meaning.replace("*speed*", "").strip(), f"{name}: write beside {option} in the source what it means"


def test_an_option_without_a_comment_has_no_meaning() -> None:
    @dataclasses.dataclass(frozen=True)
    class Options:
        strange: int = 3

    assert parts_page.remark(dataclasses.fields(Options)[0], {}) == ""
    assert parts_page.remark(dataclasses.fields(Options)[0], {"strange": "how strange"}) == "how strange"


def test_types_and_defaults_are_in_words() -> None:
    assert parts_page.kind(Literal["auto", "fp32"]) == "'auto' or 'fp32'"
    assert parts_page.kind(Annotated[float, Field(ge=0, le=1)]) == "float, at least 0, at most 1"
    assert parts_page.kind(float | Literal["adaptive"] | None) == "float or 'adaptive' or None"
    assert parts_page.kind(tuple[str, ...]) == "several str"
    assert parts_page.described_together("links, width: of a graph. lists: how many.", {"links", "width", "lists"}) == {
        "links": "of a graph",
        "width": "of a graph",
        "lists": "how many",
    }


def test_every_command_is_on_the_page_with_its_options() -> None:
    commands: Any = get_command(app)
    text = command_page.page()
    for name, verb in commands.commands.items():
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        for parameter in verb.params:
            flags = [flag for flag in parameter.opts if flag.startswith("-")]
            assert all(f"`{flag}`" in section for flag in flags), parameter.name


def test_every_card_and_recipe_has_a_section() -> None:
    benchmarks, recipes = card_pages.benchmarks(), card_pages.indexes()
    cards = [*card_pages.ROOT.glob("datasets/*.toml"), *card_pages.ROOT.glob("datasets/*/card.toml")]
    assert len(cards) >= 27
    assert all(f"`{card.relative_to(card_pages.ROOT)}`" in benchmarks for card in cards)
    assert all(f"## {recipe.stem}\n" in recipes for recipe in card_pages.ROOT.glob("indexes/*.toml"))


def test_every_public_module_is_on_a_page() -> None:
    pages = hook.made_pages()
    lines = {line for text in pages.values() for line in text.splitlines() if line.startswith("::: ")}
    files = [file for file in room_pages.PACKAGE.rglob("*.py") if file.relative_to(room_pages.PACKAGE).parts[0] not in room_pages.ELSEWHERE]
    names = [".".join(file.relative_to(room_pages.PACKAGE.parent).with_suffix("").parts) for file in files]
    public = {f"::: {name}" for name in names if not re.search(r"\._", name)}
    assert lines == public
    assert "::: mmrerank.rerankers.ragllava" in lines


def test_the_names_of_the_package_are_offered_with_their_places() -> None:
    assert ("Query", "mmrerank.types.Query", Query) in room_pages.public_names()
    assert "[`Query`][mmrerank.types.Query]" in room_pages.offered()


def test_links_of_a_model_card_hold_from_its_page() -> None:
    text = card_pages.model("mllm")
    assert "](../pictures/mini-mllm/curves.png)" in text
    assert "../../../" not in text


@pytest.mark.parametrize("name", ["contributing.md", "changes.md"])
def test_links_of_the_files_of_the_root_hold_from_their_pages(name: str) -> None:
    pages = hook.made_pages()
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", pages[name])
    files = [link for link in links if "://" not in link]
    assert files
    assert [link for link in files if link not in pages and not (hook.ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        "<img alt=x src=http://example.org/x.png>",
    ],
)
def test_a_page_that_loads_from_another_server_is_refused(html: str) -> None:
    with pytest.raises(PluginError, match="another server"):
        hook.on_post_page(html, page=SimpleNamespace(file=SimpleNamespace(src_uri="x.md")), config=None)


def test_a_page_that_only_links_elsewhere_is_none_of_these() -> None:
    html = '<a href="https://example.org">x</a><img src="x.png"><script src="assets/x.js"></script>'
    assert hook.on_post_page(html, page=None, config=None) == html


def test_examples_are_fenced_and_arguments_stand_alone() -> None:
    assert with_fences("Sums.\n\n>>> 1 + 1\n2\n\nSource: ours.") == "Sums.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nSource: ours."
    assert with_fences(">>> 1\n1") == "```pycon\n>>> 1\n1\n```"
    assert (
        one_by_one("Args:\n    a, b: of\n        both.\n    c: own.")
        == "Args:\n    a: of\n        both.\n    b: of\n        both.\n    c: own."
    )
    assert comments_by_line("a = 1\nb = '# no'  # yes\n") == {2: "yes"}


@pytest.mark.parametrize("docstring", ['    """A boat."""\n\n', ""])
def test_fields_are_listed_with_the_comments_beside_them(tmp_path: Path, docstring: str) -> None:
    (tmp_path / "boats.py").write_text(f"class Boat:\n{docstring}    length_m: float  # from bow to stern\n    name: str\n")
    extensions = griffe.load_extensions(SourceComments)
    module = griffe.load("boats", search_paths=[str(tmp_path)], extensions=extensions, docstring_parser=griffe.Parser.google)
    parsed = module["Boat"].docstring
    assert parsed is not None
    sections = {section.kind.value: section.value for section in parsed.parsed}
    assert sections.get("text") == ("A boat." if docstring else None)
    assert [(field.name, field.description) for field in sections["attributes"]] == [("length_m", "from bow to stern")]
