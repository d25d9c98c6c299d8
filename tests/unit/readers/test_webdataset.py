import gzip
import io
import json
import tarfile
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import make
from mmrerank.readers._tar import _pax_records
from mmrerank.types import Failure, ReadItem


def tar_of(members, format=tarfile.PAX_FORMAT) -> bytes:
    """An archive of (name, bytes) pairs and ready TarInfo objects."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture(scope="session")
def png(picture, encoded) -> bytes:
    return encoded(picture, "PNG")


@pytest.fixture(scope="session")
def jpg(picture, encoded) -> bytes:
    return encoded(picture, "JPEG")


@pytest.fixture(params=["a.tar", "a.tar.gz", "a.tgz"])
def shard(request, written):
    """shard(members): the path of an archive with them, plain or compressed."""

    def write(members, **options):
        data = tar_of(members, **options)
        return written(request.param, data if request.param == "a.tar" else gzip.compress(data, mtime=0))

    return write


def test_members_that_share_a_key_are_one_item(shard, jpg, png, picture, sorted_out):
    members = [
        ("train/0001.jpg", jpg),
        ("train/0001.txt", b" a red boat\n"),
        ("train/0001.json", json.dumps({"year": 1999, "tags": ["a", "b"], "url": None, "caption": "unused"}).encode()),
        ("train/0001.cls", b"7"),
        ("train/0002.seg.png", png),
        ("train/0002.json", b'{"text": "from json", "score": 0.5}'),
        ("train/0003.txt", "nur Text äöü".encode()),
    ]
    path = shard(members)
    reader = make("webdataset")
    (first, second, third), failures = sorted_out(reader, path)
    assert not failures
    assert reader.count(path) == 3
    name = path.name
    assert [f.item.item_id for f in (first, second, third)] == [f"{name}::train/0001", f"{name}::train/0002", f"{name}::train/0003"]
    assert (first.item.text, second.item.text, third.item.text) == ("a red boat", "from json", "nur Text äöü")
    assert first.item.metadata == {"year": 1999, "tags": '["a", "b"]', "caption": "unused", "cls": 7}
    assert second.item.metadata == {"score": 0.5}
    assert third.item.image is None
    assert np.array_equal(np.asarray(second.item.image.open()), np.asarray(picture))
    assert first.item.image.open().size == (24, 16)
    assert (first.item.document_id, first.item.page_number) == (None, None)


def test_a_picture_is_found_again_by_its_key(shard, jpg, png, sorted_out):
    path = shard([*((f"{n}.jpg", jpg) for n in range(5)), ("x.png", png), ("t.txt", b"words")])
    entries, _ = sorted_out(make("webdataset"), path)
    reader = make("webdataset")
    for entry in reversed(entries):
        again = reader.handle(path, entry.item.item_id[len(path.name) :])
        if entry.item.image is None:
            assert again is None
        else:
            assert np.array_equal(np.asarray(again.open()), np.asarray(entry.item.image.open()))
    with pytest.raises(FormatError, match="no picture under this key"):
        reader.handle(path, "::absent").open()


def test_the_hash_follows_every_part_that_is_used(written, jpg, png):
    def hashes(*members):
        return [entry.content_hash for entry in make("webdataset").read(written("a.tar", tar_of(members)), "a")]

    base = hashes(("k.jpg", jpg), ("k.txt", b"one"))
    assert base == hashes(("k.txt", b"one"), ("k.jpg", jpg), ("k.npy", b"whatever"))
    assert len({*base, *hashes(("k.jpg", jpg), ("k.txt", b"two")), *hashes(("k.png", png), ("k.txt", b"one"))}) == 3


def test_the_first_picture_of_a_sample_counts(written, jpg, png, sorted_out):
    (entry,), _ = sorted_out(make("webdataset"), written("a.tar", tar_of([("k.1.png", png), ("k.2.jpg", jpg), ("k.txt", b"x")])))
    assert entry.item.image.open().getpixel((1, 0)) == (10, 0, 1)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([("k.JPG", b"*"), ("k.TXT", b"a boat")], "a boat"),
        ([("k.jpg", b"*"), ("k.caption", b"a boat")], "a boat"),
        ([("k.jpg", b"*"), ("k.0.txt", b"a boat"), ("k.1.txt", b"at sea"), ("k.2.txt", b"a boat")], "a boat\nat sea"),
        ([("k.jpg", b"*"), ("k.JSON", b'{"Caption": ["a boat", "at sea"]}')], "a boat\nat sea"),
        ([("k.jpg", b"*"), ("k.meta.json", b'{"n": 1}'), ("k.json", b'{"caption": "a boat"}')], "a boat"),
    ],
)
def test_captions_under_other_suffixes_and_several_of_them(written, jpg, sorted_out, members, text):
    data = tar_of([(name, jpg if content == b"*" else content) for name, content in members])
    (entry,), failures = sorted_out(make("webdataset"), written("a.tar", data))
    assert (failures, entry.item.text) == ([], text)
    assert entry.item.image.open().size == (24, 16)


@pytest.mark.parametrize(
    ("members", "note"),
    [
        (
            [("k.left.jpg", b"*"), ("k.right.jpg", b"*")],
            "a sample is one item: of its pictures the first is taken",
        ),
        ([("k.svg", b"<svg/>"), ("k.txt", b"a boat")], "its .svg is not read, only its text"),
        ([("k.mp4", b"."), ("k.txt", b"a boat")], "its .mp4 is not read, only its text"),
        ([("k.json", b'{"url": "https://example.org/1.jpg", "caption": "a boat", "status": "failed_to_download"}')], "its picture lies at"),
        ([("k.jpg", b"*"), ("k.txt", b"a boat"), ("k.json", b'{"url": "https://example.org/1.jpg"}')], ""),
    ],
)
def test_what_is_left_out_of_a_sample_is_named(written, jpg, sorted_out, members, note):
    data = tar_of([(name, jpg if content == b"*" else content) for name, content in members])
    (entry,), _ = sorted_out(make("webdataset"), written("a.tar", data))
    assert entry.item.metadata.get("picture_note", "").startswith(note)
    assert bool(note) == ("picture_note" in entry.item.metadata)


def test_a_mislabelled_member_is_refused_unless_accepted(shard, png, sorted_out):
    path = shard([("k.jpg", png)])
    (entry,), _ = sorted_out(make("webdataset"), path)
    for picture in (entry.item.image, make("webdataset").handle(path, "::k")):
        with pytest.raises(FormatError, match=r"holds a PNG but is named \.jpg"):
            picture.open()
    accepting = make("webdataset(mislabelled=accept)")
    (entry,), _ = sorted_out(accepting, path)
    assert entry.item.image.open().size == accepting.handle(path, "::k").open().size == (24, 16)


def test_links_devices_folders_and_strays_are_passed_over(shard, jpg, sorted_out):
    members = [
        special("folder", tarfile.DIRTYPE),
        special("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.jpg", tarfile.LNKTYPE, "k.jpg"),
        special("device.jpg", tarfile.CHRTYPE),
        special("pipe.jpg", tarfile.FIFOTYPE),
        ("README", b"no suffix"),
        (".hidden.jpg", jpg),
        ("./folder/._k.jpg", jpg),
        ("./folder/k.jpg", jpg),
    ]
    entries, failures = sorted_out(make("webdataset"), shard(members))
    assert [entry.item.item_id.split("::")[1] for entry in entries] == ["folder/k"]
    assert failures == []


def test_sparse_members_are_passed_over(written, jpg, sorted_out):
    data = bytearray(tar_of([("s.jpg", jpg), ("k.jpg", jpg)], format=tarfile.GNU_FORMAT))
    header = tarfile.TarInfo.frombuf(bytes(data[:512]), "utf-8", "strict")
    header.type = tarfile.GNUTYPE_SPARSE
    block = header.tobuf(tarfile.GNU_FORMAT)
    entries, failures = sorted_out(make("webdataset"), written("a.tar", block[:512] + bytes(data[512:])))
    assert ([entry.item.item_id for entry in entries], failures) == (["a.tar::k"], [])


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_and_foreign_names(written, jpg, sorted_out, format):
    long = "/".join(["folder" * 5] * 6)
    names = [f"{long}/k", "naïve-字", "👩‍🚀"] if format != tarfile.USTAR_FORMAT else [f"{long[:140]}/k", "plain"]
    entries, failures = sorted_out(make("webdataset"), written("a.tar", tar_of([(f"{n}.jpg", jpg) for n in names], format=format)))
    assert [entry.item.item_id for entry in entries] == [f"a.tar::{name}" for name in names]
    assert failures == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/k.jpg", "leads out of the archive"),
        ("../k.jpg", "leads out of the archive"),
        ("a/../../k.jpg", "leads out of the archive"),
        ("a\nb.jpg", "not readable text"),
    ],
)
def test_keys_that_are_none_are_failures(shard, jpg, sorted_out, name, reason):
    path = shard([(name, jpg), ("good.jpg", jpg)])
    entries, (failure,) = sorted_out(make("webdataset"), path)
    assert reason in failure.reason
    assert [entry.item.item_id for entry in entries] == [f"{path.name}::good"]


def test_a_name_that_is_not_utf8_is_a_failure(written, jpg, sorted_out):
    data = tar_of([("kX.jpg", jpg)], format=tarfile.USTAR_FORMAT)
    header = bytearray(data[:512])
    header[1] = 0xFF
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    _, (failure,) = sorted_out(make("webdataset"), written("a.tar", bytes(header) + data[512:]))
    assert "not readable text" in failure.reason
    failure.path.encode()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("k.npy", b"x"), ("k.mp4", b"y")], "neither a picture nor a text; it holds npy, mp4"),
        ([("k.txt", b"  \n")], "neither a picture nor a text; it holds txt"),
        ([("k.txt", b"\xff\xfe")], "its .txt is not UTF-8 at byte 0"),
        ([("k.txt", b"x"), ("k.json", b'{"a": ')], "its .json cannot be read: not JSON: Expecting value at character 6"),
        ([("k.txt", b"x"), ("k.json", b"[" * 100_000)], "its .json cannot be read: nested too deeply"),
        ([("k.txt", b"x"), ("k.json", b"\xff")], "its .json cannot be read: not UTF-8"),
    ],
)
def test_a_sample_that_is_no_item_is_one_failure(shard, jpg, sorted_out, members, reason):
    path = shard([*members, ("good.jpg", jpg)])
    entries, (failure,) = sorted_out(make("webdataset"), path)
    assert (len(entries), failure.path) == (1, f"{path.name}::k")
    assert failure.reason.startswith(reason)
    assert make("webdataset").count(path) == 2


def test_a_key_that_comes_again_is_a_failure_each_time(shard, jpg, png, sorted_out):
    path = shard([("k.jpg", jpg), ("other.jpg", jpg), ("k.jpg", png), ("k.jpg", png)])
    entries, failures = sorted_out(make("webdataset"), path)
    assert [entry.item.item_id for entry in entries] == [f"{path.name}::k", f"{path.name}::other"]
    assert [(f.path, f.reason) for f in failures] == [(f"{path.name}::k", "its key came before in this archive")] * 2
    assert make("webdataset").count(path) == 4
    assert make("webdataset").handle(path, "::k").open().size == (24, 16)


def test_values_that_are_no_plain_metadata(written, sorted_out):
    data = b'{"nan": NaN, "big": 123456789012345678901234567890, "half": "\\ud800x", "nul": "a\\u0000b", "flag": true, "deep": {"a": [1]}}'
    (entry,), _ = sorted_out(make("webdataset"), written("a.tar", tar_of([("k.txt", b"x"), ("k.json", data), ("k.cls", b"cat")])))
    assert entry.item.metadata == {
        "big": "123456789012345678901234567890",
        "half": "?x",
        "nul": "ab",
        "flag": True,
        "deep": '{"a": [1]}',
        "cls": "cat",
    }


# ---------------------------------------------------------------- limits and damage


def test_a_member_above_the_limit_is_a_failure(shard, jpg, sorted_out):
    path = shard([("big.jpg", jpg + bytes(3000)), ("k.jpg", jpg)])
    entries, (failure,) = sorted_out(make(f"webdataset(max_member_bytes={len(jpg) + 100})"), path)
    assert ([entry.item.item_id for entry in entries], failure.path) == ([f"{path.name}::k"], f"{path.name}::big")
    assert "above the limit" in failure.reason


def test_too_many_members_end_the_reading(shard, sorted_out):
    path = shard([(f"{n}.txt", b"x") for n in range(20)])
    reader = make("webdataset(max_members=5)")
    entries, (failure,) = sorted_out(reader, path)
    assert 4 <= len(entries) <= 6
    assert failure.reason.startswith("more than 5 members")
    assert reader.count(path) == len(entries) + 1


def test_a_gzip_bomb_is_left_at_the_limit(written, sorted_out):
    data = tar_of([("a.txt", b"words"), ("bomb.bin", bytes(50 * 2**20)), ("z.txt", b"never reached")])
    path = written("a.tar.gz", gzip.compress(data))
    assert path.stat().st_size < 100_000
    reader = make(f"webdataset(max_unpacked_bytes={2**20})")
    (entry,), (failure,) = sorted_out(reader, path)
    assert entry.item.text == "words"
    assert failure.reason.startswith("unpacks to more than 1 MiB")
    assert reader.count(path) == 2


@pytest.mark.parametrize("compressed", [False, True])
def test_a_cut_archive_gives_what_came_before_and_says_where_it_broke(written, jpg, sorted_out, compressed):
    whole = tar_of([(f"{n}.{kind}", jpg if kind == "jpg" else b"words") for n in range(4) for kind in ("jpg", "txt")])
    per_sample = (512 + -(-len(jpg) // 512) * 512) + 1024
    cut = whole[: 2 * per_sample + 700]  # in the picture of the third
    if compressed:
        cut = gzip.compress(whole, compresslevel=0, mtime=0)
        cut = cut[: 2 * per_sample + 700]  # stored, so nearly the same place
    path = written("a.tgz" if compressed else "a.tar", cut)
    entries, (failure,) = sorted_out(make("webdataset"), path)
    assert failure.reason.startswith("truncated: ")
    assert make("webdataset").count(path) == len(entries) + 1
    if not compressed:
        assert [entry.item.item_id for entry in entries] == ["a.tar::0", "a.tar::1"]
        assert failure.path == f"a.tar::byte={2 * per_sample + 512}"
        assert failure.reason.endswith(f"2 samples before byte {2 * per_sample + 512} were read")
    assert all(entry.item.image.open() for entry in entries)
    assert make("webdataset").handle(path, "::0").open().size == (24, 16)


def test_an_archive_without_its_end_mark_is_reported(written, jpg, sorted_out):
    whole = tar_of([("a.jpg", jpg), ("b.jpg", jpg)])
    entries, (failure,) = sorted_out(make("webdataset"), written("a.tar", whole[: 2 * (512 + -(-len(jpg) // 512) * 512)]))
    assert len(entries) == 2
    assert failure.reason.startswith("ends without its end mark")


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (bytes(512), "512 zero bytes where 1024 end an archive"),
        (bytes(2 * 2**20), "1048577 zero bytes where 1024 end an archive"),
        (bytes(1024) + b"more", "goes on after its end mark"),
    ],
)
def test_an_end_that_is_none_is_reported(written, jpg, sorted_out, tail, reason):
    whole = tar_of([("a.jpg", jpg), ("b.jpg", jpg)])
    path = written("a.tar", whole[: 2 * (512 + -(-len(jpg) // 512) * 512)] + tail)
    entries, (failure,) = sorted_out(make("webdataset"), path)
    assert (len(entries), make("webdataset").count(path)) == (2, 3)
    assert failure.reason.startswith(reason)


def test_rubbish_between_members_breaks_there(written, jpg, sorted_out):
    two = tar_of([("a.jpg", jpg), ("b.jpg", jpg)])[: 2 * (512 + -(-len(jpg) // 512) * 512)]
    entries, (failure,) = sorted_out(make("webdataset"), written("a.tar", two + b"\x07" * 1024))
    assert [entry.item.item_id for entry in entries] == ["a.tar::a"]  # b may have had more members
    assert failure.reason.startswith("damaged: no member begins here")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.tar", b"", "0 bytes"),
        ("a.tar", b"<html>" + b" " * 600, "not a tar archive: looks like HTML"),
        ("a.tar", b"short", "truncated"),
        ("a.tgz", b"PK\x03\x04" + bytes(600), "not a tar archive: looks like ZIP"),
        ("a.tgz", b"\x1f\x8b" + bytes(600), "damaged"),
        ("a.tar.gz", gzip.compress(b"not a tar, " * 100, mtime=0), "not a tar archive: looks like text"),
    ],
)
def test_what_is_no_archive_is_a_format_error(written, name, data, reason):
    path = written(name, data)
    for attempt in (lambda r: r.count(path), lambda r: list(r.read(path, "x")), lambda r: r.handle(path, "::k").open()):
        with pytest.raises(FormatError) as error:
            attempt(make("webdataset"))
        assert error.value.reason.startswith(reason)


def test_an_empty_archive_has_no_items(shard, sorted_out):
    path = shard([])
    assert sorted_out(make("webdataset"), path) == ([], [])
    assert make("webdataset").count(path) == 0


@pytest.mark.parametrize("data", [b"99999999 path=x\n", b"0 path=x\n", b"7 path\n", b"x path=y\n", b"-9 path=y\n"])
def test_broken_extended_headers(data):
    with pytest.raises(Exception, match="extended header"):
        _pax_records(data, 0)


def test_a_fragment_that_names_no_sample(written):
    for fragment in ("", "::", "#page=1", "k"):
        with pytest.raises(FormatError, match="names no sample"):
            make("webdataset").handle(written("a.tar", b"x"), fragment)


def test_a_shard_that_changed_is_listed_again(written, jpg, png):
    reader = make("webdataset")
    path = written("a.tar", tar_of([("k.jpg", jpg)]))
    assert reader.handle(path, "::k").open()
    written("a.tar", tar_of([("first.txt", b"x"), ("k.png", png)]))
    assert reader.handle(path, "::k").open().getpixel((1, 0)) == (10, 0, 1)
    path.unlink()
    with pytest.raises(FormatError, match="cannot be opened"):
        reader.handle(path, "::k").open()


def test_threads_open_pictures_of_one_shard(written, encoded):
    colours = [(n * 5, 255 - n, n) for n in range(40)]
    path = written("a.tar", tar_of([(f"{n}.png", encoded(Image.new("RGB", (5, 3), c), "PNG")) for n, c in enumerate(colours)]))
    problems: list[object] = []

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).permutation(40):
            if make("webdataset").handle(path, f"::{n}").open().getpixel((2, 1)) != colours[n]:
                problems.append(n)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@settings(max_examples=250)
@given(
    flips=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=6),
    cut=st.none() | st.integers(1, 12_000),
    compressed=st.booleans(),
)
def test_damaged_shards_only_give_items_failures_or_a_format_error(written, jpg, flips, cut, compressed):
    members = [("a.jpg", jpg), ("a.txt", b"one"), ("n" * 120 + ".txt", b"long"), ("b.json", b'{"text": "two"}'), ("c.txt", b"three")]
    data = tar_of(members)
    data = bytearray(gzip.compress(data, mtime=0) if compressed else data)
    for place, change in flips:
        data[place % len(data)] ^= change
    path = written("a.tgz" if compressed else "a.tar", bytes(data[:cut] if cut else data))
    reader = make("webdataset")
    try:
        entries = list(reader.read(path, "a"))
    except FormatError as error:
        assert error.reason  # noqa: PT017 - either outcome is right
        return
    assert all(isinstance(entry, (ReadItem, Failure)) for entry in entries)
    assert reader.count(path) == len(entries)
    for entry in entries:
        if isinstance(entry, ReadItem) and entry.item.image is not None:
            try:
                entry.item.image.open()
            except FormatError as error:
                assert error.reason  # noqa: PT017
