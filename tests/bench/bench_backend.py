"""What asking a local MLLM costs beside the model itself: batching, and our overhead around processor and forward pass.

On a CPU with a tiny model everything around the forward pass shows; with a real one it vanishes behind it. The picture's way to
patches (resize, normalise) is the processor's and counts as the floor, not as ours. Baselines: one call a candidate, as the
released RagLLaVA does; and the bare processor and model over the same batches. Rounds are paired, ratios are medians.

    python tests/bench/bench_backend.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from mmrerank.backends._tiny import save_tiny
from mmrerank.backends.local import Local, Options, build
from mmrerank.rerankers import ragllava
from mmrerank.types import Candidate, Item, Prompt, Query

CANDIDATES = 100


class Held:
    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture

    def open(self) -> Image.Image:
        return self.picture


def candidates(side_px: int) -> list[Candidate]:
    generator = np.random.default_rng(0)
    pictures = [Image.fromarray(generator.integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)) for _ in range(CANDIDATES)]
    return [Candidate(item=Item(item_id=f"{n}", image=Held(picture), text=f"caption number {n}")) for n, picture in enumerate(pictures)]


def bare(backend: Local, prompts: list[Prompt]) -> Any:
    """Processor and forward pass over the same batches, and nothing else."""
    processor, model = backend._prepare._processor, backend._model
    ids = [backend._prepare.ids_of(choice)[0] for choice in ("Yes", "No")]
    texts = [backend._prepare._template(prompt) for prompt in prompts]
    pictures = [[part for message in prompt for part in message.parts if not isinstance(part, str)] for prompt in prompts]
    batches, rows = backend._batches(prompts, backend._batch_size), np.empty((len(prompts), 2))
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            shown = [picture for n in batch for picture in pictures[n]]
            inputs = processor(text=[texts[n] for n in batch], images=shown, padding=True, return_tensors="pt")
            rows[batch] = model(**inputs, logits_to_keep=1).logits[:, -1].float().log_softmax(-1)[:, ids].numpy()
    return time.perf_counter() - start, rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=112, help="of each picture, in pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), "qwen2_5_vl", seed=0)
        backend = build(Options(model=folder, device="cpu"))
    given, query = candidates(arguments.side), Query(text="which caption is it?")
    reranker = ragllava.build(ragllava.Options(), backend)
    prompts = [reranker.prompt_for(query, candidate) for candidate in given]
    rounds = []
    for number in range(arguments.rounds + 1):
        alone_s, single = timed(lambda: [backend.choice_logprobs([prompt], ("Yes", "No")).logprobs for prompt in prompts])
        batched_s, scores = timed(lambda: backend.choice_logprobs(prompts, ("Yes", "No")).logprobs)
        bare_s, floor = bare(backend, prompts)
        whole_s, ranking = timed(lambda: reranker.rerank(query, given))
        assert np.abs(scores - floor).max() < 1e-4, "what was timed must be right"
        assert np.abs(np.concatenate(single) - floor).max() < 1e-4
        assert ranking.notes.cost.calls == CANDIDATES
        if number:  # the first round warms up
            rounds.append((alone_s, batched_s, bare_s, whole_s))
    alone, batched, floor_s, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
    speedup = statistics.median(a / w for a, _, _, w in rounds)
    overhead = statistics.median(b / f - 1 for _, b, f, _ in rounds)
    of_reranker = statistics.median(w / f - 1 for _, _, f, w in rounds)
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, transformers {transformers.__version__}")
    batches = len(backend._batches(prompts, backend._batch_size))
    print(f"tiny Qwen2.5-VL, {CANDIDATES} candidates of {arguments.side} px in {batches} batches, {len(rounds)} rounds, medians")
    print(f"  one call a candidate             {alone * 1000:8.0f} ms")
    print(f"  ragllava over all, batched       {whole * 1000:8.0f} ms   {speedup:.1f} x faster than one call a candidate (goal 3)")
    print(f"  backend.choice_logprobs          {batched * 1000:8.0f} ms   {overhead:+.1%} over processor and model (goal under 15 %)")
    print(f"  bare processor and model         {floor_s * 1000:8.0f} ms   the floor; ragllava is {of_reranker:+.1%} over it")
    result = {"bench": "backend", "speedup": speedup, "overhead": overhead, "reranker_overhead": of_reranker, "bare_ms": floor_s * 1000}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
