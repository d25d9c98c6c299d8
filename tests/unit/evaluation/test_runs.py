"""Run files: what is written is read back, and evaluators that go by score read the same order."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrerank.errors import FormatError
from mmrerank.evaluation.runs import Run, falling, labels, read_run, write_run

IDS = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())


@given(st.dictionaries(IDS, st.lists(IDS, unique=True, min_size=1, max_size=9), min_size=1, max_size=4))
def test_a_run_is_read_back(tmp_path: Path, rankings: dict[str, list[str]]) -> None:
    run = Run(tag="t", rankings={query: tuple(ids) for query, ids in rankings.items()}, made_by={"depth": 3})
    back = read_run(write_run(tmp_path / "a.trec", run))
    assert (back.rankings, back.made_by) == (run.rankings, run.made_by)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=20))
def test_written_scores_fall_as_32_bit_numbers(scores: list[float | None]) -> None:
    written = np.array([float(f"{value:.9g}") for value in falling(scores)], dtype=np.float32)
    assert (np.diff(written) < 0).all()


def test_ties_of_another_system_without_ranks_are_read_as_trec_eval_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.trec").write_text("q Q0 a 0 1 t\nq Q0 b 0 1 t\nq Q0 c 0 2 t\n", encoding="utf-8")
    assert read_run(tmp_path / "a.trec").rankings["q"] == ("c", "b", "a")


def test_a_mark_in_front_of_the_file_is_no_part_of_the_first_query(tmp_path: Path) -> None:
    """A byte order mark once made a query of its own of the first line, and its hit was lost."""
    (tmp_path / "a.trec").write_bytes(b"\xef\xbb\xbfq Q0 a 1 2 t\nq Q0 b 2 1 t\n")
    assert read_run(tmp_path / "a.trec").rankings == {"q": ("a", "b")}


def test_ranks_go_before_scores_and_a_contradiction_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.trec").write_text("q Q0 a 2 9 t\nq Q0 b 1 1 t\n", encoding="utf-8")
    run = read_run(tmp_path / "a.trec")
    assert run.rankings["q"] == ("b", "a")
    assert "disagree" in run.notes[0]


@pytest.mark.parametrize("line", ["q Q0 a 1 1", "q Q0 a 1 one t", "q Q0 a 1 nan t", "q Q0 a 1 1 t\nq Q0 a 2 0 t"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.trec").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"a\.trec:[12]"):
        read_run(tmp_path / "a.trec")


def run_of(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("rank", ["1.0", "-", "0", "none", "inf", "1e0"])
def test_a_rank_is_no_reason_to_refuse_a_run(tmp_path: Path, rank: str) -> None:
    """trec_eval never reads it; 1.0 once was an error."""
    run = read_run(run_of(tmp_path / "a.trec", f"q Q0 low {rank} 1 t", f"q Q0 high {rank} 2 t"))
    assert run.rankings == {"q": ("high", "low")}
    assert run.notes == ("1 of 1 queries have no ranks that tell an order; theirs is that of the scores",)


def test_decimal_ranks_order_as_numbers(tmp_path: Path) -> None:
    lines = [f"q Q0 d{n} {n}.0 {-n} t" for n in range(1, 12)]
    run = read_run(run_of(tmp_path / "a.trec", *reversed(lines)))
    assert (run.rankings["q"][:3], run.notes) == (("d1", "d2", "d3"), ())


def test_the_order_is_a_choice_and_by_score_that_of_trec_eval(tmp_path: Path) -> None:
    path = run_of(tmp_path / "a.trec", "q Q0 a 1 1 t", "q Q0 b 2 3 t", "q Q0 c 3 3.00000001 t")
    assert read_run(path).rankings["q"] == ("a", "b", "c")
    by_score = read_run(path, "score")
    assert (by_score.rankings["q"], by_score.order, by_score.notes) == (("c", "b", "a"), "score", ())  # b and c tie in 32 bits


def test_a_packed_run_and_one_with_blanks_of_other_alphabets(tmp_path: Path) -> None:
    (tmp_path / "a.trec.gz").write_bytes(gzip.compress("q Q0 red\u3000door\u2028.jpg 1 2 t\r\nq Q0 b 2 1 t\r\n".encode()))
    assert read_run(tmp_path / "a.trec.gz").rankings == {"q": ("red\u3000door\u2028.jpg", "b")}


def test_runs_of_one_tag_have_labels_of_their_own() -> None:
    def run(file: str | None) -> Run:
        return Run(tag="t", rankings={}, file=None if file is None else Path(file))

    assert labels([run("x/a.trec"), run("y/a.trec"), run("b.trec")]) == ["t [x/a.trec]", "t [y/a.trec]", "t [b.trec]"]
    assert labels([run("a.trec"), run("a.trec")]) == ["t [a.trec] #1", "t [a.trec] #2"]
    assert labels([run(None), run(None), Run(tag="u", rankings={})]) == ["t [no file] #1", "t [no file] #2", "u"]
    assert labels([run("a.trec")]) == ["t"]
