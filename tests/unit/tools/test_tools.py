"""What makes what ships stands beside the package: never imported by it, without circles, each maker a command."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKERS = (
    "annotations.make",
    "answers.make",
    "annotations.train",
    "claims.make",
    "emoji.make",
    "emoji.sample",
    "handbook.make",
    "mini_clip.train",
    "mini_clip.evaluate",
    "mini_mllm.card_data",
    "mini_mllm.train",
    "mini_mllm.evaluate",
    "peptides.make",
    "real_models.make",
    "screenshots",
    "unions.make",
)


def sources(folder: str) -> dict[str, Path]:
    """Dotted name -> file of every module below a folder of the repository."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports_of(path: Path) -> set[str]:
    """Dotted names of the modules, and of the names in them, that a file imports, anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def circles(modules: dict[str, set[str]]) -> set[str]:
    """The modules that reach themselves, each given with those that it imports."""
    reachable = {name: set(imports) for name, imports in modules.items()}
    for middle in modules:
        for imports in reachable.values():
            if middle in imports:
                imports |= reachable[middle]
    return {name for name, imports in reachable.items() if name in imports}


def test_the_package_never_imports_the_tools() -> None:
    assert {name for name, path in sources("mmrerank").items() if any(i.split(".")[0] == "tools" for i in imports_of(path))} == set()


def test_the_files_of_the_tools_import_one_way() -> None:
    files = sources("tools")
    modules = {
        name: {own for own in files for i in imports_of(path) if i == own or i.rpartition(".")[0] == own} for name, path in files.items()
    }
    assert sum(map(len, modules.values())) > 50
    assert circles(modules) == set()
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}


def test_the_tools_share_public_names_only() -> None:
    private = {
        (name, i) for name, path in sources("tools").items() for i in imports_of(path) if re.search(r"^(tools|mmrerank)\..*\._(?!_)", i)
    }
    assert private == set()


@pytest.mark.parametrize("maker", MAKERS)
def test_each_maker_says_how_it_is_called(maker: str) -> None:
    command = [sys.executable, "-m", f"tools.{maker}", "--help"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.startswith("usage: ")
    assert "--out" in process.stdout or "folder" in process.stdout


def test_every_tool_that_can_be_run_is_among_the_makers() -> None:
    runnable = {name for name, path in sources("tools").items() if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert runnable == {f"tools.{maker}" for maker in MAKERS}
