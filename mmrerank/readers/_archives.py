"""ZIP files that documents are: looked at before anything in them is unpacked. Shared by the readers of documents.

An archive of a few kilobytes can claim terabytes; what its directory claims is refused above a limit, and `zipfile` gives no more bytes
of a member than its directory says.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrerank.errors import FormatError
from mmrerank.readers._files import MIB, opened
from mmrerank.readers._kinds import looks_like

MAX_UNPACKED_BYTES = 256 * MIB
MAX_MEMBERS = 20_000
MAX_XML_BYTES = 64 * MIB  # of one member that is parsed as a whole; a tree takes ten times as much
_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError)


@contextmanager
def archive_of(path: Path, *, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The ZIP archive at `path`.

    Raises:
        FormatError: it is none, it is broken, or it claims more than the limits.
    """
    with opened(path, max_bytes=max_bytes) as file:
        head = file.read(1024)
        file.seek(0)
        if not head.startswith(b"PK"):
            kind = looks_like(head)
            reason = "encrypted, or an Office document of before 2007" if head.startswith(b"\xd0\xcf\x11\xe0") else f"looks like {kind}"
            raise FormatError(f"not a document of this kind: {reason}", path=path)
        try:
            with zipfile.ZipFile(file) as archive:
                _check(archive, path)
                yield archive
        except _ERRORS as error:
            raise FormatError(f"a broken archive: {_short(error)}", path=path) from error


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_UNPACKED_BYTES:
        limits = f"above the limits of {MAX_MEMBERS} and {MAX_UNPACKED_BYTES // MIB} MiB"
        raise FormatError(f"claims {len(members)} members of {size / MIB:.0f} MiB, {limits}", path=path)
    for member in members:
        if member.file_size > MAX_XML_BYTES and member.filename.lower().endswith((".xml", ".rels", ".xhtml", ".html", ".opf")):
            size_mib = member.file_size // MIB
            raise FormatError(f"its {member.filename[-80:]} claims {size_mib} MiB, above the limit of {MAX_XML_BYTES // MIB}", path=path)
        if member.flag_bits & 1:
            raise FormatError("encrypted: needs a password", path=path)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
