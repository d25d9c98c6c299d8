"""What it saves not to run over the beginnings of prompts again, beside the same calls with nothing kept.

Which cost dominates: without reuse the pass over what candidates show, which grows with their tokens; with it the pass over the query
behind them, the copy of their keys and values into a batch, and templates and tokenizer in Python. So the gain is the larger the longer
a candidate is beside the query. A page adds what decoding it and bringing it to size costs; that is spent on a miss only, on a hit the
hash of its file remains, once.

    python tests/bench/bench_prefixes.py                                  emoji and cards of them with `mini`, pages
    python tests/bench/bench_prefixes.py --text-model .models/SmolLM2     passages with a real small language model too

Rounds are paired, ways in turn; times are of the CPU, since other work may share the cores, ratios of medians of the pairs. What was timed
is checked: log-odds of both ways are equal to 1e-4, and so are the orders. `filled` is the first call of a store, `disk` one of a
process that has the folder and an empty memory. Floor: tokens of the query's part to all.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers
from measuring import processor_name
from PIL import Image, ImageDraw, ImageFont

from mmrerank.backends import local, mini
from mmrerank.demo import DATASETS
from mmrerank.prompting.items import MAX_PIXELS, open_within
from mmrerank.readers import BytesPicture, FilePicture
from mmrerank.rerankers import ragllava
from mmrerank.types import Candidate, Cost, Item, Message, Prompt, Query, Ranking

CANDIDATES = 100
PARTS = ("emoji", "cards", "choices", "pages", "texts")
EQUAL = 1e-4
QUERIES = ("which one can fly?", "somebody with grey hair", "what is worn on the head?", "a vehicle with two wheels", "something to eat")
TEXT = (
    "the old harbour station was built near a river and its keeper wrote of storms tides ships lamps oil and letters that came late "
    "while others measured waves by night with a buoy whose bell could be heard as far as the village on the hill"
)
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What one way came to."""

    cpu_s: float
    scores: dict[str, float]
    cost: Cost


def timed(work: Callable[[], tuple[dict[str, float], Cost]]) -> Timed:
    start = time.process_time()
    scores, cost = work()
    return Timed(cpu_s=time.process_time() - start, scores=scores, cost=cost)


def of_ranking(ranking: Ranking) -> tuple[dict[str, float], Cost]:
    return {one.item.item_id: float(one.raw_score or 0.0) for one in ranking.candidates}, ranking.notes.cost


def check(plain: Timed, other: Timed) -> None:
    """Both ways say the same."""
    assert plain.scores.keys() == other.scores.keys()
    gap = max(abs(plain.scores[name] - other.scores[name]) for name in plain.scores)
    assert gap < EQUAL, f"log-odds differ by {gap}"


