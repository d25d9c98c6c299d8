"""Reads WebDataset shards: the members of a tar that share a key are one item, `SHARD.tar::KEY`.

Source: the WebDataset file format. The key is a member's path up to the first dot of its file name, what follows is the kind of
its content: a picture (the first one of a sample counts), `.txt` or `.caption` (its text; several are lines), `.json` (metadata, and the
text where there is none of these), `.cls` (metadata), whatever the case of letters. Other kinds are passed over; where a sample has
further pictures, or none but a video, a drawing or a URL, `picture_note` in its metadata says so. Shards are hostile until read: nothing
is extracted, members, their sizes and what a gzip stream unpacks to are bounded.
Cost: one pass to count and one to read; the pictures of the items read have their bytes, as long as few of them wait. Opening a
picture later reads just that member of a plain tar, but unpacks a gzip stream up to it: keep shards that are searched as plain `.tar`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import printed, runtime_option
from mmrerank.readers._captions import text_of
from mmrerank.readers._columns import elsewhere
from mmrerank.readers._files import MIB, Recent, Spare, content_key, hash_of, spared
from mmrerank.readers._kinds import PICTURE_SUFFIXES
from mmrerank.readers._metadata import clean, empty, parsed, plain
from mmrerank.readers._pictures import LIMITS, BytesPicture, Limits, Mislabelled, decode
from mmrerank.readers._tar import Archive, Broken, Member, archive
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

_MAX_TEXT = 16 * MIB
_CAPTIONS = ("txt", "text", "caption", "captions", "cap")  # kinds, or what they end in: `en.txt`
_UNREAD = frozenset((".svg", ".eps", ".wmf", ".emf", ".mp4", ".webm", ".mov", ".avi", ".mkv", ".pdf", ".npy", ".npz", ".pth"))


@dataclass(frozen=True, kw_only=True)
class Options:
    mislabelled: Mislabelled = "refuse"  # a PNG in a member named .jpg
    max_member_bytes: int = LIMITS.max_bytes  # a larger member is refused
    max_members: int = runtime_option(10_000_000)  # of one shard
    max_unpacked_bytes: int = runtime_option(2**40)  # of a gzip stream


@dataclass(slots=True)
class _Sample:
    """The members of one key; `problem` is why it cannot be an item."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)  # kind, such as "jpg" -> member
    contents: dict[str, bytes] = field(default_factory=dict)  # those that are used, unless only listed
    problem: str = ""

    @property
    def pictures(self) -> list[str]:
        """The kinds of its pictures."""
        return [kind for kind in self.members if _suffix(kind) in PICTURE_SUFFIXES]

    @property
    def picture(self) -> str | None:
        """The kind of its first picture."""
        return next(iter(self.pictures), None)

    @property
    def note(self) -> str:
        """What is to be said of its pictures beside the one that is taken."""
        if len(self.pictures) > 1:
            return "a sample is one item: of its pictures the first is taken, further ones are left out"
        unread = sorted({_suffix(kind) for kind in self.members} & _UNREAD)
        return f"its {', '.join(unread)} is not read, only its text" if unread and not self.pictures else ""


def _suffix(kind: str) -> str:
    return "." + kind.rsplit(".", 1)[-1].lower()


def _is_described(kind: str) -> bool:
    """Whether a member of this kind is text or metadata."""
    return _suffix(kind)[1:] in (*_CAPTIONS, "json", "cls")


def _key_and_kind(name: str) -> tuple[str, str] | None:
    """A member's key and kind; None for one that belongs to no sample: no dot, or a hidden file.

    >>> _key_and_kind("./train/0001.seg.png"), _key_and_kind("train/.DS_Store")
    (('train/0001', 'seg.png'), None)
    """
    while name.startswith("./"):
        name = name[2:]
    folder, slash, file = name.rpartition("/")
    stem, dot, kind = file.partition(".")
    return (folder + slash + stem, kind) if stem and dot else None


def _problem_of(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        return f"the name of its member leads out of the archive: {clean(name)!r}"
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):  # surrogates: bytes that are not UTF-8
        return f"the name of its member is not readable text: {clean(name)!r}"
    return ""


