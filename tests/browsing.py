"""The web page in a real Chromium: a browser that watches, and collections of what ships for it to look at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from served import Reversed

from mmrerank.collection import Collection
from mmrerank.demo import shipped
from mmrerank.errors import BackendError
from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt

CHROMIUM = shutil.which("chromium")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


def some_emoji(folder: Path) -> Path:
    """A collection of pictures of three roles and a few cats, searched by the embedded CLIP."""
    table = pq.read_table(shipped("emoji/pictures.parquet"))
    people = pc.is_in(table["role"], pa.array(["firefighter", "farmer", "pilot"]))
    wanted = pc.or_kleene(people, pc.match_substring(table["key"], "cat-"))
    pq.write_table(table.filter(wanted), folder / "pictures.parquet")
    collection = Collection.create(folder / "emoji", encoders=["openclip/mini"])
    collection.add([folder / "pictures.parquet"])
    return collection.path


def report(folder: Path) -> Path:
    """A collection of the pages of one shipped PDF, searched by their words."""
    collection = Collection.create(folder / "report")
    collection.add([shipped("handbook/harbour-station-annual-report.pdf")])
    return collection.path


@dataclass
class Gate(Reversed):
    """Turns the order round once it is let go."""

    name: str = "slow"
    open: threading.Event = field(default_factory=threading.Event)

    def rerank(self, query: Any, candidates: Any) -> Any:
        assert self.open.wait(20), "nobody let it go"
        return super().rerank(query, candidates)


class Broken(Reversed):
    """A reranker whose model is not there."""

    def rerank(self, query: Any, candidates: Any) -> Any:
        raise BackendError("the model at http://127.0.0.1:1 does not answer", hint="Start it.", retryable=True)


class Speaker:
    """A backend that writes an answer word by word, each when it is let."""

    name = "speaker"

    def __init__(self, answer: str) -> None:
        self.words = answer.split(" ")
        self.may_end = threading.Event()

    def stream(self, prompt: Prompt, decoding: Decoding, on_text: Any) -> Generated:
        for n, word in enumerate(self.words):
            if n == len(self.words) - 1:
                assert self.may_end.wait(20), "nobody let it end"
            on_text(word if n == 0 else f" {word}")
        return Generated(text=" ".join(self.words), cost=Cost(calls=1, generated_tokens=len(self.words)))

    def generate(self, prompts: Any, decoding: Decoding | None = None) -> list[Generated]:
        raise AssertionError("an answer that somebody watches is streamed")

    def choice_logprobs(self, prompts: Any, choices: Any) -> ChoiceScores:
        raise AssertionError("nothing is chosen here")


@contextmanager
def watched(browser: Any, *, complains: str = "", **options: Any) -> Iterator[Any]:
    """A page in a window of its own. Afterwards: no error in its console, nothing refused by its policy, and no other host asked.

    Its policy forbids to evaluate text, so `wait_for_function` takes functions, which Playwright reads once, and no expressions.

    Args:
        complains: what the console may say, where a test makes a request fail.
    """
    context = browser.new_context(**{"viewport": DESK, **options})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(30_000)
    said: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]) if request.url.startswith("http") else None)
    try:
        yield page
        assert [text for text in said if not complains or complains not in text] == []
        assert page.evaluate("window.violations") == []
        assert hosts == {"127.0.0.1"}
    finally:
        context.close()
