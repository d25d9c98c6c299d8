"""The layout keeps its promises: imports one way, an instant package, one version, data without code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmrerank
from mmrerank.parts import names

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mmrerank"
LAYERS = (
    (
        "types",
        "protocols",
        "handles",
        "errors",
        "parts",
        "fusion",
        "ordering",
        "texts",
        "provenance",
        "text_files",
        "testing",
        "wire",
        "__init__",
    ),
    ("prompting", "readers", "encoders", "store", "index", "backends", "models", "measures"),
    ("retrievers", "rerankers", "answering"),
    None,  # everything else: where the stations meet
    ("evaluation", "training", "mini", "demo"),
    ("cli", "service", "integrations"),
)
STATION_LAYERS = (1, 2)


def layer_of(name: str) -> int:
    return next((n for n, members in enumerate(LAYERS) if members and name in members), 3)


def imports_of(path: Path) -> set[str]:
    """First name below `mmrerank` of everything the file imports from it, anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmrerank":
            parts = node.module.split(".")
            found |= {parts[1]} if parts[1:] else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mmrerank.")}
    return found


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_layers(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports_of(path) - {own}:
        lower = layer_of(name) < layer_of(own)
        beside = layer_of(name) == layer_of(own) and layer_of(own) not in STATION_LAYERS
        assert lower or beside, f"{path.name} (layer {layer_of(own)}) imports {name} (layer {layer_of(name)})"


def foreign_underscores(path: Path) -> list[str]:
    """Underscore files of other rooms that the file imports."""
    own = path.relative_to(ROOT).with_suffix("").parts[:2]
    modules = [
        (*node.module.split("."), alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmrerank"
        for alias in node.names
    ]
    return [".".join(m) for m in modules if m[:2] != own and any(part.startswith("_") and not part.startswith("__") for part in m)]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_imports_another_rooms_underscore(path: Path) -> None:
    assert foreign_underscores(path) == []


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def file_imports(files: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules it imports, of these files, anywhere in the file, under TYPE_CHECKING too."""
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    imported |= {whole} if whole in files else {node.module}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
        graph[name] = (imported & files.keys()) - {name}
    return graph


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """What is left when files that import none of the rest are taken away again and again; empty where there is no circle."""
    rest = {name: set(imported) for name, imported in graph.items()}
    while free := [name for name, imported in rest.items() if not imported & rest.keys()]:
        for name in free:
            del rest[name]
    return sorted(rest)


def test_no_circle_of_files() -> None:
    files = {module_name(path): path for folder in ("mmrerank", "tools") for path in (ROOT / folder).rglob("*.py")}
    assert circle_in(file_imports(files)) == []


def test_a_circle_would_be_seen() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_the_root_of_the_package_stays_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) < 19


def test_the_package_never_imports_what_makes_what_ships() -> None:
    for path in sources():
        assert not re.search(r"^\s*(import|from)\s+tools\b", path.read_text(encoding="utf-8"), re.M), path


def test_a_layer_violation_would_be_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from mmrerank.collection import Collection\n")
    assert imports_of(bad) == {"collection"}
    assert layer_of("collection") > layer_of("rerankers")


def test_rerankers_know_nothing_of_faiss_lance_or_the_web() -> None:
    for path in (PACKAGE / "rerankers").glob("*.py"):
        assert not re.search(r"^\s*(import|from)\s+(faiss|lance|fastapi|pyarrow)", path.read_text(), re.M), path.name


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("torch", "faiss", "lance", "open_clip", "transformers", "pyarrow", "pydantic", "PIL")
    code = f"import sys, mmrerank; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_and_changelog_agree() -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    declared = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert declared is not None
    assert mmrerank.__version__ == newest[1] == declared[1]


def test_public_names_are_there() -> None:
    assert all(hasattr(mmrerank, name) for name in mmrerank.__all__)
    with pytest.raises(AttributeError):
        _ = mmrerank.nothing_of_this_name


@pytest.mark.parametrize("folder", ["datasets", "indexes"])
def test_folders_of_data_hold_no_python(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not list((ROOT / folder).rglob("*.py"))


def test_no_file_has_the_name_of_a_library_it_imports() -> None:
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        top |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
        assert path.stem not in top - {"mmrerank"}, path


KNOW_METHODS = {"readers", "encoders", "index", "backends", "retrievers", "rerankers", "answering", "models", "mini", "demo"}
METHODS = {name for station in ("retrievers", "rerankers", "answering") for name in names(station)}


def literals(path: Path) -> list[str]:
    """The texts in a file's code; docstrings and comments only tell."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docstrings]


def methods_named(path: Path) -> list[str]:
    """The methods that a file knows: as a name, with options, or quoted in a sentence."""
    words = [word for text in literals(path) for word in (re.split(r"[(/]", text, maxsplit=1)[0], *re.findall(r"'([a-z_0-9]+)'", text))]
    return [word for word in words if word.replace("-", "_") in METHODS]


SHOWN = {
    "cli/evaluate.py": {"first"},  # of two sides, not the reranker
    "cli/info.py": {"first"},  # of the failures
    "evaluation/evaluate.py": {"first"},
    "ingest/notes.py": {"first"},
    "ordering.py": {"calibrated"},  # a scale of scores, not the reranker
    "service/schemas.py": {"composed", "superglobal", "extractive", "generative"},  # examples, and the answerers of a request
}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_general_code_knows_no_method_by_its_name(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    if place.parts[0].removesuffix(".py") in KNOW_METHODS or str(place) == "parts.py":  # where the defaults stand
        return
    assert set(methods_named(path)) <= SHOWN.get(place.as_posix(), set())


def test_a_method_known_by_its_name_would_be_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text('"""square"""\nx = make("square(depth=4)")\ny = f"use \'dense\' for {x}"\nz = "a square meal"\n')
    assert methods_named(bad) == ["square", "dense"]


def probes(path: Path) -> list[str]:
    """Calls that look for an attribute by a name in quotes, and signatures that are read."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    looked_for = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("getattr", "hasattr") and len(c.args) > 1]
    signatures = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "signature"]
    return [ast.unparse(call) for call in (*(c for c in looked_for if isinstance(c.args[1], ast.Constant)), *signatures)]


PROBED = {  # objects of other libraries, some of whose versions lack something; what a user hands over; and two signatures
    "backends/_checkpoint.py": 1,
    "backends/_forward.py": 1,
    "backends/_inputs.py": 1,
    "encoders/multivector.py": 1,
    "encoders/openclip.py": 1,
    "handles.py": 1,
    "index/_faiss_device.py": 2,
    "training/data.py": 1,  # the keys of a layout of data are what its function takes
    "integrations/llama_index_adapter.py": 1,
    "parts.py": 2,
    "pictures.py": 1,
    "readers/_files.py": 2,
    "service/_admission.py": 1,
    "service/_failures.py": 1,
    "service/_fetching.py": 1,
    "training/losses.py": 1,  # a loss says by its parameters which tensors it needs
}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_part_can_is_declared_and_not_probed(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] == "testing":  # contracts look at parts of anybody, whatever these declare
        return
    assert len(probes(path)) <= PROBED.get(path.relative_to(PACKAGE).as_posix(), 0), probes(path)
