"""Which files are indexed under which ids."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmrerank.errors import InputError
from mmrerank.ingest.files import file_id_of, list_files, path_of, readers, with_roots
from mmrerank.ingest.notes import passed_over


def ids(paths: list[Path], roots: tuple = ()) -> list[str]:  # type: ignore[type-arg]
    placed = with_roots(paths, roots)
    return [file.file_id for file in list_files(paths, placed, readers()).files]


def test_ids_are_paths_below_the_root(photos: Path) -> None:
    assert ids([photos])[:2] == ["000.png", "001.png"]
    assert "more/008.png" in ids([photos])


def test_ids_lead_back_to_the_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "000.png").write_bytes((photos / "000.png").read_bytes())
    roots = with_roots([photos, tmp_path / "other"], ())
    for file in list_files([photos, tmp_path / "other"], roots, readers()).files:
        assert path_of(file.file_id, roots) == file.path


def test_a_second_folder_with_the_same_names_gets_ids_of_its_own(photos: Path, tmp_path: Path) -> None:
    second = tmp_path / "deep" / "photos"
    second.mkdir(parents=True)
    (second / "000.png").write_bytes((photos / "001.png").read_bytes())
    found = ids([photos, second])
    assert "photos/000.png" in found
    assert len(found) == len(set(found)) == 10


def test_a_prefix_never_hides_a_folder_of_another_root(photos: Path, tmp_path: Path) -> None:
    second = tmp_path / "deep" / "more"  # the first root has a folder of that name
    second.mkdir(parents=True)
    (second / "008.png").write_bytes((photos / "001.png").read_bytes())
    assert {"more/008.png", "more-2/008.png"} <= set(ids([photos, second]))


def test_a_folder_below_a_known_root_keeps_that_roots_ids(photos: Path) -> None:
    roots = with_roots([photos], ())
    assert ids([photos / "more"], roots) == ["more/008.png"]
    assert with_roots([photos / "more"], roots) == roots


def test_a_single_file_has_its_folder_as_root(photos: Path) -> None:
    assert ids([photos / "003.png"]) == ["003.png"]
    assert file_id_of(photos / "003.png", with_roots([photos], ())) == "003.png"


def test_a_file_named_twice_is_listed_once(photos: Path) -> None:
    assert ids([photos, photos, photos / "000.png"]).count("000.png") == 1


def test_hidden_files_collections_and_tables_in_folders_are_passed_over(photos: Path) -> None:
    (photos / ".hidden").mkdir()
    (photos / ".hidden" / "x.png").write_bytes(b"x")
    (photos / "collection").mkdir()
    (photos / "collection" / "collection.toml").touch()
    (photos / "collection" / "x.png").write_bytes(b"x")
    (photos / "captions.csv").write_text("key,text\na,b\n")
    (photos / "notes.xyz").touch()
    listing = list_files([photos], with_roots([photos], ()), readers())
    assert len(listing.files) == 9
    assert listing.ignored == (str(photos / "captions.csv"), str(photos / "notes.xyz"))


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("00[12].PNG", {"001.png", "002.png"}),
        ("more", {"more/008.png"}),
        ("more/*.png", {"more/008.png"}),
        ("more/", {"more/008.png"}),
        ("other/*", set()),
    ],
)
def test_patterns_leave_out_files_and_folders_by_name_or_by_path(photos: Path, pattern: str, gone: set[str]) -> None:
    listing = list_files([photos], with_roots([photos], ()), readers(), exclude=[pattern])
    names = {file.file_id for file in listing.files}
    assert set(ids([photos])) - names == gone == {name for name in ids([photos]) if listing.is_excluded(name)}
    assert bool(gone) == ("they are excluded" in listing.passed_over.values())


def test_folders_that_systems_keep_for_themselves_are_passed_over_and_named(photos: Path) -> None:
    for name in ("@eaDir", "__MACOSX"):
        (photos / name).mkdir()
        (photos / name / "small.png").write_bytes((photos / "000.png").read_bytes())
    listing = list_files([photos], with_roots([photos], ()), readers())
    assert len(listing.files) == 9
    assert [line.split(":")[0] for line in passed_over(listing)] == ["2 folders passed over"]


def test_a_named_file_can_be_excluded_too(photos: Path) -> None:
    paths = [photos / "000.png", photos / "001.png"]
    listing = list_files(paths, with_roots(paths, ()), readers(), exclude=["001*"])
    assert [file.file_id for file in listing.files] == ["000.png"]


def test_links_to_folders_elsewhere_are_named_and_not_entered(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes((photos / "000.png").read_bytes())
    (photos / "more" / "away").symlink_to(tmp_path / "elsewhere")
    (photos / "within").symlink_to(photos / "more")  # what lies there is listed where it lies
    listing = list_files([photos], with_roots([photos], ()), readers())
    assert len(listing.files) == 9
    assert listing.linked == (str(photos / "more" / "away"),)


def test_a_table_is_read_when_it_is_named(photos: Path) -> None:
    (photos / "captions.csv").write_text("key,text\na,b\n")
    assert ids([photos / "captions.csv"]) == ["captions.csv"]


def test_a_link_counts_where_it_lies(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes((photos / "000.png").read_bytes())
    (photos / "link.png").symlink_to(tmp_path / "outside.png")
    assert "link.png" in ids([photos])


def test_a_path_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        with_roots([tmp_path / "nothing"], ())


def test_a_named_file_without_a_reader_says_which_suffixes_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").touch()
    with pytest.raises(InputError, match=r"\.pdf"):
        ids([tmp_path / "a.xyz"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_failure(photos: Path) -> None:
    (photos / "more").chmod(0)
    try:
        listing = list_files([photos], with_roots([photos], ()), readers())
        assert [failure.path for failure in listing.failures] == ["more/"]
    finally:
        (photos / "more").chmod(0o755)


def test_a_folder_that_may_not_be_looked_into_is_named_and_the_rest_goes_on(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by stand-ins for the system's calls, since root is refused nothing."""
    locked = str(photos / "more")

    def refusing(call: Callable[..., Any], inside: str) -> Callable[..., Any]:
        def asked(path: Any, *arguments: Any, **options: Any) -> Any:
            if f"{path}{inside}".startswith(f"{locked}/"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return asked

    for name, inside in (("stat", ""), ("lstat", ""), ("scandir", "/")):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), inside))
    listing = list_files([photos], with_roots([photos], ()), readers())
    assert [file.file_id for file in listing.files] == [f"00{n}.png" for n in range(8)]
    assert [(failure.path, failure.reason) for failure in listing.failures] == [("more/", "the folder cannot be listed: Permission denied")]
