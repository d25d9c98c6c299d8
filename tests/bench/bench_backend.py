"""What asking a local MLLM costs beside the model itself: batching, and our overhead around processor and forward pass.

On a CPU with a tiny model everything around the forward pass shows; with a real one it vanishes behind it. The picture's way to
patches (resize, normalise) is the processor's and counts as the floor, not as ours. Baselines: one call a candidate, as the
released RagLLaVA does; and the bare processor and model over the same batches. Rounds are paired, with the order turned
each time; ratios are medians of the pairs. CPU time says the same of the overhead where other work shares the cores.

    python tests/bench/bench_backend.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from measuring import processor_name
from PIL import Image

from mmrerank.backends._tiny import save_tiny
from mmrerank.backends.local import Local, Options, build
from mmrerank.rerankers import ragllava
from mmrerank.types import Candidate, Item, Prompt, Query

CANDIDATES = 100
CHOICES = ("Yes", "No")


class Held:
    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture

    def open(self) -> Image.Image:
        return self.picture


def candidates(side_px: int) -> list[Candidate]:
    generator = np.random.default_rng(0)
    pictures = [Image.fromarray(generator.integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)) for _ in range(CANDIDATES)]
    return [Candidate(item=Item(item_id=f"{n}", image=Held(picture), text=f"caption number {n}")) for n, picture in enumerate(pictures)]


@dataclass(frozen=True, kw_only=True)
class Round:
    """Wall and CPU seconds of each way over the same prompts, right after one another."""

    wall: dict[str, float]
    cpu: dict[str, float]


class Bare:
    """Processor and forward pass over the same batches, and nothing else: the floor. Templates are written before."""

    def __init__(self, backend: Local, prompts: list[Prompt]) -> None:
        self.processor, self.model = backend._prepare._processor, backend._model
        self.ids = [backend._prepare.ids_of(choice)[0] for choice in CHOICES]
        self.batches = backend._budget.batches(backend._prepare.extents(prompts), backend._batch_size)
        self.texts = [backend._prepare.text(prompt) for prompt in prompts]
        self.pictures = [[part for message in prompt for part in message.parts if not isinstance(part, str)] for prompt in prompts]

    def processed(self, batch: list[int]) -> Any:
        shown = [picture for n in batch for picture in self.pictures[n]]
        return self.processor(text=[self.texts[n] for n in batch], images=shown, padding=True, return_tensors="pt")

    def answered(self, inputs: Iterable[Any]) -> Any:
        """Rows of all prompts from the inputs of each batch, one batch in memory at a time where they come one by one."""
        rows = np.empty((len(self.texts), len(self.ids)))
        with torch.inference_mode():
            for batch, given in zip(self.batches, inputs, strict=True):
                rows[batch] = self.model(**given, logits_to_keep=1).logits[:, -1].float().log_softmax(-1)[:, self.ids].numpy()
        return rows

    def each(self) -> Iterator[Any]:
        return (self.processed(batch) for batch in self.batches)


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds of all threads, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def one_round(ways: dict[str, Callable[[], Any]], number: int) -> tuple[Round, dict[str, Any]]:
    """Every way once, in turning order, so that none always runs with warmer caches."""
    found = {name: timed(ways[name]) for name in (list(ways) if number % 2 else reversed(ways))}
    wall, cpu = ({name: figures[n] for name, figures in found.items()} for n in (0, 1))
    return Round(wall=wall, cpu=cpu), {name: figures[2] for name, figures in found.items()}


def ratio(rounds: list[Round], above: str, below: str, clock: str = "wall") -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two ways, paired by round."""
    found = [getattr(one, clock)[above] / getattr(one, clock)[below] for one in rounds]
    low, median, high = statistics.quantiles(found, n=4)
    return median, low, high


