"""Documents -> PDFs by LibreOffice, where its program is on the path; one at a time, each in a process that may be ended.

The document is copied into a folder of its own under a plain name, so that links relative to it lead nowhere. The profile is one of our
own: no macro runs, no linked picture or text is loaded, no active content; what would still reach for a network meets a proxy that is not
there. Time and size are bounded.
Cost: 2 to 3 s a document, of which 1.5 s are its start; 220 MB of memory while it runs. PDFs are kept for the process that asked, up to
`DISK_BYTES` on disk.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmrerank.errors import FormatError
from mmrerank.readers._files import MIB, read_bytes, status_of

PROGRAMS = ("soffice", "libreoffice")
DISK_BYTES = 2048 * MIB
MAX_PDF_BYTES = 512 * MIB
_SETTINGS = {
    "Common/Security/Scripting": {"MacroSecurityLevel": "3", "DisableMacrosExecution": "true", "BlockUntrustedRefererLinks": "true"},
    "Writer/Content/Update": {"Link": "0"},
    "Calc/Content/Update": {"Link": "2"},
}
_DEAD_PROXY = "http://127.0.0.1:9"


def program() -> str | None:
    """The program of LibreOffice; None where it is not on the path."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A PDF that was made, and the folder that goes with it."""

    folder: tempfile.TemporaryDirectory[str]
    pdf: Path
    size: int


class Conversions:
    """Document -> PDF, made again when the document's time or size changed. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[Path, int, int], _Entry] = OrderedDict()

    def pdf_of(self, path: Path, *, max_bytes: int, timeout_s: float) -> Path:
        """The PDF of a document as it is now; valid until others have taken its place.

        Raises:
            FormatError: LibreOffice cannot read it, or takes longer than `timeout_s`.
        """
        status = status_of(path, max_bytes=max_bytes)
        key = (path, status.st_mtime_ns, status.st_size)
        with self._lock:
            if key not in self._entries:
                self._entries[key] = _converted(path, max_bytes, timeout_s)
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and sum(entry.size for entry in self._entries.values()) > DISK_BYTES:
                self._entries.popitem(last=False)[1].folder.cleanup()
            return self._entries[key].pdf

    def close(self) -> None:
        """Deletes the PDFs; the next use makes them again."""
        with self._lock:
            while self._entries:
                self._entries.popitem()[1].folder.cleanup()


CONVERSIONS = Conversions()
atexit.register(CONVERSIONS.close)


@cache
def _profile() -> tempfile.TemporaryDirectory[str]:
    """The folder of a profile that trusts nothing; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="mmrerank-office-")
    atexit.register(folder.cleanup)
    items = "".join(
        f'<item oor:path="/org.openoffice.Office.{place}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for place, values in _SETTINGS.items()
        for name, value in values.items()
    )
    file = Path(folder.name, "user", "registrymodifications.xcu")
    file.parent.mkdir(parents=True)
    head = '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry">'
    file.write_text(f"{head}{items}</oor:items>", encoding="utf-8")
    return folder


def _converted(path: Path, max_bytes: int, timeout_s: float) -> _Entry:
    folder = tempfile.TemporaryDirectory(prefix="mmrerank-pdf-")
    try:
        document = Path(folder.name, f"document{path.suffix.lower()}")
        document.write_bytes(read_bytes(path, max_bytes=max_bytes))
        _run(document, Path(folder.name), path, timeout_s)
        document.unlink()
        pdf = document.with_suffix(".pdf")
        if not pdf.is_file():
            raise FormatError("LibreOffice cannot read it: damaged, encrypted, or of another kind than its name says", path=path)
        if (size := pdf.stat().st_size) > MAX_PDF_BYTES:
            raise FormatError(f"becomes a PDF of {size / MIB:.0f} MiB, above the limit of {MAX_PDF_BYTES // MIB}", path=path)
    except BaseException:
        folder.cleanup()
        raise
    return _Entry(folder, pdf, size)


def _run(document: Path, folder: Path, path: Path, timeout_s: float) -> None:
    """Runs LibreOffice on a document in a session of its own, which is ended as a whole when its time is over."""
    profile = _profile().name
    options = ["--headless", "--norestore", "--nolockcheck", "--nodefault", f"-env:UserInstallation={Path(profile).as_uri()}"]
    command = [program() or PROGRAMS[0], *options, "--convert-to", "pdf", "--outdir", str(folder), str(document)]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"), _DEAD_PROXY)
    environment = {**os.environ, **proxies, "no_proxy": "", "HOME": profile, "SAL_USE_VCLPLUGIN": "svp"}
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)
    except OSError as error:
        raise FormatError(f"LibreOffice cannot be started: {error.strerror or error}", path=path) from error
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"LibreOffice was stopped after {timeout_s:g} s", path=path) from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
