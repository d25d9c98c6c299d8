"""Revisited Oxford and Paris: the pickle is read and never run, and places become grades."""

from __future__ import annotations

import os
import pickle
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import picture

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders import _plain_pickle, revisited
from mmrerank.evaluation.loaders._plain_pickle import plain_pickle

OPTIONS = {"truth": "set/gnd.pkl", "pictures": "set/jpg"}


def truth(**change: Any) -> dict[str, Any]:
    entry = {"easy": [0], "hard": np.array([2, 1]), "junk": np.array([], dtype=np.int64), "bbx": [2.0, 3.0, 12.0, 23.4]}
    return {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": [{**entry, **change}]}


def write(tmp_path: Path, content: Any, protocol: int = 4) -> Path:
    (tmp_path / "set" / "jpg").mkdir(parents=True, exist_ok=True)
    (tmp_path / "set" / "gnd.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    return tmp_path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_values_come_out_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    values = {
        "list": ["a", (1, -2.5), None, True],
        "numbers": np.array([1, 2, 3], dtype=">i4"),
        "reals": np.array([0.5], dtype=np.float32),
        "one": np.int64(2**40),
        "none": np.array([]),
    }
    content = plain_pickle(write(tmp_path, values, protocol) / "set" / "gnd.pkl")
    assert content == {"list": ["a", [1, -2.5], None, True], "numbers": [1, 2, 3], "reals": [0.5], "one": 2**40, "none": []}


class Command:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


def test_a_pickle_that_names_a_function_does_not_run_it(tmp_path: Path) -> None:
    data = write(tmp_path, Command(tmp_path / "made"))
    with pytest.raises(FormatError, match=r"it asks for \w+\.mkdir"):
        plain_pickle(data / "set" / "gnd.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [np.array([[1, 2]]), np.array(["a"]), np.array([{}]), {1, 2}, Path("x"), b"bytes", 1j])
def test_anything_but_plain_values_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(FormatError, match="no pickle of plain values"):
        plain_pickle(write(tmp_path, value) / "set" / "gnd.pkl")


def test_lists_that_hold_themselves_or_each_other_ten_times_end(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    many: list[Any] = [0]
    for _ in range(12):
        many = [many] * 10
    for value in (endless, many):
        with pytest.raises(FormatError, match="no pickle of plain values"):
            plain_pickle(write(tmp_path, value) / "set" / "gnd.pkl")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04", b"\x80\x04]\x94(K", random.Random(0).randbytes(64)])
def test_a_broken_pickle_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gnd.pkl").write_bytes(content)
    with pytest.raises(FormatError):
        plain_pickle(tmp_path / "gnd.pkl")


def test_a_large_or_missing_pickle_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path, truth())
    monkeypatch.setattr(_plain_pickle, "MAX_BYTES", 10)
    with pytest.raises(FormatError, match="above the limit"):
        plain_pickle(data / "set" / "gnd.pkl")
    with pytest.raises(InputError, match=r"there is no other\.pkl"):
        plain_pickle(data / "other.pkl")


def test_places_become_grades_and_the_query_is_its_box(tmp_path: Path) -> None:
    data = write(tmp_path, truth())
    for n, name in enumerate("abcq"):
        picture(n).save(data / "set" / "jpg" / f"{name}.jpg")
    loaded = revisited.load(data, "test", OPTIONS)
    assert loaded.qrels == {"q": {"a.jpg": 2, "b.jpg": 1, "c.jpg": 1}}
    assert loaded.items == ("a.jpg", "b.jpg", "c.jpg")
    assert [source.name for source in loaded.sources] == ["a.jpg", "b.jpg", "c.jpg"]  # the query's picture is not searched
    assert loaded.queries[0].images[0].open().size == (10, 20)


def test_distractors_are_counted(tmp_path: Path) -> None:
    data = write(tmp_path, truth())
    (data / "set" / "jpg").rmdir()  # annotations alone
    with pytest.raises(InputError, match="there is no far"):
        revisited.load(data, "test", {**OPTIONS, "distractors": "far"})
    (data / "far").mkdir()
    picture(1).save(data / "far" / "x.jpg")
    with pytest.raises(InputError, match="holds 1 pictures; expected 2"):
        revisited.load(data, "test", {**OPTIONS, "distractors": "far", "distractor_count": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"easy": [3]}, "none of the 3 pictures"),
        ({"hard": ["a"]}, "none of the 3 pictures"),
        ({"bbx": [5, 5, 5, 9]}, "left, top, right, bottom"),
        ({"junk": None}, "lacks the list 'junk'"),
    ],
)
def test_a_wrong_judgement_is_an_error(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        revisited.load(write(tmp_path, truth(**change)), "test", OPTIONS)


def test_names_that_repeat_or_lead_out_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'a' stands twice"):
        revisited.load(write(tmp_path, truth() | {"imlist": ["a", "a", "c"]}), "test", OPTIONS)
    with pytest.raises(InputError, match="leads out"):
        revisited.load(write(tmp_path, truth() | {"qimlist": ["../q"]}), "test", OPTIONS)


def test_the_same_text_said_again_and_again_takes_no_memory(tmp_path: Path) -> None:
    letters = b"x" * 2**20
    text = b"X" + len(letters).to_bytes(4, "little") + letters + b"q\x000"  # a text of 1 MiB, remembered as number 0
    again = b"h\x01h\x00\x85R"  # its bytes once more, by six bytes of the file
    (tmp_path / "gnd.pkl").write_bytes(b"\x80\x02" + text + b"c_codecs\nencode\nq\x010](" + again * 500 + b"e.")
    tracemalloc.start()
    with pytest.raises(FormatError, match="again and again"):
        plain_pickle(tmp_path / "gnd.pkl")
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_an_error_that_quotes_a_long_key_is_cut(tmp_path: Path) -> None:
    (tmp_path / "long.pkl").write_bytes(b"c" + b"x" * 5000 + b"\ny\n.")  # a class of a module with a name of 5,000 letters
    with pytest.raises(FormatError) as refusal:
        plain_pickle(tmp_path / "long.pkl")
    assert len(refusal.value.reason) < 400
