"""The last pictures that rerankers noted, such as the grids that they showed their model, to be looked at."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict

from PIL import Image

from mmrerank.service._failures import NoSuchThing

MOST = 128


class Grids:
    """PNGs under names made of their content; the oldest go first."""

    def __init__(self) -> None:
        self._pngs: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, picture: Image.Image) -> str:
        """The name under which the picture can be had for a while."""
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        png = buffer.getvalue()
        name = hashlib.blake2b(png, digest_size=12).hexdigest()
        with self._lock:
            self._pngs[name] = png
            self._pngs.move_to_end(name)
            while len(self._pngs) > MOST:
                self._pngs.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """The grid of that name as PNG.

        Raises:
            NoSuchThing: it is not kept any more.
        """
        png = self._pngs.get(name)
        if png is None:
            raise NoSuchThing("that grid is not kept any more", hint="Search again.", param="name")
        return png
