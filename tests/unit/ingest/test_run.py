"""Adding files to a collection: what is counted, what is kept, what goes on when something is broken."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from makers import ColourEncoder, picture, write_pictures, write_tar

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.ingest import changes
from mmrerank.ingest.changes import TICK_NS
from mmrerank.ingest.run import IngestReport


def make(tmp_path: Path, *encoders: ColourEncoder) -> Collection:
    return Collection.create(tmp_path / "collection", encoders=encoders)


def adds_up(report: IngestReport) -> bool:
    return report.found == report.expected == report.added + report.updated + report.unchanged + len(report.failed)


def settle(folder: Path) -> None:
    """Makes the files look old, so that their times can be trusted."""
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 60, time.time() - 60))
    time.sleep(2 * TICK_NS / 1e9)  # that they were touched is seen too


def ids(collection: Collection) -> set[str]:
    return {item.item_id for item in collection.items()}


def test_a_second_run_adds_nothing_and_encodes_nothing(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = make(tmp_path, colour)
    first = collection.add([photos])
    assert (first.added, first.found) == (9, 9)
    assert adds_up(first)
    encoded = colour.encoded
    second = collection.add([photos])
    assert (second.unchanged, second.added, second.updated) == (9, 0, 0)
    assert adds_up(second)
    assert colour.encoded == encoded


def test_an_unchanged_file_is_not_even_read_again(
    tmp_path: Path, photos: Path, colour: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make(tmp_path, colour)
    settle(photos)
    collection.add([photos])
    from mmrerank.readers.images import ImageReader

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(ImageReader, "read", refuse)
    assert collection.add([photos]).unchanged == 9


def test_a_changed_file_is_encoded_again_even_if_size_and_time_are_alike(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = make(tmp_path, colour)
    collection.add([photos])
    file = photos / "000.png"
    stat = file.stat()
    picture(77).save(tmp_path / "new.bmp")
    picture(77).save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as fast writers and archives leave it
    report = collection.add([photos])
    assert (report.updated, report.unchanged) == (1, 8)
    row = collection.version.space(takes=frozenset({"image"})).rows(["000.png"])[0]
    assert np.allclose(row, colour.encode([picture(77)])[0], atol=1e-6)


def test_moved_and_deleted_files_are_followed(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = make(tmp_path, colour)
    collection.add([photos])
    (photos / "000.png").rename(photos / "more" / "moved.png")
    (photos / "001.png").unlink()
    report = collection.add([photos])
    assert (report.added, report.removed, report.unchanged) == (1, 2, 7)
    assert adds_up(report)
    assert "more/moved.png" in ids(collection)
    assert not {"000.png", "001.png"} & ids(collection)


def test_indexing_a_part_removes_nothing_outside_it(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = make(tmp_path, colour)
    collection.add([photos])
    (photos / "000.png").unlink()
    assert collection.add([photos / "more"]).removed == 0
    assert collection.add([photos / "001.png"]).removed == 0
    assert "000.png" in ids(collection)


def test_a_file_whose_name_begins_like_another_is_not_its_scope(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    write_pictures(photos / "more.png.d", range(20, 21))
    collection = make(tmp_path, colour)
    collection.add([photos])
    assert collection.add([photos / "more"]).removed == 0


def test_broken_files_are_quarantined_with_their_reason_and_the_rest_goes_on(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    (photos / "empty.png").touch()
    whole = (photos / "000.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("<html>not a picture</html>")
    (photos / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    collection = make(tmp_path, colour)
    report = collection.add([photos])
    assert (report.added, len(report.failed)) == (9, 4)
    assert adds_up(report)
    assert {failure.path for failure in report.failed} == {"empty.png", "cut.png", "text.jpg", "broken.pdf"}
    assert all(failure.reason for failure in report.failed)
    settle(photos)
    again = collection.add([photos])
    again = collection.add([photos])
    assert {f.path: f.reason for f in again.failed} == {f.path: f.reason for f in report.failed}
    assert adds_up(again)


def test_a_mended_file_leaves_the_quarantine_and_a_broken_one_enters_it(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    (photos / "empty.png").touch()
    collection = make(tmp_path, colour)
    collection.add([photos])
    picture(50).save(photos / "empty.png")
    (photos / "000.png").write_bytes(b"now broken")
    report = collection.add([photos])
    assert (report.added, [failure.path for failure in report.failed]) == (1, ["000.png"])
    assert "000.png" not in ids(collection)
    assert "empty.png" in ids(collection)


def test_members_of_an_archive_come_and_go_one_by_one(tmp_path: Path, colour: ColourEncoder) -> None:
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "a.tar", range(5))
    collection = make(tmp_path, colour)
    assert collection.add([tmp_path / "shards"]).added == 5
    assert collection.item("a.tar::003").text == "picture number 3"
    write_tar(tmp_path / "shards" / "a.tar", range(3, 7))
    report = collection.add([tmp_path / "shards"])
    assert (report.added, report.unchanged, report.removed) == (2, 2, 3)
    assert adds_up(report)


def test_a_second_encoder_is_added_beside_the_first(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = make(tmp_path, colour)
    collection.add([photos])

    class Grey(ColourEncoder):
        name = "grey"

    first_count, grey = colour.encoded, Grey()
    report = collection.add([photos], encoders=[grey])
    assert report.updated == 9
    assert (colour.encoded, grey.encoded) == (first_count, 9)
    assert collection.add([photos]).unchanged == 9
    for name in ("colour", "grey"):
        assert collection.version.space(takes=frozenset({"image"}), encoder=name).rows(["000.png"]).shape == (1, 48)


def test_what_was_encoded_before_an_error_is_kept(tmp_path: Path, photos: Path) -> None:
    class Breaks(ColourEncoder):
        batch_size = 4

        def encode(self, values: list, *, normalise: bool = True):  # type: ignore[no-untyped-def, type-arg]
            if self.encoded >= 4:
                raise RuntimeError("out of memory")
            return super().encode(values, normalise=normalise)

    collection = make(tmp_path, Breaks())
    with pytest.raises(RuntimeError, match="out of memory"):
        collection.add([photos])
    again = Collection.open(tmp_path / "collection")
    again._encoders.use(again.manifest.encoders[0], ColourEncoder())
    report = again.add([photos])
    assert (report.added, report.unchanged) == (5, 4)


def test_the_report_names_the_busiest_stage(tmp_path: Path, photos: Path) -> None:
    class Slow(ColourEncoder):
        def encode(self, values: list, *, normalise: bool = True):  # type: ignore[no-untyped-def, type-arg]
            time.sleep(0.3)
            return super().encode(values, normalise=normalise)

    report = make(tmp_path, Slow()).add([photos])
    assert report.bottleneck == "encode"
    assert 0 < report.stage_shares["encode"] <= 1


def test_progress_ends_at_the_number_expected(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    seen: list[tuple[int, int]] = []
    make(tmp_path, colour).add([photos], progress=lambda done, expected: seen.append((done, expected)))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_collection_without_encoder_holds_text_only(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("key,text\na,a red door\nb,a blue boat\n")
    collection = make(tmp_path)
    assert collection.add([tmp_path / "captions.csv"]).added == 2
    assert collection.search("boats").hits[0].item.item_id == "captions.csv::b"


def test_a_collection_is_never_made_over_other_files(photos: Path) -> None:
    with pytest.raises(InputError, match="not empty"):
        Collection.create(photos)
    assert (photos / "000.png").exists()


def test_many_single_files_are_looked_up_in_one_pass(
    tmp_path: Path, photos: Path, colour: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(photos.glob("*.png"))
    monkeypatch.setattr(changes, "FEW", len(files) - 2)
    collection = make(tmp_path, colour)
    assert collection.add(files[1:]).added == len(files) - 1
    asked: list[str] = []
    known = collection.table.known
    monkeypatch.setattr(collection.table, "known", lambda under="", is_wanted=None: asked.append(under) or known(under, is_wanted))
    report = collection.add(files)
    assert (report.added, report.unchanged, set(asked)) == (1, len(files) - 1, {""})
    files[0].unlink()
    assert collection.add([photos]).removed == 1


def test_pages_whose_numbers_change_with_their_neighbours_are_read_again(tmp_path: Path, colour: ColourEncoder) -> None:
    folder = tmp_path / "deck"
    folder.mkdir()
    for n in (1, 2):
        picture(n).save(folder / f"page_{n}.png")
    collection = make(tmp_path, colour)

    def pages() -> dict[str, tuple[str | None, int | None]]:
        settle(folder)
        report = collection.add([folder])
        assert adds_up(report)
        assert collection.add([folder]).unchanged == report.found
        return {item.item_id: (item.document_id, item.page_number) for item in collection.items()}

    assert pages() == {"page_1.png": ("deck", 1), "page_2.png": ("deck", 2)}
    picture(0).save(folder / "page_0.png")
    assert pages() == {"page_0.png": ("deck", 1), "page_1.png": ("deck", 2), "page_2.png": ("deck", 3)}
    (folder / "page_0.png").unlink()
    picture(0).save(folder / "annex_page_1.png")
    assert pages() == {"annex_page_1.png": ("deck/annex", 1), "page_1.png": ("deck/page", 1), "page_2.png": ("deck/page", 2)}
