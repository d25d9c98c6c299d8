"""Fixtures of the tests of the web page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import CHROMIUM, Broken, Gate, report, some_emoji, watched
from served import Reversed, serving

RANKING = '{"text": "3: the one that is asked for\\n{\\"ranking\\": [3, 1, 2]}"}\n'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium. For one module: while it is open an event loop runs in the main thread, and other tests start theirs there."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the web page is not tested")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the web page is not tested")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service over emoji and a report: its address, its collections, and the reranker that waits to be let go."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "script.jsonl").write_text(RANKING, encoding="utf-8")
    collections = (some_emoji(folder), report(folder))
    gate = Gate()
    rerankers = {"reversed": Reversed(), "slow": gate, "broken": Broken(), "square": "square(depth=9)"}
    with serving(collections=collections, rerankers=rerankers, backend=f"scripted/{folder}/script.jsonl") as address:
        yield SimpleNamespace(address=address, emoji=collections[0], report=collections[1], gate=gate)
        gate.open.set()


@pytest.fixture
def page(browser: Any, site: SimpleNamespace) -> Iterator[Any]:
    """A page of the service, to be sent to an address of it."""
    with watched(browser, base_url=site.address) as opened:
        yield opened


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """The picture of a woman firefighter, as a file."""
    import pyarrow.parquet as pq

    from mmrerank.demo import shipped

    table = pq.read_table(shipped("emoji/pictures.parquet"), columns=["key", "image"]).to_pylist()
    file = tmp_path / "dropped.png"
    file.write_bytes(next(row["image"] for row in table if row["key"] == "woman-firefighter"))
    return file
