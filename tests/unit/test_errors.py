"""The tree drawn at the head of errors.py is the tree that is there; exit codes go by type."""

from __future__ import annotations

import re

import pytest

from mmrerank import errors
from mmrerank.cli._output import exit_code


def classes() -> dict[str, type]:
    return {name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.MMRerankError)}


def test_the_drawn_tree_names_every_error_and_no_other() -> None:
    drawn = set(re.findall(r"^    [│├└─ ]*(\w+)", errors.__doc__ or "", re.M))
    assert drawn == set(classes())


def test_depth_in_the_drawing_is_depth_in_the_tree() -> None:
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"^    ([│├└─ ]*)(\w+)", line)
        if drawn:
            depth = len(drawn[1]) // 4
            assert len([base for base in classes()[drawn[2]].__mro__ if base in classes().values()]) == depth + 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), 1),
        (errors.ShapeError("x"), 1),
        (errors.ManifestError("x"), 1),
        (errors.FormatError("x", path="p"), 1),
        (errors.UnknownName("x"), 2),
        (errors.BackendError("x"), 3),
        (errors.DamagedData("x"), 4),
    ],
)
def test_exit_code_goes_by_type(error: errors.MMRerankError, code: int) -> None:
    assert exit_code(error) == code


def test_an_unknown_name_is_answered_with_the_real_ones_and_the_nearest() -> None:
    message = str(errors.UnknownName.among("retriever", "desne", ["dense", "lexical"]))
    assert "dense, lexical" in message
    assert "'dense'?" in message


def test_a_format_error_names_path_and_line() -> None:
    error = errors.FormatError("not JSON", path="a.jsonl", line=17)
    assert str(error) == "a.jsonl:17: not JSON"
    assert error.reason == "not JSON"


def test_a_missing_extra_is_an_import_error_with_the_install_line() -> None:
    with pytest.raises(ImportError, match=r"pip install 'mmrerank\[cpu\]'"):
        raise errors.MissingExtra.of("faiss-cpu", "cpu", "the index 'faiss_index'")
