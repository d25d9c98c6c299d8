"""Every example in a docstring is run, and every block of README and guides that is marked to be run; what is shown beside is read."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import FENCE, MARK, PAGES, ROOT, Block, agrees, blocks, command_lines, preparations
from typer.main import get_command

from mmrerank.cli import app, main
from mmrerank.parts import check_name

PACKAGE = ROOT / "mmrerank"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tools" / "pages").glob("*.py")])
WITH_EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text(encoding="utf-8")]
STATION_OF = {  # option of a command that takes the name of a part -> where that part lives
    "rerank": "rerankers",
    "with_": "rerankers",
    "retriever": "retrievers",
    "encoder": "encoders",
    "text_encoder": "encoders",
    "backend": "backends",
    "answerer": "answering",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_examples_are_found() -> None:
    assert PACKAGE / "parts.py" in WITH_EXAMPLES


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name_of)
def test_examples_hold(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


# ---------------------------------------------------------------------- blocks that are run


class Workspace:
    """A folder in which the blocks of one page run; a collection that another page has made already is copied from there."""

    def __init__(self, folder: Path, made: dict[str, tuple[Path, str]]) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self._made = made
        (folder / "datasets").symlink_to(ROOT / "datasets", target_is_directory=True)

    def run(self, block: Block) -> str:
        """What a block prints."""
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, "page", "exec"), self.names)
            return out.getvalue()
        return "".join(self.command(words) for words in command_lines(block.text))

    def command(self, words: list[str]) -> str:
        """What a command prints."""
        into = self.folder / words[words.index("--into") + 1] if words[0] == "index" else None
        key = " ".join(word for word in words if into is None or word != into.name)
        if into is not None and key in self._made and not into.exists():
            folder, output = self._made[key]
            shutil.copytree(folder, into)
            return output
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
            code = main(words)
        assert code == 0, errors.getvalue()
        if into is not None and key not in self._made:
            shutil.copytree(into, copy := self.folder.parent / f"made-{len(self._made)}")
            self._made[key] = (copy, out.getvalue())
        return out.getvalue()


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Path, str]]:
    """Index commands that were run, with the collections they made and what they printed."""
    return {}


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory, made: dict[str, tuple[Path, str]], monkeypatch: pytest.MonkeyPatch) -> Workspace:
    folder = tmp_path_factory.mktemp("page")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(ROOT / "demos"))
    monkeypatch.setenv("MMRERANK_CACHE", str(folder / "cache" / "answers"))
    monkeypatch.delenv("COLUMNS", raising=False)  # pages show what is printed where nobody says how wide a line is
    return Workspace(folder, made)


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- run" in page.read_text(encoding="utf-8")], ids=name_of)
def test_the_blocks_of_a_page_print_what_stands_behind_them(page: Path, workspace: Workspace) -> None:
    text = page.read_text(encoding="utf-8")
    for line in preparations(text):
        workspace.run(Block(language="sh", text=line, run=True, needs=None, output=None))
    for block in blocks(text):
        if block.run and (block.needs is None or shutil.which(block.needs)):
            printed = workspace.run(block)
            if block.output is not None:
                assert agrees(printed, block.output), f"{block.text}printed\n{printed}"


def test_every_mark_stands_before_a_block_and_every_other_output_is_seen() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        starts = {fence.start() for fence in FENCE.finditer(text)}
        before = [MARK.search(text[:start]) for start in starts]
        assert sum(mark is not None and mark[1] == "run" for mark in before) == len(re.findall("^<!-- run", text, re.MULTILINE)), page
    assert [block.text for block in blocks("<!-- run -->\n```sh\na\n```\n```text\nb\n```\n\n```text\nc\n```\n")] == ["a\n", "c\n"]


def test_another_output_would_be_seen(workspace: Workspace) -> None:
    block = blocks("<!-- run -->\n```python\nprint(1 + 1)\n```\n```text\n3\n```\n")[0]
    assert block.output is not None
    assert not agrees(workspace.run(block), block.output)


# ---------------------------------------------------------------------- blocks that are shown


def blocks_in(language: str) -> list[Any]:
    """The blocks of this language in all pages, each with the page it stands on."""
    pairs = [(page, block) for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if block.language == language]
    return [pytest.param(block, id=f"{name_of(page)}-{n}") for n, (page, block) in enumerate(pairs)]


@pytest.mark.parametrize("block", blocks_in("python"))
def test_python_is_python_and_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mmrerank":
            source = import_module(str(node.module)) if "integrations" not in str(node.module) else None
            assert source is None or all(hasattr(source, alias.name) for alias in node.names), block.text


@pytest.mark.parametrize("block", blocks_in("sh"))
def test_commands_and_the_names_in_them_are_those_of_the_program(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "demos"))
    group: Any = get_command(app)
    for verb, *words in command_lines(block.text):
        context = group.commands[verb].make_context(verb, words, resilient_parsing=False)
        for option, station in STATION_OF.items():
            values = context.params.get(option)
            for name in [values] if isinstance(values, str) else values or []:
                if name != "none":
                    check_name(name, station=station)


def test_a_wrong_option_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks("```sh\nmmrerank search c --nothing x\n```\n")[0]
    with pytest.raises(Exception, match="No such option"):
        test_commands_and_the_names_in_them_are_those_of_the_program(block, monkeypatch)
    with pytest.raises(Exception, match="depht"):
        check_name("square(depht=3)", station="rerankers")
