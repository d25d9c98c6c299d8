"""The demo and every script in demos/ run on the shipped data, and the pictures they name are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmrerank.cli import main

SCRIPTS = sorted((Path(__file__).parents[2] / "demos").glob("*.py"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_the_demo_answers_draws_and_measures(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["sheets"]) >= 8
    for sheet in result["sheets"]:
        with Image.open(sheet) as picture:
            assert picture.width == 1080
            assert picture.height > 600, "a sheet of no hits"
    assert all(0 < value <= 1 for values in result["measures"].values() for value in values.values())


def test_there_are_scripts() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(script: Path, out: Path) -> None:
    takes_out = ["--out", str(out)] if "--out" in script.read_text(encoding="utf-8") else []
    done = subprocess.run([sys.executable, str(script), *takes_out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_judged_queries_are_written_alone_for_the_guide(tmp_path: Path) -> None:
    script, file = next(path for path in SCRIPTS if path.stem == "train_on_your_own_data"), tmp_path / "judgements.csv"
    subprocess.run([sys.executable, str(script), "--judgements", str(file), "--queries", "3"], check=True, cwd=tmp_path)
    rows = file.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "query,item_id"
    assert len(rows) == 4
    assert all("pictures.parquet::" in row for row in rows[1:])
    assert list(tmp_path.iterdir()) == [file]
