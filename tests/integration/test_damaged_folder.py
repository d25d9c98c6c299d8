"""A folder of 60 pictures with 20 damaged files among them: all are counted, each damaged one is named with its reason, and the
collection follows what changes afterwards. Real photographs where the evaluation data is beside the repository."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from conftest import REAL_DATA
from makers import picture
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

SOUND = 60
READ_FROM_SHARDS = 2 + 1  # the sound members of one damaged shard, and the one before the break of another


def encoded(image: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def sound_pictures() -> list[bytes]:
    """JPEG files: photographs of both sets by turns, or drawn ones."""
    sets = [sorted((REAL_DATA / name / "dev" / "images").glob("*.jpg")) for name in ("instance_photos", "composed_objects")]
    files = [file for some in sets for file in some[:: max(1, 2 * len(some) // SOUND)][: SOUND // 2]]
    return [file.read_bytes() for file in files] or [encoded(picture(n, (320, 240)), "JPEG") for n in range(SOUND)]


def tar_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def pdf_of(pages: int, password: str | None = None) -> bytes:
    data = io.BytesIO()
    canvas = Canvas(data, encrypt=StandardEncryption(password) if password else None)
    for number in range(pages):
        canvas.drawString(72, 720, f"page {number}")
        canvas.showPage()
    canvas.save()
    return data.getvalue()


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


def bomb(png: bytes) -> bytes:
    """A PNG whose header, checksum included, claims 60,000 x 60,000 pixels."""
    claim = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + png[24:29]
    return png[:12] + claim + zlib.crc32(claim).to_bytes(4, "big") + png[33:]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def damaged_files(jpeg: bytes) -> dict[str, tuple[bytes, str]]:
    """File name -> its content, and a word of the reason to expect."""
    with Image.open(io.BytesIO(jpeg)) as image:
        of = {kind: encoded(image, kind) for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP")}
    rubbish = bytes(range(256)) * 8
    members = [("a.jpg", jpeg), ("b.jpg", cut(jpeg)), ("c.jpg", jpeg)]
    return {
        "cut.jpg": (cut(jpeg), "truncated"),
        "header_only.jpg": (jpeg[:20], "truncated"),
        "empty.jpg": (b"", "0 bytes"),
        "page.jpg": (b"<!doctype html><title>404</title>", "not a picture"),
        "mislabelled.jpg": (of["PNG"], "PNG"),
        "rubbish.jpeg": (rubbish, "not a picture"),
        "cut.png": (cut(of["PNG"]), "truncated"),
        "flipped.png": (flipped(of["PNG"]), "checksum"),
        "bomb.png": (bomb(of["PNG"]), "megapixels"),
        "cut.gif": (cut(of["GIF"]), "truncated"),
        "cut.webp": (cut(of["WEBP"]), "truncated"),
        "cut.tiff": (cut(of["TIFF"]), ""),
        "cut.bmp": (cut(of["BMP"]), "truncated"),
        "encrypted.pdf": (pdf_of(1, "secret"), "encrypted"),
        "cut.pdf": (cut(pdf_of(3), 0.2), ""),
        "empty.pdf": (b"", "0 bytes"),
        "rubbish.pdf": (rubbish, ""),
        "rubbish.tar": (rubbish, "not a tar"),
        "cut.tar": (tar_of([("a.jpg", jpeg), ("b.jpg", jpeg)])[: len(jpeg) + 1536], "truncated"),
        "broken_member.tar": (tar_of(members), "truncated"),
    }


@pytest.fixture(scope="module")
def sound() -> list[bytes]:
    return sound_pictures()


@pytest.fixture
def folder(tmp_path: Path, sound: list[bytes]) -> Path:
    place = tmp_path / "folder"
    for n, data in enumerate(sound):
        file = place / f"{n // 20}" / f"{n:02}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    for name, (data, _) in damaged_files(sound[0]).items():
        (place / name).write_bytes(data)
    return place


def index(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    return run(capsys, "index", folder, "--into", folder.parent / "c", "--encoder", "openclip/mini", *arguments)


def by_path(failures: list[dict[str, str]]) -> dict[str, str]:
    return {failure["path"]: failure["reason"] for failure in failures}


def found(capsys: pytest.CaptureFixture[str], folder: Path, image: Path) -> list[str]:
    """The ids of the ten items nearest to a picture."""
    _, result = run(capsys, "search", folder.parent / "c", "--image", image)
    return [hit["item_id"] for hit in result["hits"]]


def counts(result: dict[str, Any]) -> dict[str, int]:
    changes = {name: result[name] for name in ("added", "updated", "unchanged")}
    assert result["expected"] == result["found"] == sum(changes.values()) + len(result["failed"])
    return changes | {"removed": result["removed"], "failed": len(result["failed"])}


def test_every_damaged_file_is_named_with_its_reason(folder: Path, sound: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    code, result = index(capsys, folder)
    assert code == 1
    assert counts(result) == {"added": SOUND + READ_FROM_SHARDS, "updated": 0, "unchanged": 0, "removed": 0, "failed": 20}
    reasons = {path.split("::")[0]: reason for path, reason in by_path(result["failed"]).items()}
    expected = damaged_files(sound[0])
    assert reasons.keys() == expected.keys()
    assert {name: reason for name, reason in reasons.items() if not reason or expected[name][1] not in reason} == {}


def test_failures_can_be_allowed_and_a_second_run_adds_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, first = index(capsys, folder, "--max-failures", 0.5)
    assert code == 0
    for file in folder.rglob("*.*"):
        os.utime(file, (0, 0))  # another time, the same content: read again, then passed over
    for _ in range(2):
        code, again = index(capsys, folder, "--max-failures", 0.5)
        assert code == 0
        assert counts(again) == {"added": 0, "updated": 0, "unchanged": first["added"], "removed": 0, "failed": 20}
        assert by_path(again["failed"]) == by_path(first["failed"])


def test_changed_moved_deleted_and_mended_files_are_followed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index(capsys, folder)
    moved, gone = folder / "1" / "25.jpg", folder.parent / "gone.jpg"
    drawn = encoded(picture(7, (320, 240)), "JPEG")
    (folder / "0" / "03.jpg").write_bytes(drawn)
    (folder / "cut.jpg").write_bytes((folder / "0" / "05.jpg").read_bytes())
    (folder / "2" / "45.jpg").rename(gone)
    moved.rename(folder / "moved.jpg")
    _, result = index(capsys, folder)
    unchanged = SOUND + READ_FROM_SHARDS - 3
    assert counts(result) == {"added": 2, "updated": 1, "unchanged": unchanged, "removed": 2, "failed": 19}
    assert found(capsys, folder, folder / "0" / "03.jpg")[0] == "0/03.jpg"
    assert {"cut.jpg", "0/05.jpg"} == set(found(capsys, folder, folder / "0" / "05.jpg")[:2])
    assert found(capsys, folder, folder / "moved.jpg")[0] == "moved.jpg"
    _, everything = run(capsys, "search", folder.parent / "c", "--image", gone, "--k", 200)
    assert len(everything["hits"]) == SOUND + READ_FROM_SHARDS
    assert not {"2/45.jpg", "1/25.jpg"} & {hit["item_id"] for hit in everything["hits"]}
