"""What it saves that the answers of reinforcement share the keys and values of their prompt: the embedded MLLM over cards of emoji.

What dominates: with short prompts the tokens of the answers, one after the other, which sharing leaves as they are; with long ones and many
answers the prompts, which go through once in place of once an answer. Drawn are answers of a fixed length to two prompts of `mm_r5`.

    python -m tools.mini_mllm.card_data --data datasets/emoji --out data/cards
    python -m tests.bench.bench_shared_prompts --data data/cards

Baseline: the same function over prompts that are repeated, an answer each; that both draw the same tokens is checked. One warm-up, CPU
seconds of one thread, median and range of the repeats. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmrerank.parts import make
from mmrerank.training.collate import request_of
from mmrerank.training.data import read_groups
from mmrerank.training.recipe import Source
from mmrerank.training.sampling import Draws, draw_answers
from mmrerank.types import Prompt

NO_END = -1


def prompts_of(data: Path, cards: int, count: int, backend: Any) -> list[Prompt]:
    """What `mm_r5` asks about so many cards."""
    options = {"collection": "collection", "judgements": "dev.csv", "retriever": "lexical", "depth": cards}
    groups = [one for one in read_groups(Source(layout="collection", options=options), data, data).groups if len(one.candidates) == cards]
    reranker = f"mm_r5(window={cards}, step={cards})"
    return [request_of(reranker, one.query, one.candidates, backend).prompts[0] for one in groups[:count]]


def timed(backend: Any, prompts: Sequence[Prompt], count: int, tokens: int, repeats: int) -> tuple[Draws, list[float]]:
    """The answers, and the CPU seconds of each repeat, pictures read anew."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.process_time()
        torch.manual_seed(0)
        draws = draw_answers(backend.network, backend.inputs(prompts), count=count, temperature=1.0, max_tokens=tokens, end=NO_END)
        seconds.append(time.process_time() - start)
    return draws, seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers that share their prompt.")
    parser.add_argument("--data", type=Path, required=True, help="folder of tools.mini_mllm.card_data")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backend = make("mini(device=cpu)", station="backends")
    backend.network.eval()
    rows = []
    for cards, count in ((5, 4), (20, 4), (20, 8)):
        prompts = prompts_of(options.data, cards, 2, backend)
        shared, seconds = timed(backend, prompts, count, options.tokens, options.repeats)
        alone, baseline = timed(backend, [one for one in prompts for _ in range(count)], 1, options.tokens, options.repeats)
        assert shared.tokens == alone.tokens, "sharing changes what is drawn"
        row = {"cards": cards, "prompt_tokens": backend.count_tokens(prompts), "answers": count}
        for name, values in (("shared", seconds), ("an answer each", baseline)):
            row[name] = [round(value, 2) for value in (statistics.median(values), min(values), max(values))]
        rows.append(row | {"share": round(statistics.median(seconds) / statistics.median(baseline), 2)})
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"torch": torch.__version__, "threads": 1, "answer_tokens": options.tokens, "rows": rows}))


if __name__ == "__main__":
    main()