def measure(side_px: int, count: int) -> tuple[list[Round], int]:
    """The rounds after a warm one, each checked, and in how many batches the prompts went."""
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), "qwen2_5_vl", seed=0)
        backend = build(Options(model=folder, device="cpu", prefix_bytes=0))  # what is kept of earlier rounds is no part of this
    given, query = candidates(side_px), Query(text="which caption is it?")
    reranker = ragllava.build(ragllava.Options(), backend)
    prompts = [reranker.prompt_for(query, candidate) for candidate in given]
    bare = Bare(backend, prompts)
    inputs = list(bare.each())
    ways: dict[str, Callable[[], Any]] = {
        "alone": lambda: np.concatenate([backend.choice_logprobs([prompt], CHOICES).logprobs for prompt in prompts]),
        "backend": lambda: backend.choice_logprobs(prompts, CHOICES).logprobs,
        "bare": lambda: bare.answered(bare.each()),
        "processor": lambda: [None for _ in bare.each()],
        "model": lambda: bare.answered(inputs),
        "ragllava": lambda: reranker.rerank(query, given),
    }
    rounds = []
    for number in range(count + 1):
        one, found = one_round(ways, number)
        for name in ("alone", "backend", "model"):
            assert np.abs(found[name] - found["bare"]).max() < 1e-4, "what was timed must be right"
        assert found["ragllava"].notes.cost.calls == CANDIDATES
        rounds += [one] if number else []  # the first round warms up
    return rounds, len(bare.batches)


def report(rounds: list[Round], side_px: int, batches: int) -> dict[str, Any]:
    """Prints what was measured and returns it."""
    ms = {name: 1000 * statistics.median(one.wall[name] for one in rounds) for name in rounds[0].wall}
    quick, quick_cpu, quick_whole = (
        ratio(rounds, *pair) for pair in (("alone", "backend"), ("alone", "backend", "cpu"), ("alone", "ragllava"))
    )
    over, over_cpu, over_whole = (ratio(rounds, *pair) for pair in (("backend", "bare"), ("backend", "bare", "cpu"), ("ragllava", "bare")))
    print(f"{processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, transformers {transformers.__version__}")
    print(f"tiny Qwen2.5-VL, {CANDIDATES} candidates of {side_px} px in {batches} batches, {len(rounds)} rounds, medians [quartiles]")
    print(f"  one call a candidate             {ms['alone']:8.0f} ms")
    print(f"  backend.choice_logprobs          {ms['backend']:8.0f} ms   {times(quick)} faster, {times(quick_cpu)} of CPU time (goal 3)")
    print(f"  ragllava over all                {ms['ragllava']:8.0f} ms   {times(quick_whole)} faster")
    print(f"  bare processor and model         {ms['bare']:8.0f} ms   the floor")
    print(f"    processor                      {ms['processor']:8.0f} ms   {ms['processor'] / ms['backend']:.0%} of the backend's time")
    print(f"    model                          {ms['model']:8.0f} ms   {ms['model'] / ms['backend']:.0%}")
    print(f"  backend over the floor: {share(over)} by the clock, {share(over_cpu)} of CPU time (goal under 15 %)")
    print(f"  ragllava over the floor: {share(over_whole)} by the clock")
    ratios = {"speedup": quick, "speedup_cpu": quick_cpu, "reranker_speedup": quick_whole}
    shares = {"overhead": over, "overhead_cpu": over_cpu, "reranker_overhead": over_whole}
    medians = {name: found[0] for name, found in ratios.items()} | {name: found[0] - 1 for name, found in shares.items()}
    return {"bench": "backend", "side_px": side_px, **medians, **{f"{name}_ms": value for name, value in ms.items()}}


def times(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.1f} x [{found[1]:.1f}, {found[2]:.1f}]"


def share(found: tuple[float, float, float]) -> str:
    return f"{found[0] - 1:+.1%} [{found[1] - 1:+.1%}, {found[2] - 1:+.1%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, default=112, help="of each picture, in pixels")
    arguments = parser.parse_args()
    rounds, batches = measure(arguments.side, arguments.rounds)
    print(json.dumps(report(rounds, arguments.side, batches)))


if __name__ == "__main__":
    main()