def rounds_of(
    build: Callable[..., Any], ask: Callable[[Any, str], tuple[dict[str, float], Cost]], queries: Sequence[str]
) -> dict[str, Any]:
    """CPU seconds of every way, and what was kept; the first query warms up and fills."""
    with tempfile.TemporaryDirectory() as folder:
        plain, filled, warm = build(prefix_bytes=0), build(), build(prefix_folder=folder)
        seconds: dict[str, list[float]] = {"plain": [], "filled": [], "warm": [], "disk": []}
        ask(plain, "a word to begin with")
        ask(warm, "a word to begin with")
        figures: dict[str, Any] = {}
        for n, query in enumerate(queries):
            ways = {"plain": plain, "warm": warm, "disk": build(prefix_folder=folder)} | ({"filled": filled} if n == 0 else {})
            times = {name: timed(partial(ask, backend, query)) for name, backend in ways.items()}
            for name, one in times.items():
                check(times["plain"], one)
                seconds[name].append(one.cpu_s)
            figures = {"reused": times["warm"].cost.reused_tokens, "tokens": times["warm"].cost.prompt_tokens}
        store = warm._choose.store
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))
    figures |= {"bytes": store.n_bytes // len(store), "disk_bytes": disk // len(store)}
    pairs = {name: [other / base for other, base in zip(values, seconds["plain"], strict=False)] for name, values in seconds.items()}
    return figures | {"seconds": {name: statistics.median(values) for name, values in seconds.items()}, "pairs": pairs}


def report(name: str, figures: dict[str, Any], count: int = CANDIDATES) -> dict[str, Any]:
    seconds, pairs = figures["seconds"], figures["pairs"]
    floor = 1 - figures["reused"] / figures["tokens"]
    print(f"{name}: {figures['tokens'] / count:.0f} tokens a prompt, {figures['reused'] / count:.0f} of them at hand")
    print(f"  plain                  {seconds['plain'] * 1000:8.0f} ms of CPU for {count}")
    for way in ("filled", "warm", "disk"):
        low, high = min(pairs[way]), max(pairs[way])
        print(f"  {way:10s}{seconds[way] * 1000:20.0f} ms   {statistics.median(pairs[way]):.3f} of plain [{low:.3f}, {high:.3f}]")
    sizes = f"{figures['bytes'] / 1000:.0f} kB a candidate in memory, {figures['disk_bytes'] / 1000:.0f} kB on disk"
    print(f"  {sizes}; floor by tokens {floor:.3f}", flush=True)
    ratios = {way: statistics.median(pairs[way]) for way in ("filled", "warm", "disk")}
    return {"name": name, **ratios, "floor": floor, "bytes": figures["bytes"], "seconds": seconds}


# pictures -------------------------------------------------------------


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def emoji(count: int) -> list[tuple[str, bytes]]:
    table = pq.read_table(DATASETS / "emoji" / "pictures.parquet", columns=["text", "image"])
    step = table.num_rows // count
    rows = table.take(list(range(0, step * count, step))).to_pylist()
    return [(row["text"], row["image"]) for row in rows]


def card(name: str, picture: bytes, side_px: int) -> bytes:
    """A page with the emoji on it and its name below."""
    page = Image.new("RGB", (side_px, side_px * 9 // 8), "white")
    page.paste(Image.open(io.BytesIO(picture)).convert("RGB").resize((side_px * 3 // 4,) * 2), (side_px // 8, side_px // 16))
    ImageDraw.Draw(page).text((side_px // 16, side_px), name[:40], fill="black", font=ImageFont.load_default(side_px // 20))
    return png(page)


def pictures(side_px: int | None) -> list[Candidate]:
    """Emoji as they ship, or on cards of that side."""
    shown = [(name, picture if side_px is None else card(name, picture, side_px)) for name, picture in emoji(CANDIDATES)]
    return [Candidate(item=Item(item_id=f"{n}", image=BytesPicture(data=picture), text=name)) for n, (name, picture) in enumerate(shown)]


def by_pictures(side_px: int | None, queries: Sequence[str]) -> dict[str, Any]:
    candidates = pictures(side_px)

    def ask(backend: Any, query: str) -> tuple[dict[str, float], Cost]:
        return of_ranking(ragllava.build(ragllava.Options(), backend).rerank(Query(text=query), candidates))

    return rounds_of(lambda **options: mini.build(mini.Options(device="cpu", **options)), ask, queries)


def page_costs() -> dict[str, float]:
    """Milliseconds of a page of 1240 x 1754 px until a model could look at it, and until it is known by its content."""
    noise = np.random.default_rng(0).integers(0, 255, (220, 155, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.png" for n in range(8)]
        for n, path in enumerate(paths):
            Image.fromarray(np.roll(noise, n, axis=0)).resize((1240, 1754), Image.Resampling.BICUBIC).save(path)
        handles = [FilePicture(path=path) for path in paths]
        steps: dict[str, Callable[[Any], Any]] = {
            "opened and brought to size": lambda handle: open_within(handle, MAX_PIXELS),
            "known by its content, first": lambda handle: handle.content_key(),
            "known by its content, again": lambda handle: handle.content_key(),
        }
        costs = {}
        for name, step in steps.items():
            start = time.process_time()
            for handle in handles:
                step(handle)
            costs[name] = 1000 * (time.process_time() - start) / len(handles)
    for name, milliseconds in costs.items():
        print(f"  a page of 1240 x 1754 px, {name}: {milliseconds:.2f} ms")
    return costs


# texts ----------------------------------------------------------------


def passages(words: int, count: int) -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(WORDS, k=words)) for _ in range(count)]


def scored(backend: Any, prompts: Sequence[Prompt], choices: Sequence[str] = ("Yes", "No")) -> tuple[dict[str, float], Cost]:
    scores = backend.choice_logprobs(prompts, choices)
    odds = (scores.logprobs[:, 0] - scores.logprobs[:, 1]).tolist()
    return {f"{n}": value for n, value in enumerate(odds)}, scores.cost


def by_texts(model: Path, queries: Sequence[str], count: int) -> dict[str, Any]:
    """Passages of about 100 tokens, the query of about 16 behind them."""
    shown = passages(82, count)

    def ask(backend: Any, query: str) -> tuple[dict[str, float], Cost]:
        raw = [(Message(role="raw", parts=(f"Passage: {text}\nQuestion: {query}\nAnswered (Yes or No):",)),) for text in shown]
        return scored(backend, raw)

    def build(**options: Any) -> local.Local:
        return local.build(local.Options(model=str(model), precision="fp32", device="cpu", **options))

    return rounds_of(build, ask, queries)


def shared_beginning(model: Path, count: int) -> dict[str, float]:
    """A request of some 68 tokens before passages, query behind it: nothing was kept before the call."""
    request = " ".join(random.Random(1).choices(WORDS, k=58))
    prompts = [(Message(role="raw", parts=(f"{request}\nPassage: {text}\nAnswered:",)),) for text in passages(85, count)]
    times: dict[str, Timed] = {}
    for name, options in (("plain", {"prefix_bytes": 0}), ("shared", {})):
        backend = local.build(local.Options(model=str(model), precision="fp32", device="cpu", **options))
        backend.choice_logprobs(
            [(Message(role="raw", parts=("a prompt of a dozen tokens or so, to begin with, and some more",)),)], ["Yes"]
        )
        times[name] = timed(partial(scored, backend, prompts))
    check(times["plain"], times["shared"])
    ratio = times["shared"].cpu_s / times["plain"].cpu_s
    print(f"a beginning that {count} prompts share, {times['shared'].cost.reused_tokens} of {times['shared'].cost.prompt_tokens} tokens")
    print(f"  shared {times['shared'].cpu_s:.1f} s beside {times['plain'].cpu_s:.1f} s: {ratio:.3f} of plain, {1 / ratio:.2f} x")
    return {"shared_beginning": ratio}


def several_tokens(repeats: int) -> dict[str, float]:
    """Two choices of several tokens behind the prompt's keys and values, beside a pass over prompt and choice each, as it was."""
    backend = mini.build(mini.Options(device="cpu", prefix_bytes=0))
    reranker = ragllava.build(ragllava.Options(), backend)
    prompts = [reranker.prompt_for(Query(text=QUERIES[0]), candidate) for candidate in pictures(432)[:24]]
    choices = ("Yes, it helps with that", "No, it does not help")
    ids = [backend._prepare.ids_of(choice) for choice in choices]
    backend.choice_logprobs(prompts[:1], choices)
    ratios = []
    for _ in range(repeats):
        both = timed(lambda: scored(backend, prompts, choices))
        size, backend._choose._token_bytes = backend._choose._token_bytes, 0
        again = timed(lambda: scored(backend, prompts, choices))
        backend._choose._token_bytes = size
        check(again, both)
        ratios.append(both.cpu_s / again.cpu_s)
    ratio = statistics.median(ratios)
    print(f"two choices of {' and '.join(str(len(one)) for one in ids)} tokens, {len(prompts)} cards: {ratio:.3f} of a pass for each")
    return {"several_tokens": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--passages", type=int, default=CANDIDATES)
    parser.add_argument("--text-model", type=Path, help="folder of a causal language model; without it texts are left out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    queries = (QUERIES * (1 + arguments.rounds // len(QUERIES)))[: arguments.rounds]
    queries = [f"{query} ({n})" if n >= len(QUERIES) else query for n, query in enumerate(queries)]
    print(f"{processor_name()}, {os.cpu_count()} cores, 1 thread used; Python {platform.python_version()}")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {len(queries)} rounds, {CANDIDATES} candidates")
    runs: list[dict[str, Any]] = []
    extra: dict[str, float] = {}
    if "emoji" in arguments.parts:
        runs.append(report("emoji as they ship", by_pictures(None, queries)))
    if "cards" in arguments.parts:
        runs.append(report("emoji on cards of 432 px", by_pictures(432, queries)))
    if "choices" in arguments.parts:
        extra |= several_tokens(len(queries))
    if "pages" in arguments.parts:
        extra |= {f"page, {name}, ms": value for name, value in page_costs().items()}
    if "texts" in arguments.parts and arguments.text_model is None:
        print("texts are left out: no --text-model")
    elif "texts" in arguments.parts:
        runs.append(report("passages", by_texts(arguments.text_model, queries[:2], arguments.passages), arguments.passages))
        extra |= shared_beginning(arguments.text_model, arguments.passages)
    print(json.dumps({"bench": "prefixes", "candidates": CANDIDATES, "runs": runs, **extra}))


if __name__ == "__main__":
    main()
