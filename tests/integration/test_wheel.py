"""The built wheel holds one top-level package, its models, and nothing of the shipped data."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mmrerank"}
    assert "mmrerank/mini/clip/open_clip_model.safetensors" in names
    assert "mmrerank/py.typed" in names
    assert not [name for name in names if name.endswith((".parquet", ".pdf"))]
