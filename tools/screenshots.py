"""Pictures of the web page for the guides: `python -m tools.screenshots --out docs/pictures`.

Serves the shipped emoji and documents with the embedded models on loopback and looks at the page in Chromium. Needs playwright
(extra `dev`) and Debian's package chromium. Takes some minutes the first time, most of it to index.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from PIL import Image

from mmrerank.collection import Collection
from mmrerank.demo import EMOJI, shipped
from mmrerank.errors import MissingExtra
from mmrerank.service.app import create_app
from mmrerank.service.settings import Settings

DESK, PHONE = (1240, 760), (390, 844)
COLOURS, MOST_BYTES = (256, 192, 128, 96), 145_000
PICTURES_ARE_THERE = """
() => [...document.images].filter((one) => {
  const box = one.getBoundingClientRect();
  return one.checkVisibility() && box.top < innerHeight && box.bottom > 0;  // one that was scrolled past may never come
}).every((one) => one.complete)
"""
SLOW_MS = 2500  # of a search that goes on
PATIENCE_MS = 180_000  # the embedded model on a busy machine
CHANGED = {
    "collection": "emoji",
    "wanted": "pictures.parquet::woman-firefighter-medium-skin-tone",
    "text": "the same, but a man with dark skin",
    "without": "beard",
    "retriever": "square_fusion",
}
RERANKED = {  # one that the embedded model gets right
    "collection": "emoji",
    "wanted": "pictures.parquet::woman-bouncing-ball-medium-skin-tone",
    "text": "the same, but as a technologist with dark skin colour",
    "rerank": "square",
    "depth": "9",
    "k": "9",
}
SQUARE = "square(depth=9, cell_px=72, gutter_px=0)"  # the grid that the embedded model was trained on
QUESTION = {
    "collection": "handbook",
    "answerer": "extractive",
    "text": "What did the skipper accept for bringing back the drifting buoy?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture: the search to look at, what must be there, and what to do before."""

    name: str
    search: dict[str, str]
    wait_for: str
    hover: str = ""
    press: tuple[str, ...] = ()
    size: tuple[int, int] = DESK
    dark: bool = False
    offline: bool = False  # once the page is there
    slow: bool = False  # the model gives no answer while the picture is taken
    choose: bool = False  # a picture from a file
    scroll: str = ""  # what is brought into sight


SHOTS = (
    Shot(name="search", search=CHANGED, wait_for=".card", hover=".card:nth-child(2)"),
    Shot(name="moves", search={**RERANKED, "view": "moves"}, wait_for=".moves"),
    Shot(name="grid", search={**RERANKED, "view": "seen"}, wait_for=".seen img"),
    Shot(name="answer", search=QUESTION, wait_for=".sources .passage"),
    Shot(name="dark", search={**QUESTION, "open": "harbour-station-annual-report.pdf#page=14"}, wait_for="#viewer .passage", dark=True),
    Shot(
        name="phone",
        search={"collection": "emoji", "text": "smiling cat"},
        wait_for=".card",
        press=(".card:nth-child(1) [data-mark=wanted]", ".card:nth-child(2) [data-mark=unwanted]"),
        size=PHONE,
    ),
    Shot(name="chosen", search={"collection": "emoji"}, wait_for="#empty h2", choose=True),
    Shot(name="slow", search={"collection": "emoji", "text": "pilot"}, wait_for=".card", press=("#go", "#cancel"), slow=True),
    Shot(
        name="options",
        search={"collection": "emoji", "text": "pilot", "rerank": "square", "depth": "9", "k": "9"},
        wait_for=".card",
        press=("#options summary",),
    ),
    Shot(name="nothing", search={"collection": "handbook", "mode": "find", "text": "xylophone"}, wait_for="#empty h2"),
    Shot(name="many", search={"collection": "emoji", "text": "a face", "k": "500"}, wait_for="#more", scroll="#more"),
    Shot(name="empty", search={"collection": "emoji"}, wait_for="#empty h2"),
    Shot(
        name="error",
        search={"collection": "emoji", "text": "pilot"},
        wait_for=".card",
        press=("#go", "#problem h2"),
        dark=True,
        offline=True,
    ),
)


