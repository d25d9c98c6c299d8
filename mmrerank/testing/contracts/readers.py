"""What every reader keeps: as many items as it counts, with stable ids and hashes, and an error with the path where there are none."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmrerank.errors import FormatError
from mmrerank.testing.contracts._part import NamedOptionsContract, refused
from mmrerank.types import Failure, Item, ReadItem

PLAIN = (str, int, float, bool)


class ReaderContract(NamedOptionsContract):
    """Files -> items. Give a maker of a sound file for every suffix that the reader takes:

    class TestMine(ReaderContract):
        part = "my_package.my_module:part"
        samples = {".mine": write_a_sound_file}        # (path) -> None
    """

    station = "readers"
    samples: ClassVar[Mapping[str, Callable[[Path], None]]] = {}
    has_pictures = True  # whether a sample holds at least one picture
    shows_cuts = True  # whether a file of it shows that its end is missing, as a plain text does not

    def reader(self) -> Any:
        """A reader with the default options."""
        return self.module.build(self.module.Options())

    def suffixes(self) -> list[str]:
        """The suffixes that the tests go through."""
        return sorted(self.tiny().suffixes)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, gone afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def sample(self, folder: Path, suffix: str) -> Path:
        """A sound file of that suffix."""
        assert suffix in self.samples, f"no sample of {suffix}: add a maker of a sound file to `samples`"
        path = folder / f"sample{suffix}"
        self.samples[suffix](path)
        return path

    def entries(self, path: Path, item_id: str = "file") -> list[Any]:
        """What a new reader reads of a file."""
        return list(self.reader().read(path, item_id))

    # ------------------------------------------------------------------

    def test_the_reader_its_name_makes_is_called_the_same(self) -> None:
        reader = self.build(self.options())
        assert reader.name == self.tiny().name, f"{self.tiny().name!r} makes a reader called {reader.name!r}"

    def test_suffixes_are_lower_case_with_a_dot(self) -> None:
        suffixes = self.suffixes()
        assert suffixes, "a reader takes at least one suffix"
        wrong = [suffix for suffix in suffixes if suffix != suffix.lower() or not suffix.startswith(".")]
        assert not wrong, f"suffixes are lower case and begin with a dot: {wrong}"

    def test_a_file_that_is_none_is_a_format_error_with_its_path(self) -> None:
        for suffix in self.suffixes():
            for state in ("missing", "empty", "folder", "zeros"):
                with self.folder() as folder:
                    self._is_refused(_no_file(folder / f"x{suffix}", state), state)

    def _is_refused(self, path: Path, state: str) -> None:
        what, error = f"{path.suffix}, {state}", self._error(path)
        assert error is not None, f"{what}: expected FormatError, and nothing was raised"
        assert error.path == str(path), f"{what}: the error names {error.path}, and the file is {path}"
        assert 0 < len(error.reason) < 300, f"{what}: the reason has {len(error.reason)} letters"
        if state != "zeros":
            with refused(FormatError, what=f"count of {what}"):
                self.reader().count(path)

    def _error(self, path: Path) -> FormatError | None:
        """What reading the file raises."""
        try:
            self.entries(path, "x")
        except FormatError as error:
            return error
        return None

    def test_a_sound_file_gives_as_many_items_as_it_counts_and_the_same_each_time(self) -> None:
        for suffix in self.suffixes():
            with self.folder() as folder:
                path = self.sample(folder, suffix)
                entries, again = (self.entries(path, "folder/file") for _ in range(2))
                failures = [entry for entry in entries if isinstance(entry, Failure)]
                assert not failures, f"{suffix}: a sound file has failures: {failures}"
                count = self.reader().count(path)
                assert count == len(entries) > 0, f"{suffix}: counts {count} items and reads {len(entries)}"
                pairs = [[(entry.item.item_id, entry.content_hash) for entry in one] for one in (entries, again)]
                assert pairs[0] == pairs[1], f"{suffix}: ids or hashes differ the second time"
                ids = [item_id for item_id, _ in pairs[0]]
                assert len(set(ids)) == len(ids), f"{suffix}: an id comes twice: {ids}"
                assert all(item_id.startswith("folder/file") for item_id in ids), f"{suffix}: ids begin with the file's: {ids}"
                pictures = [entry for entry in entries if entry.item.image is not None]
                assert bool(pictures) or not self.has_pictures, f"{suffix}: no item has a picture"

    def test_items_are_plain_and_their_hash_is_blake2b_128(self) -> None:
        for suffix in self.suffixes():
            with self.folder() as folder:
                for entry in self.entries(self.sample(folder, suffix)):
                    _is_plain(entry.item, suffix)
                    digest = entry.content_hash
                    assert len(digest) == 32, f"{suffix}: a hash has 32 hexadecimal digits; got {digest!r}"
                    assert set(digest) <= set("0123456789abcdef"), f"{suffix}: a hash has 32 hexadecimal digits; got {digest!r}"

    def test_the_picture_of_a_handle_is_the_picture_read(self) -> None:
        for suffix in self.suffixes():
            with self.folder() as folder:
                path = self.sample(folder, suffix)
                entries, reader = self.entries(path), self.reader()
                for entry in reversed(entries):
                    self._is_the_same_picture(reader, path, entry.item)

    def _is_the_same_picture(self, reader: Any, path: Path, item: Item) -> None:
        handle = reader.handle(path, item.item_id[len("file") :])
        assert (handle is None) == (item.image is None), f"{item.item_id}: a handle is there if and only if the item has a picture"
        if handle is not None and item.image is not None:
            first, second = item.image.open(), handle.open()
            assert first.mode == second.mode == "RGB", f"{item.item_id}: pictures are RGB; got {first.mode} and {second.mode}"
            assert np.array_equal(np.asarray(first), np.asarray(second)), f"{item.item_id}: the handle opens another picture"

    def test_handles_of_a_file_that_is_gone_fail_when_they_are_opened(self) -> None:
        """Making the items of a result must not need the files; opening a picture does."""
        for suffix in self.suffixes():
            with self.folder() as folder:
                path = self.sample(folder, suffix)
                ids = [entry.item.item_id for entry in self.entries(path) if entry.item.image is not None]
                path.unlink()
                for item_id in ids[:1]:
                    handle = self.reader().handle(path, item_id[len("file") :])
                    with refused(FormatError, what=f"{suffix}: opening a picture of a file that is gone"):
                        handle.open()

    def test_reading_can_be_left_half_way(self) -> None:
        for suffix in self.suffixes():
            with self.folder() as folder:
                entries = self.reader().read(self.sample(folder, suffix), "file")
                assert isinstance(next(entries), ReadItem), f"{suffix}: the first entry of a sound file is no item"
                entries.close()

    def test_a_file_cut_short_never_passes_unnoticed(self) -> None:
        for suffix in self.suffixes() if self.shows_cuts else ():
            with self.folder() as folder:
                path = self.sample(folder, suffix)
                whole = len(self.entries(path))
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
                assert self._is_noticed(path, whole), f"{suffix}: three quarters of the file are gone, and nothing says so"

    def _is_noticed(self, path: Path, whole: int) -> bool:
        try:
            entries = self.entries(path)
            for entry in entries:
                if isinstance(entry, ReadItem) and entry.item.image is not None:
                    entry.item.image.open()
        except FormatError:
            return True
        return any(isinstance(entry, Failure) for entry in entries) or len(entries) < whole


def _no_file(path: Path, state: str) -> Path:
    """The path, with that at its place."""
    if state == "folder":
        path.mkdir()
    elif state != "missing":
        path.write_bytes(b"" if state == "empty" else bytes(700))
    return path


def _is_plain(item: Item, suffix: str) -> None:
    assert item.image is not None or (item.text or "").strip(), f"{suffix}: {item.item_id} has neither a picture nor a text"
    wrong = {key: value for key, value in item.metadata.items() if not isinstance(key, str) or not isinstance(value, PLAIN)}
    assert not wrong, f"{suffix}: metadata are strings, numbers and booleans under strings: {wrong}"
    assert json.loads(json.dumps(dict(item.metadata))) == dict(item.metadata), f"{suffix}: metadata do not survive JSON: {item.metadata}"
    assert (item.page_number is None) == (item.document_id is None), f"{suffix}: a page has a number and a document, or neither"