class _Samples:
    """The samples of an archive in order, complete ones only; after that `broken` says where it broke, if it did."""

    def __init__(self, source: Archive, options: Options, *, contents: bool) -> None:
        self._source = source
        self._options = options
        self._contents = contents
        self.broken: Broken | None = None

    def __iter__(self) -> Iterator[_Sample]:
        sample: _Sample | None = None
        try:
            for member in self._source.members():
                key_and_kind = _key_and_kind(member.name)
                if key_and_kind is None:
                    continue
                key, kind = key_and_kind
                if sample is not None and (key != sample.key or kind in sample.members):
                    yield sample
                    sample = None
                sample = sample or _Sample(key)
                self._add(sample, kind, member)
        except Broken as broken:
            self.broken = broken
            if not broken.between:  # the sample at the break is incomplete
                return
        if sample is not None:
            yield sample

    def _add(self, sample: _Sample, kind: str, member: Member) -> None:
        sample.problem = sample.problem or _problem_of(member.name)
        sample.members[kind] = member
        if _is_described(kind):
            limit = _MAX_TEXT
        elif kind == sample.picture:
            limit = self._options.max_member_bytes
        else:
            return
        if member.size > limit:
            sample.problem = sample.problem or f"its .{kind} has {member.size / MIB:.0f} MiB, above the limit of {limit / MIB:.0f}"
        elif self._contents:
            sample.contents[kind] = self._source.read(member.offset, member.size)
        elif member.size:  # its last byte is there: a break shows here as it does when the content is read
            self._source.read(member.offset + member.size - 1, 1)


def _index(path: Path) -> dict[str, Member | None]:
    """Key -> the member of its picture, None where it has none; up to the break of a broken archive."""
    options = Options()
    with archive(path, max_bytes=options.max_unpacked_bytes, max_members=options.max_members) as (source, _):
        index: dict[str, Member | None] = {}
        samples = _Samples(source, options, contents=False)
        for sample in samples:
            index.setdefault(sample.key, sample.members[sample.picture] if sample.picture else None)
    if not index and samples.broken is not None:
        raise FormatError(samples.broken.reason, path=path)
    return index