def take(out: Path, work: Path, only: Sequence[str] = ()) -> Iterator[Path]:
    """Takes the pictures one after the other; yields the file of each.

    Args:
        work: folder for the collections; kept, so that a second run has nothing to index.
        only: names of the pictures to take; empty: all.

    Raises:
        MissingExtra: playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as missing:
        raise MissingExtra.of("playwright", "dev", "Looking at the page") from missing
    chromium = shutil.which("chromium")
    if chromium is None:
        raise MissingExtra("Looking at the page needs Chromium, which is not installed.", hint="apt install chromium")
    folders = (_collection(work / "emoji", shipped(EMOJI), ["openclip/mini"]), _collection(work / "handbook", shipped("handbook"), []))
    out.mkdir(parents=True, exist_ok=True)
    with _serving(Settings(collections=folders, backend="mini", rerankers={"square": SQUARE})) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for shot in (shot for shot in SHOTS if not only or shot.name in only):
            file = out / f"page-{shot.name}.png"
            file.write_bytes(small(screenshot(browser, address, shot)))
            yield file
        browser.close()


def screenshot(browser: Any, address: str, shot: Shot) -> bytes:
    """The page as PNG, once all that is in sight has come."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.dark else "light",
        has_touch=shot.size == PHONE,
        is_mobile=shot.size == PHONE,
        device_scale_factor=1,
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    unanswered: list[Any] = []
    page.goto(f"{address}/?{urlencode(shot.search)}")
    page.wait_for_selector(shot.wait_for)
    page.wait_for_load_state("networkidle")
    context.set_offline(shot.offline)
    if shot.choose:
        with page.expect_file_chooser() as chooser:
            page.click("#choose")
        chooser.value.set_files({"name": "chosen.png", "mimeType": "image/png", "buffer": _some_picture()})
        page.wait_for_selector(".card")
        page.wait_for_load_state("networkidle")
    if shot.slow:
        page.route("**/v1/search", lambda route: unanswered.append(route))
    for selector in shot.press[:-1] if shot.slow else shot.press:
        page.click(selector)
    if shot.slow:
        page.wait_for_selector(shot.press[-1])
        page.wait_for_timeout(SLOW_MS)
    if shot.scroll:
        page.locator(shot.scroll).scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
    if shot.hover:
        page.hover(shot.hover)
    page.wait_for_function(PICTURES_ARE_THERE)
    png: bytes = page.screenshot()
    for route in unanswered:
        route.abort()
    context.close()
    return png


def _some_picture() -> bytes:
    """A picture to search with: one of those that ship, as PNG."""
    import pyarrow.parquet as pq

    table = pq.read_table(shipped("emoji/pictures.parquet"), columns=["key", "image"]).to_pylist()
    return bytes(next(row["image"] for row in table if row["key"] == "woman-firefighter"))


def small(png: bytes) -> bytes:
    """The same picture in fewer colours, for the repository's sake."""
    for colours in COLOURS:
        reduced = BytesIO()
        with Image.open(BytesIO(png)) as picture:
            picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(reduced, "PNG", optimize=True)
        if reduced.tell() < MOST_BYTES:
            break
    return reduced.getvalue()


def _collection(folder: Path, source: Path, encoders: Sequence[str]) -> Path:
    collection = Collection.open_or_create(folder, encoders=encoders)
    collection.add([source])
    return folder


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    """The address of a service in this process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.05)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Take pictures of the web page.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--work", type=Path, help="folder for the collections, to be used again; a temporary one when left out")
    parser.add_argument("--only", nargs="*", default=(), choices=[shot.name for shot in SHOTS], help="take these only")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mmrerank-") as folder:
        for file in take(options.out, options.work or Path(folder), options.only):
            sys.stdout.write(f"{file}  {file.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
