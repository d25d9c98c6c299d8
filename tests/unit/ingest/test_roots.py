"""Folders of one collection beside, inside and above one another: what is indexed or removed below one leaves the others alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers import write_pictures

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.ingest import changes
from mmrerank.ingest.files import below, located, with_roots


@pytest.fixture
def first(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "first", range(3))
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "second", range(10, 14))
    return tmp_path / "second"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "collection")


def ids(collection: Collection) -> set[str]:
    return {item.item_id for item in collection.items()}


def counts(collection: Collection, *paths: Path) -> tuple[int, int, int]:
    report = collection.add(paths)
    return report.added, report.unchanged, report.removed


def refusing(asked: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def refuses(place: Any) -> Any:
        if Path(place).name == "inner":
            raise PermissionError(13, "Permission denied", str(place))
        return asked(place)

    return refuses


@pytest.mark.parametrize("few", [changes.FEW, 0])
def test_indexing_the_first_folder_again_leaves_the_other_folders(
    collection: Collection, first: Path, second: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FEW", few)
    assert counts(collection, first) == (3, 0, 0)
    assert counts(collection, second) == (4, 0, 0)
    (first / "000.png").unlink()
    assert counts(collection, first) == (0, 2, 1)
    assert counts(collection, second) == (0, 4, 0)
    assert len(collection) == 6


@pytest.mark.parametrize("few", [changes.FEW, 0])
def test_a_folder_that_is_away_loses_nothing_when_another_is_indexed(
    tmp_path: Path, collection: Collection, first: Path, second: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FEW", few)
    collection.add([first, second])
    second.rename(tmp_path / "away")
    assert counts(collection, first) == (0, 3, 0)
    assert len(collection) == 7


def test_removing_the_first_folder_leaves_the_other_folders(collection: Collection, first: Path, second: Path) -> None:
    collection.add([first, second])
    assert collection.remove(paths=[first]) == 3
    assert ids(collection) == {f"second/{n:03}.png" for n in range(10, 14)}


def test_a_folder_whose_id_begins_like_another_root_is_not_removed_with_it(tmp_path: Path, collection: Collection, first: Path) -> None:
    write_pictures(tmp_path / "first-more", range(5))
    collection.add([tmp_path / "first-more", first])
    assert collection.remove(paths=[first]) == 3
    assert len(collection) == 5


def test_one_file_and_later_its_folder_and_others(collection: Collection, first: Path, second: Path) -> None:
    assert counts(collection, first / "001.png") == (1, 0, 0)
    assert counts(collection, second) == (4, 0, 0)
    assert counts(collection, first) == (2, 1, 0)
    assert counts(collection, first / "001.png") == (0, 1, 0)
    assert collection.remove(paths=[first / "001.png"]) == 1
    assert len(collection) == 6


def test_a_folder_above_an_indexed_one_knows_what_lies_in_that(tmp_path: Path, collection: Collection, first: Path, second: Path) -> None:
    collection.add([second, first])
    assert counts(collection, tmp_path) == (0, 7, 0)
    write_pictures(tmp_path, range(30, 31))
    (first / "000.png").unlink()
    assert counts(collection, tmp_path) == (1, 6, 1)
    assert collection.remove(paths=[first]) == 2
    assert collection.remove(paths=[tmp_path]) == 5
    assert len(collection) == 0


def test_a_folder_inside_an_indexed_one_concerns_only_itself(collection: Collection, first: Path, second: Path) -> None:
    shutil.move(second, first / "inner")
    collection.add([first])
    (first / "000.png").unlink()
    (first / "inner" / "010.png").unlink()
    assert counts(collection, first / "inner") == (0, 3, 1)
    assert counts(collection, first) == (0, 5, 1)


def test_what_is_passed_over_in_a_folder_and_was_named_before_stays_until_it_is_gone(collection: Collection, first: Path) -> None:
    table, hidden = first / "captions.csv", first / ".hidden"
    table.write_text("key,text\na,a red door\n", encoding="utf-8")
    write_pictures(hidden, range(20, 22))
    collection.add([first, table, hidden])
    assert counts(collection, first) == (0, 3, 0)
    assert "captions.csv::a" in ids(collection)
    table.unlink()
    shutil.rmtree(hidden)
    assert counts(collection, first) == (0, 3, 3)


def test_nothing_is_said_to_be_gone_from_a_folder_that_cannot_be_listed(
    collection: Collection, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(second, first / "inner")
    collection.add([first / "inner", first])
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    report = collection.add([first])
    assert (report.unchanged, report.removed, len(report.failed)) == (3, 0, 1)
    assert len(collection) == 7


def test_a_path_outside_all_indexed_folders_is_refused(tmp_path: Path, collection: Collection, first: Path, second: Path) -> None:
    collection.add([first])
    for path in (second, tmp_path):
        with pytest.raises(InputError, match="below none"):
            collection.remove(paths=[path])


def test_a_folder_that_is_gone_can_still_be_removed_by_its_path(collection: Collection, first: Path, second: Path) -> None:
    shutil.move(second, first / "inner")
    write_pictures(first / "inner2", range(5))
    collection.add([first])
    shutil.rmtree(first / "inner")
    assert collection.remove(paths=[first / "inner"]) == 4
    assert len(collection) == 8


def test_a_new_folder_does_not_take_over_the_ids_of_a_disk_that_is_away(tmp_path: Path, collection: Collection, first: Path) -> None:
    write_pictures(first / "trip", range(40, 42))
    collection.add([first])
    first.rename(tmp_path / "away")
    write_pictures(tmp_path / "other" / "trip", range(50, 51))
    assert counts(collection, tmp_path / "other" / "trip") == (1, 0, 0)
    (tmp_path / "away").rename(first)
    assert counts(collection, first) == (0, 5, 0)
    assert {"trip/040.png", "trip-2/050.png"} <= ids(collection)


def test_place_decides_for_ids_whose_roots_lie_in_one_another(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "inner"
    inner.mkdir(parents=True)
    roots = with_roots([inner, tmp_path / "a"], ())
    inside, above = below([located(inner)], roots), below([located(tmp_path / "a")], roots)
    assert [inside(i) for i in ("x.png", "deep/x.png", "a/x.png")] == [True, True, False]
    assert [above(i) for i in ("x.png", "deep/x.png", "a/x.png")] == [True, True, True]
    assert below([inner / "x.png"], roots)("x.png")
    assert not below([inner / "x.png"], roots)("x.png.d/y.png")