_INDEXES = Recent(_index, keep=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPicture:
    """The picture of one sample of a shard."""

    path: Path
    key: str
    mislabelled: Mislabelled = "refuse"
    limits: Limits = LIMITS
    kind: str = field(default="", compare=False)  # of the bytes in `spare`
    spare: Spare | None = field(default=None, repr=False, compare=False)  # what was read just now

    def content_key(self) -> str:
        """Of the shard's bytes and which sample of it."""
        return content_key(self.path, "member", self.key, self.mislabelled)

    def open(self) -> Image.Image:
        """The picture as RGB, upright.

        Raises:
            FormatError: the shard cannot be read, has no such sample, or its picture cannot be opened.
        """
        name = f"{self.path}::{self.key}"
        if self.spare is not None:
            return decode(self.spare.data, path=name, suffix=_suffix(self.kind), mislabelled=self.mislabelled, limits=self.limits)
        member = _INDEXES.get(self.path).get(self.key)
        if member is None:
            raise FormatError("the archive has no picture under this key", path=name)
        if member.size > self.limits.max_bytes:
            raise FormatError(f"{member.size / MIB:.0f} MiB, above the limit of {self.limits.max_bytes / MIB:.0f}", path=name)
        try:
            with archive(self.path, max_bytes=2**62, max_members=1) as (source, _):
                data = source.read(member.offset, member.size)
        except Broken as broken:
            raise FormatError(broken.reason, path=name) from broken
        return decode(data, path=name, suffix=_suffix(member.name), mislabelled=self.mislabelled, limits=self.limits)


class WebDatasetReader:
    """Shards -> items with what their `.json` and `.cls` say as metadata."""

    suffixes = frozenset({".tar", ".tar.gz", ".tgz"})
    hashed_options = frozenset({"mislabelled", "max_member_bytes"})

    def __init__(self, options: Options) -> None:
        self.name = printed("webdataset", options)
        self._options = options
        self._limits = Limits(max_bytes=options.max_member_bytes)

    def count(self, path: Path) -> int:
        """The number of entries that `read` gives: samples, and one for a break; FormatError when it is no archive."""
        with self._archive(path) as (source, _):
            samples = _Samples(source, self._options, contents=False)
            number = sum(1 for _ in samples)
        return number + (self._break(samples, number, path, "") is not None)

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The samples in order, ids `ITEM_ID::KEY`.

        A sample with neither picture nor text, with a key that came before or with a broken part is a Failure. Where the
        archive breaks, what came before is delivered and the break is the last Failure.

        Raises:
            FormatError: not an archive, or it breaks before its first sample.
        """
        keys: set[str] = set()
        number = 0
        with self._archive(path) as (source, compressed):
            samples = _Samples(source, self._options, contents=True)
            for number, sample in enumerate(samples, 1):  # noqa: B007 - used after the loop
                if sample.key in keys:
                    sample.problem = sample.problem or "its key came before in this archive"
                keys.add(sample.key)
                yield self._entry(sample, path, item_id, compressed)
        failure = self._break(samples, number, path, item_id)
        if failure is not None:
            yield failure

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of the sample that `::KEY` names; None where it has none. FormatError for any other fragment."""
        if not fragment.startswith("::") or len(fragment) < 3:
            raise FormatError(f"{fragment!r} names no sample; expected '::KEY'", path=path)
        picture = self._picture(path, fragment[2:])
        try:
            index = _INDEXES.get(path)
        except FormatError:
            return picture  # opening it says what is wrong with the archive
        return None if index.get(picture.key, picture) is None else picture

    def _entry(self, sample: _Sample, path: Path, item_id: str, compressed: bool) -> ReadItem | Failure:
        sample_id = f"{item_id}::{clean(sample.key)}"
        try:
            if sample.problem:
                raise ValueError(sample.problem)
            text, metadata = _described({kind: content for kind, content in sample.contents.items() if _is_described(kind)})
            note = sample.note or ("" if sample.picture else elsewhere(metadata))
            metadata |= {"picture_note": note} if note else {}
            item = Item(item_id=sample_id, image=self._image(sample, path, compressed), text=text, metadata=metadata)
            if empty(item):
                raise ValueError(f"neither a picture nor a text; it holds {', '.join(sample.members)}")
        except ValueError as error:
            return Failure(path=sample_id, reason=str(error))
        parts = [part for kind in sorted(sample.contents) for part in (kind, sample.contents[kind])]
        return ReadItem(item=item, content_hash=hash_of(*parts))

    def _image(self, sample: _Sample, path: Path, compressed: bool) -> ImageHandle | None:
        if sample.picture is None:
            return None
        data = sample.contents[sample.picture]
        if not compressed:
            return replace(self._picture(path, sample.key), kind=sample.picture, spare=spared(data))
        # finding it again would unpack the stream once more
        name, suffix = f"{path}::{sample.key}", _suffix(sample.picture)
        return BytesPicture(data=data, name=name, suffix=suffix, mislabelled=self._options.mislabelled, limits=self._limits)

    def _picture(self, path: Path, key: str) -> MemberPicture:
        return MemberPicture(path=path, key=key, mislabelled=self._options.mislabelled, limits=self._limits)

    def _archive(self, path: Path) -> AbstractContextManager[tuple[Archive, bool]]:
        return archive(path, max_bytes=self._options.max_unpacked_bytes, max_members=self._options.max_members)

    @staticmethod
    def _break(samples: _Samples, number: int, path: Path, item_id: str) -> Failure | None:
        if samples.broken is None:
            return None
        if number == 0:
            raise FormatError(samples.broken.reason, path=path)
        reason = f"{samples.broken.reason}; {number} samples before byte {samples.broken.position} were read"
        return Failure(path=f"{item_id}::byte={samples.broken.position}", reason=reason)


def _described(contents: Mapping[str, bytes]) -> tuple[str | None, dict[str, Any]]:
    """The text and the metadata of a sample; ValueError, with the reason, when one of them cannot be read."""
    values: dict[str, Any] = {}
    for kind in (kind for kind in contents if _suffix(kind) == ".json"):
        try:
            content = parsed(contents[kind])
        except ValueError as error:
            raise ValueError(f"its .{kind} cannot be read: {error}") from error
        values |= dict(content) if isinstance(content, dict) else {kind: content}
    for kind in (kind for kind in contents if _suffix(kind) == ".cls"):
        label = _decoded(contents, kind)
        values[kind.lower()] = int(label) if label.isdecimal() and len(label) < 19 else label
    captions = [text for kind in contents if _suffix(kind)[1:] in _CAPTIONS and (text := _decoded(contents, kind))]
    if captions:
        return "\n".join(dict.fromkeys(captions)), plain(values)
    caption, names = text_of(values)
    return caption, plain({name: value for name, value in values.items() if name not in names})


def _decoded(contents: Mapping[str, bytes], kind: str) -> str:
    try:
        return clean(contents[kind].decode("utf-8-sig")).strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"its .{kind} is not UTF-8 at byte {error.start}") from error


def build(options: Options) -> WebDatasetReader:
    return WebDatasetReader(options)


def tiny() -> WebDatasetReader:
    return WebDatasetReader(Options())
