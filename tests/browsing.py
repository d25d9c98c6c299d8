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
CONTRASTS = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const opacity = (element) => {
    let all = 1;
    for (let at = element; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  const contrast = (element, colour) => {
    const under = ground(element);
    const [r, g, b, a] = rgba(colour);
    const share = (a / 255) * opacity(element);
    const seen = [r, g, b].map((part, n) => share * part + (1 - share) * under[n]);
    const [high, low] = [light(seen), light(under)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const hides = ":disabled, .hidden-text, option";  // what is off needs no contrast; options are drawn by the system
  const sees = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest(hides);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (words && sees(element)) found.push([words, contrast(element, getComputedStyle(element).color)]);
  }
  for (const field of document.querySelectorAll("input, select")) {
    const words = field.value || field.placeholder;
    if (!words || Number(getComputedStyle(field).opacity) === 0 || !sees(field)) continue;
    found.push([words, contrast(field, getComputedStyle(field, field.value ? null : "::placeholder").color)]);
  }
  return found;
}
"""
LEAST_CONTRAST = 4.5  # of text, WCAG 2.2, 1.4.3


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


def faint(page: Any) -> list[tuple[str, float]]:
    """The words in sight that do not stand out from their ground, each with its contrast; AssertionError where there are hardly any."""
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 8
    return [(words, round(value, 2)) for words, value in contrasts if value < LEAST_CONTRAST]
