"""Somebody else's package holds its part to the shipped contract by two lines, under pytest and under unittest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PART = """
from dataclasses import dataclass

from mmrerank.ordering import best_first
from mmrerank.parts import printed
from mmrerank.types import Candidate, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    weight: float = 1.0


class Shortest:
    pointwise = True

    def __init__(self, options):
        self.name, self.options = printed("shortest", options), options

    def rerank(self, query, candidates):
        scores = [-self.options.weight * len(candidate.item.text or "") for candidate in candidates]
        order = best_first(scores)
        ranked = [Candidate(item=candidates[n].item, score=scores[n]) for n in order]
        return Ranking(query_id=query.query_id, candidates=tuple(ranked))


def build(options):
    return Shortest(options)


def tiny():
    return build(Options())
"""
TESTS = """
import my_rerankers.shortest
from mmrerank.testing import RerankerContract


class TestByItsPlace(RerankerContract):
    part = "my_rerankers.shortest:"


class TestByAnAttribute(RerankerContract):
    part = "my_rerankers:part"


class TestAsAModule(RerankerContract):
    part = my_rerankers.shortest


class TestNotThere(RerankerContract):
    part = "my_rerankers.longest:"


class TestBroken0(RerankerContract):
    part = "my_rerankers.broken0:"


class TestBroken1(RerankerContract):
    part = "my_rerankers.broken1:"


class TestBroken2(RerankerContract):
    part = "my_rerankers.broken2:"
"""
UNITTEST = """
import unittest

from mmrerank.testing import RerankerContract


class Mine(RerankerContract, unittest.TestCase):
    part = "my_rerankers.shortest:"
"""
BREAKS = [  # what stands in the part, what is written there instead, the test that fails, and what it says
    (
        "best_first(scores)",
        "best_first(scores)[:16]",
        "test_a_permutation_comes_back_and_the_input_stays",
        "each of 17 candidates comes back once; got 16",
    ),
    (
        "for candidate in candidates]",
        "* n for n, candidate in enumerate(candidates)]",
        "test_pointwise_scores_ignore_neighbours_and_their_order",
        "in other company",
    ),
    (
        'printed("shortest", options)',
        '"shortest"',
        "test_its_printed_name_parses_back",
        "the name 'shortest' leaves out or changes options: expected shortest(weight=1.0)",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of somebody else's with one sound part and three broken ones, and its tests."""
    folder = tmp_path_factory.mktemp("outside")
    package = folder / "my_rerankers"
    package.mkdir()
    (package / "__init__.py").write_text("from my_rerankers import shortest as part\n")
    (package / "shortest.py").write_text(PART)
    for number, (line, replacement, _, _) in enumerate(BREAKS):
        assert line in PART
        (package / f"broken{number}.py").write_text(PART.replace(line, replacement))
    (folder / "test_mine.py").write_text(TESTS)
    (folder / "by_unittest.py").write_text(UNITTEST)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "400"}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_under_pytest_the_sound_part_passes_and_broken_ones_are_told_why(folder: Path) -> None:
    result = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    assert result.returncode == 1, result.stdout
    summary = [line for line in result.stdout.splitlines() if line.startswith("FAILED ")]
    for sound in ("TestByItsPlace", "TestByAnAttribute", "TestAsAModule"):
        assert not [line for line in summary if f"::{sound}::" in line], result.stdout
    for number, (_, _, name, reason) in enumerate(BREAKS):
        (line,) = (line for line in summary if f"::TestBroken{number}::{name} " in line)
        assert reason in line
    missing = [line for line in summary if "::TestNotThere::" in line]
    assert len(missing) == 14
    assert all("my_rerankers.longest" in line for line in missing)
    assert " passed" in result.stdout


def test_under_unittest_the_sound_part_passes(folder: Path) -> None:
    result = run(folder, "unittest", "by_unittest")
    assert result.returncode == 0, result.stderr
    assert "Ran 14 tests" in result.stderr


def test_the_contracts_need_neither_pytest_nor_a_heavy_library() -> None:
    heavy = ("pytest", "PIL", "torch", "faiss", "lance", "open_clip", "transformers", "pyarrow", "pydantic", "httpx")
    code = (
        f"import sys\nsys.modules['pytest'] = None\nimport mmrerank.testing.contracts\nprint([n for n in {heavy!r} if sys.modules.get(n)])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
