"""Pictures that clients give: data URIs, URLs where allowed, and items of a collection; each under limits, checked before work begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from mmrerank.errors import FormatError, InputError
from mmrerank.json_io import picture_in
from mmrerank.readers import MIB, BytesPicture, Limits, inspect
from mmrerank.service._failures import RequestRefused
from mmrerank.service._work import checkpoint
from mmrerank.types import ImageHandle

Fetch: TypeAlias = Callable[[str], bytes]
_PATH = re.compile(r"(?!data:)(?:file:|\.{0,2}/(?!9j/)[^+=]{0,80}$|[^.:]{0,200}[.:])", re.IGNORECASE)  # base64 of a JPEG begins with /9j/


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
