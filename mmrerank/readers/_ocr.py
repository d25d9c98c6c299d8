"""Text of a picture by Tesseract, where its program is on the path. Shared by the readers of pages.

The program is run directly, one process a page: its environment then limits it to one thread without touching that of this
process (a limit set here would bind torch too), and its time is limited, so a page that never ends costs its own text only.
Cost: 0.5 to 3 s a page on one core; `in_order` runs some side by side.

Source: Smith 2007 (Tesseract), version 4 and later: an LSTM over lines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Literal, TypeAlias, TypeVar

from PIL import Image

from mmrerank.errors import FormatError, MissingExtra
from mmrerank.readers._files import hash_of
from mmrerank.readers._line_ends import rejoined
from mmrerank.readers._metadata import clean
from mmrerank.types import ImageHandle, ReadItem

Ocr: TypeAlias = Literal["auto", "never", "required"]
PROGRAM = "tesseract"
NO_LAYER = "no text layer"
MEANINGLESS = "the letters of the text layer mean nothing"
NOT_INSTALLED = f"OCR (the program {PROGRAM}) is not installed"
DPI = 200  # enough for letters of a usual size; more costs time
MAX_SIDE_PX = 4096
WORKERS = max(1, min(4, os.cpu_count() or 1))
_MOST_CHARACTERS = 1_000_000
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What OCR made of a picture: its text, or why there is none."""

    text: str = ""
    note: str = ""


def why_not(ocr: Ocr) -> str | None:
    """Why pages without text are not read by OCR; None when they are: the program is there, and `ocr` is not "never".

    Raises:
        MissingExtra: it is required and not there.
    """
    if ocr == "never":
        return "OCR is off"
    if shutil.which(PROGRAM) is not None:
        return None
    if ocr == "required":
        raise MissingExtra(f"OCR needs the program {PROGRAM!r}, which is not on the path.", hint="Such as: apt install tesseract-ocr")
    return NOT_INSTALLED


def outdated(note: str, ocr: Ocr) -> bool:
    """Whether a page got this note for want of the program, which is there now."""
    return note.endswith(NOT_INSTALLED) and why_not(ocr) is None


def with_text(
    entry: ReadItem, picture: ImageHandle, *, language: str, timeout_s: float, dpi: int | None = None, why: str = NO_LAYER
) -> ReadItem:
    """The page with the text in its picture, or with a note why there is none; as it was where the page is blank.

    What its text layer says stays where that is only too little: a stamp on a scan is a true word. One whose letters mean nothing goes.

    Args:
        why: why its own text does not do.
    """
    try:
        reading = read(picture.open(), language=language, timeout_s=timeout_s, dpi=dpi)
    except FormatError as error:
        return noted(entry, error.reason, why)
    text = rejoined(clean(reading.text).strip())
    if reading.note or not text:
        return noted(entry, reading.note, why) if reading.note or why == MEANINGLESS else entry
    body, layer_lines = text, [] if why == MEANINGLESS else (entry.item.text or "").splitlines()
    known = set(_words(text))
    missing = [line for line in layer_lines if line.strip() and not known.issuperset(_words(line))]
    item = replace(entry.item, text="\n".join([body, *missing]), metadata={**entry.item.metadata, "text_source": "ocr"})
    return ReadItem(item=item, content_hash=hash_of(entry.content_hash, "ocr", language))


def _words(text: str) -> list[str]:
    return [word for word in ("".join(filter(str.isalnum, piece)).lower() for piece in text.split()) if word]


def noted(entry: ReadItem, reason: str, why: str = NO_LAYER) -> ReadItem:
    """The page with a note why its words could not be read; as it is without a reason."""
    note = {"text_note": f"{why}; {reason or 'OCR reads nothing'}"} if reason or why == MEANINGLESS else {}
    return replace(entry, item=replace(entry.item, metadata={**entry.item.metadata, **note}))


def read(picture: Image.Image, *, language: str, timeout_s: float, dpi: int | None = None) -> Reading:
    """The text in a picture; a note where the program failed or took longer than `timeout_s`. Without `dpi` it is estimated."""
    data = BytesIO()
    grey = picture.convert("L")
    grey.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    grey.save(data, "PPM")
    command = [PROGRAM, "stdin", "stdout", "-l", language, *(["--dpi", str(dpi)] if dpi else [])]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    try:
        process = subprocess.run(command, input=data.getvalue(), capture_output=True, env=environment, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return Reading(note=f"OCR stopped after {timeout_s:g} s")
    except OSError as error:
        return Reading(note=f"OCR failed: {error.strerror or error}")
    if process.returncode:
        message = process.stderr.decode("utf-8", "replace").split("\n")[0].strip()[:200]
        return Reading(note=f"OCR failed: {message or f'exit {process.returncode}'}")
    return Reading(text=process.stdout.decode("utf-8", "replace").replace("\f", "")[:_MOST_CHARACTERS])


def in_order(values: Iterable[V], needs_work: Callable[[V], bool], work: Callable[[V], V]) -> Iterator[V]:
    """The values in their order, `work` done on those that need it, some at a time in threads; few are held at once."""
    waiting: deque[Future[V]] = deque()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="ocr") as pool:
        try:
            for value in values:
                waiting.append(pool.submit(work, value) if needs_work(value) else _finished_future(value))
                while waiting and (waiting[0].done() or len(waiting) > 2 * WORKERS):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _finished_future(value: V) -> Future[V]:
    future: Future[V] = Future()
    future.set_result(value)
    return future
