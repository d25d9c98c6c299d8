"""The built wheel holds one top-level package, its models and prompts, and nothing of the shipped data or of what makes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


PACKAGE = ROOT / "mmrerank"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files in the wheel, built from a copy: what an earlier build left in the checkout would get in."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "build", "dist", "runs", "demo-out", "*.egg-info", "__pycache__", "tests", "shared")
    copy = shutil.copytree(ROOT, folder / "copy", ignore=leave)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(copy)
    return zipfile.ZipFile(next(folder.glob("*.whl"))).namelist()


def test_the_wheel_holds_the_package_and_nothing_else(names: list[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mmrerank"}
    assert "mmrerank/py.typed" in names
    assert not [name for name in names if name.endswith((".parquet", ".pdf", ".png"))]


def test_every_prompt_and_all_of_the_small_models_are_in_it(names: list[str]) -> None:
    prompts = sorted((PACKAGE / "prompting" / "prompts").glob("*.toml"))
    models = [path for path in (PACKAGE / "mini").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {"square.toml", "mm_r5.toml"} <= {path.name for path in prompts}
    assert {"open_clip_model.safetensors", "model.safetensors"} <= {path.name for path in models}
    assert {str(path.relative_to(ROOT)) for path in (*prompts, *models)} <= set(names)


def test_nothing_that_makes_what_ships_is_in_it(names: list[str]) -> None:
    makers = {path.name for path in (ROOT / "tools").iterdir() if path.is_dir()} - {"__pycache__"}
    assert {"mini_clip", "mini_mllm", "peptides"} <= makers
    assert not [name for name in names if {*makers, "tools"} & set(name.split("/"))]


def test_every_recipe_of_training_is_in_it(names: list[str]) -> None:
    recipes = sorted((PACKAGE / "training" / "recipes").glob("*.toml"))
    assert "query_likelihood.toml" in {path.name for path in recipes}
    assert {str(path.relative_to(ROOT)) for path in recipes} <= set(names)
