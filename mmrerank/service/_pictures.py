"""Pictures that clients give: data URIs, URLs where allowed, and items of a collection; each under limits, checked before work begins."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

from mmrerank.errors import FormatError, InputError
from mmrerank.json_io import picture_in
from mmrerank.readers import MIB, BytesPicture, Limits, inspect
from mmrerank.service._failures import RequestRefused
from mmrerank.service._work import checkpoint
from mmrerank.types import ImageHandle

Fetch: TypeAlias = Callable[[str], bytes]
_PATH = re.compile(r"(?!data:)(?:file:|\.{0,2}/(?!9j/)[^+=]{0,80}$|[^.:]{0,200}[.:])", re.IGNORECASE)  # base64 of a JPEG begins with /9j/


SIDE_PX, SHEET_PX, GAP_PX = 1024, 4096, 8  # of each picture of several and of all together, the longer side at most; between them


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Several pictures as one, in rows, each in a cell of its own."""

    pictures: tuple[ImageHandle, ...]

    def open(self) -> Image.Image:
        """The pictures, on white, from left to right and from top to bottom; none of them is enlarged.

        Raises:
            FormatError: one of them cannot be opened.
        """
        opened = [picture.open() for picture in self.pictures]
        columns = math.ceil(math.sqrt(len(opened)))
        side = min(SIDE_PX, SHEET_PX // columns)
        for picture in opened:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        rows = math.ceil(len(opened) / columns)
        width, height = (max(side) + GAP_PX for side in zip(*(picture.size for picture in opened), strict=True))
        sheet = Image.new("RGB", (columns * width - GAP_PX, rows * height - GAP_PX), "white")
        for n, picture in enumerate(opened):
            sheet.paste(picture, (n % columns * width, n // columns * height))
        return sheet


class Pictures:
    """Makes handles of what clients give."""

    def __init__(self, *, max_pixels: int, max_bytes: int = 64 * MIB, fetch: Fetch | None = None) -> None:
        self._limits = Limits(max_pixels=max_pixels, max_bytes=max_bytes)
        self._fetch = fetch

    def handle(self, uri: str, where: str) -> ImageHandle:
        """The picture of a data URI or URL. Its header is read now, its pixels when it is opened.

        Raises:
            RequestRefused: it is no picture, too large, or lies where nothing is fetched from; names the field.
        """
        try:
            if uri.partition("://")[0].lower() in ("http", "https"):
                return self._fetched(uri)
            if _PATH.match(uri):
                raise InputError("no base64 and no data URI: paths are not read here", hint="Send the picture: data:image/png;base64,...")
            # Jina's clients send bare base64
            picture = picture_in(uri if uri.startswith("data:") else f"data:image/*;base64,{uri}", self._limits)
            inspect(picture.data, path=picture.name, limits=picture.limits)
        except FormatError as error:
            raise RequestRefused(400, f"{where}: {error.reason}", param=where) from error
        except InputError as error:
            raise RequestRefused(400, f"{where}: {error.message}", hint=error.hint, param=where) from error
        return picture

    def _fetched(self, url: str) -> ImageHandle:
        if self._fetch is None:
            raise InputError("no URL is fetched here", hint="Send the picture as a data URI: data:image/png;base64,...")
        checkpoint()
        picture = BytesPicture(data=self._fetch(url), name="picture at a URL", limits=self._limits)
        inspect(picture.data, path=picture.name, limits=self._limits)
        return picture
