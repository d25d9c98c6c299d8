"""Text files by whatever door: marks, packing, line ends, and writing whole or not at all."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import pytest

from mmrerank.errors import FormatError
from mmrerank.text_files import columns, numbered_lines, parse_json, parse_toml, read_text, write_text


@pytest.mark.parametrize(
    "content",
    [
        b"a\xc3\xa4",
        codecs.BOM_UTF8 + b"a\xc3\xa4",
        codecs.BOM_UTF8 * 2 + b"a\xc3\xa4",
        codecs.BOM_UTF16_LE + "aä".encode("utf-16-le"),
        codecs.BOM_UTF32_BE + "aä".encode("utf-32-be"),
        gzip.compress(codecs.BOM_UTF8 + b"a\xc3\xa4", mtime=0),
    ],
)
def test_marks_and_packing_are_no_part_of_the_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file") == "aä"


def test_only_line_ends_end_lines() -> None:
    text = "\ufeffone\u2028still\x85one\r\n\n  \n\ufefftwo\rstill\n"
    assert list(numbered_lines(text)) == [(1, "one\u2028still\x85one"), (4, "two\rstill")]
    assert list(numbered_lines("old\rmac")) == [(1, "old"), (2, "mac")]


def test_blanks_of_other_alphabets_belong_to_names() -> None:
    assert columns("q\u3000 0\td\xa01\x85 1\r") == ["q\u3000", "0", "d\xa01\x85", "1"]


def test_half_letters_become_a_letter_that_can_be_written() -> None:
    assert parse_json(r'{"a": "x\ud83d", "b": "\ud83d\ude00", "\udc00": "\\ud800"}', "x") == {
        "a": "x\ufffd",
        "b": "😀",
        "\ufffd": "\\ud800",
    }


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a", '"'])
def test_toml_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(FormatError, match="TOML"):
        parse_toml(text, "x.toml")


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    file = write_text(tmp_path / "a.txt", "before\n")
    file.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "x" * 100_000 + "\ud800")
    assert file.read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    (tmp_path / "link").symlink_to(file)
    write_text(tmp_path / "link", "after\n")
    assert (file.read_text(), (tmp_path / "link").is_symlink(), file.stat().st_mode & 0o777) == ("after\n", True, 0o640)
