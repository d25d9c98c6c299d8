"""The folder of an evaluation holds one evaluation, whole, and nothing of a user's is lost in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrerank.errors import InputError
from mmrerank.evaluation.out_folder import check_folder, replace_files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_an_earlier_evaluation_left_goes_and_what_is_the_user_s_stays(tmp_path: Path) -> None:
    """The run of a stage that an evaluation did not have once stayed beside its figures."""
    first = {
        "run.trec": "",
        "stage-1.trec": "",
        "val_recall.json": "",
        "result.json": '{"card": "a", "files": ["val_recall.json", "../x", 3]}',
    }
    replace_files(tmp_path, first)
    (tmp_path / "stage-notes.trec").write_text("mine")
    (tmp_path.parent / "x").write_text("outside")
    replace_files(tmp_path, {"run.trec": "new", "result.json": '{"card": "a"}'})
    assert names(tmp_path) == {"run.trec", "result.json", "stage-notes.trec"}
    assert (tmp_path / "run.trec").read_text() == "new"
    assert (tmp_path.parent / "x").read_text() == "outside"


def test_a_folder_without_a_list_of_files_is_cleared_of_the_names_that_are_always_ours(tmp_path: Path) -> None:
    for name in ("first_stage.trec", "stage-12.trec.json", "report.html", "result.json"):
        (tmp_path / name).write_text("{")  # a result that a kill cut short
    replace_files(tmp_path, {"result.json": "{}"})
    assert names(tmp_path) == {"result.json"}


def test_a_result_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"mine": 1}')
    for look in (check_folder, lambda folder: replace_files(folder, {"result.json": "{}"})):
        with pytest.raises(InputError, match="no result of an evaluation"):
            look(tmp_path)
    assert (tmp_path / "result.json").read_text() == '{"mine": 1}'


def test_a_place_that_is_no_folder_is_told_before_anything_is_searched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="no folder that can be written"):
            check_folder(place)
    check_folder(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
