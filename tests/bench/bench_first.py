"""What one forward pass a window costs beside writing out the order of the same window, with the same model and the same prompt.

Both ways read the prompt once; the written order then takes one pass a token, some four tokens a candidate. So the longer the candidates,
the less is won: a processor reads a prompt of short captions in the time of a few tokens, and a prompt of long passages in the time of
many. On a GPU reading is cheap throughout. An untrained model ends its answer where it likes; its end tokens are taken away here, so that
it writes as many tokens as the order of the window has, and not one more. Rounds are paired; ratios are medians of the pairs. Processor
time says the same where other work shares the cores.

    python tests/bench/bench_first.py                                        # mini over shipped emoji, as pictures and as names
    python tests/bench/bench_first.py --model .models/smollm2 --words 8 60   # a real language model; names, and longer texts of them
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from measuring import processor_name
from PIL import Image

from mmrerank.backends import local, mini
from mmrerank.demo import DATASETS
from mmrerank.prompting.items import exhibit
from mmrerank.prompting.listings import marks
from mmrerank.rerankers.first import BEGUN, First, Options, build
from mmrerank.testing.samples import InMemory
from mmrerank.types import Candidate, Decoding, Item, Message, Query

QUERY = Query(query_id="q", text="a person who fights fires")


def candidates(count: int, words: int, side_px: int) -> list[Candidate]:
    """Emoji as pictures where `side_px` is above 0, else texts of so many words made of their names."""
    table = pq.read_table(DATASETS / "emoji" / "pictures.parquet", columns=["key", "image"]).slice(0, count * 60).to_pylist()
    rows = table[:: len(table) // count][:count]
    names = [word for row in table for word in row["key"].split("-")]
    if side_px:
        pictures = [Image.open(io.BytesIO(row["image"])).convert("RGBA").convert("RGB").resize((side_px, side_px)) for row in rows]
        return [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture))) for n, picture in enumerate(pictures)]
    return [Candidate(item=Item(item_id=f"{n}", text=" ".join(names[n * words : (n + 1) * words]))) for n in range(count)]


def tokens_of_the_order(backend: local.Local, window: int) -> int:
    """How many tokens the whole order of a window is."""
    order = " > ".join(f"[{mark}]" for mark in marks(window, "letters"))
    without, whole = ((Message(role="assistant", parts=(begun,)),) for begun in ("[", order))
    question = (Message(role="user", parts=("Order.",)),)
    counts = backend.count_tokens([(*question, *without), (*question, *whole)])
    return counts[1] - counts[0] + 1


def measure(reranker: First, backend: local.Local, pool: list[Candidate], repeats: int) -> dict[str, Any]:
    """Seconds of both ways in turn, after a warm-up, with the answer of the quick one checked against the logits themselves."""
    pages = [exhibit(candidate.item, QUERY.text or "", "auto", words=300) for candidate in pool]
    prompt, names = reranker.prompt_for(QUERY, pages), marks(len(pages), "letters")
    length = tokens_of_the_order(backend, len(pages))
    seconds: dict[str, list[float]] = {"one position": [], "written out": []}
    work: dict[str, list[float]] = {"one position": [], "written out": []}
    for repeat in range(repeats + 1):
        start = time.perf_counter(), time.process_time()
        ranking = reranker.rerank(QUERY, pool)
        middle = time.perf_counter(), time.process_time()
        (answer,) = backend.generate([prompt], Decoding(max_tokens=length))
        end = time.perf_counter(), time.process_time()
        assert answer.cost.generated_tokens == length, "the order is written to its end"
        if repeat:
            for times, clock in ((seconds, 0), (work, 1)):
                times["one position"].append(middle[clock] - start[clock])
                times["written out"].append(end[clock] - middle[clock])
    logits = backend.choice_logprobs([(*prompt, BEGUN)], names).logprobs[0]
    order = tuple(pool[n].item.item_id for n in np.argsort(-logits, kind="stable"))
    assert ranking.item_ids == order, "the order is that of the logits"
    assert ranking.notes.cost.calls == 1
    of_work = [slow / quick for quick, slow in zip(work["one position"], work["written out"], strict=True)]
    ratios = [slow / quick for quick, slow in zip(seconds["one position"], seconds["written out"], strict=True)]
    return {
        "prompt_tokens": ranking.notes.cost.prompt_tokens,
        "order_tokens": length,
        "one_position_s": statistics.median(seconds["one position"]),
        "written_out_s": statistics.median(seconds["written out"]),
        "times": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "times_in_processor_time": statistics.median(of_work),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of a checkpoint; the embedded model where none is named")
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--words", type=int, nargs="*", default=[8], help="words a candidate, a row each")
    parser.add_argument("--side-px", type=int, default=56, help="of the pictures of the embedded model")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    backend = local.build(local.Options(model=options.model, device="cpu")) if options.model else mini.build(mini.Options(device="cpu"))
    backend._prepare.ends = frozenset()  # an untrained model would end its answer somewhere
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy"))
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{processor_name()}, {os.cpu_count()} cores, {threads} threads; Python {platform.python_version()}, {libraries}")
    print(f"{options.model or 'mini'}, windows of {options.window}, {options.repeats} paired rounds after a warm one")
    print(f"{'candidates':>16} {'prompt':>7} {'order':>6} {'one position':>13} {'written out':>12}   times cheaper")
    reranker = build(Options(window=options.window, step=options.window), backend)
    cases = {f"{words} words": candidates(options.window, words, 0) for words in options.words}
    if not options.model:
        cases = {f"pictures {options.side_px} px": candidates(options.window, 0, options.side_px), **cases}
    results = {}
    for name, pool in cases.items():
        results[name] = row = measure(reranker, backend, pool, options.repeats)
        print(
            f"{name:>16} {row['prompt_tokens']:>7} {row['order_tokens']:>6} {row['one_position_s']:>12.2f}s {row['written_out_s']:>11.2f}s"
            f"   {row['times']:.1f} ({row['least']:.1f} to {row['most']:.1f}; {row['times_in_processor_time']:.1f} in processor time)",
            flush=True,
        )
    print(json.dumps({"bench": "first", "model": options.model or "mini", "window": options.window, "results": results}))


if __name__ == "__main__":
    main()
