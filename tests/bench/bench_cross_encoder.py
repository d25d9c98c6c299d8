"""Candidates a second of `ragllava` beside sentence-transformers' CrossEncoder with the same model, prompts and pictures.

Which cost dominates: on a CPU with the embedded model the forward pass, and beside it what brings pictures to patches. Both ways get
pictures that are open, ask for raw log-odds of Yes and No at the first position, and have to agree on them. Nothing is kept between the
rounds (`prefix_bytes=0`): a second query over the same candidates is another measurement, `bench_prefixes.py`.

    python tests/bench/bench_cross_encoder.py

One thread; ways in turn, ratios of rounds. Wanted: at least twice the candidates a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from importlib.metadata import version
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring import processor_name, taken  # noqa: E402
from PIL import Image  # noqa: E402

from mmrerank.backends import mini  # noqa: E402
from mmrerank.rerankers import ragllava  # noqa: E402
from mmrerank.testing.samples import InMemory  # noqa: E402
from mmrerank.types import Candidate, Item, Query  # noqa: E402

CANDIDATES = 100
AGREED = 5e-3  # of log-odds
QUERY = Query(text="somebody with grey hair")
SIDE = (
    "{% for message in messages if message['role'] == 'ROLE' %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endfor %}"
)


def candidates(side_px: int) -> list[Candidate]:
    """Pictures of random blocks."""
    generator = np.random.default_rng(0)
    blocks = [generator.integers(0, 255, (6, 6, 3), dtype=np.uint8) for _ in range(CANDIDATES)]
    shown = [Image.fromarray(block).resize((side_px, side_px), Image.Resampling.NEAREST) for block in blocks]
    return [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture))) for n, picture in enumerate(shown)]


def cross_encoder(text: str, words: str, yes: int, no: int) -> Any:
    """The embedded model as a CrossEncoder, whose template writes a prompt as `ragllava` does.

    Args:
        text: a whole prompt of `ragllava`, the picture as its placeholder.
        words: the query's, which stand in it once.
    """
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    before, rest = text.split("<|vision_start|><|image_pad|><|vision_end|>")
    between, after = rest.split(words)
    literal = [f"{{{{ {json.dumps(piece)} }}}}" for piece in (before, between, after)]
    template = literal[0] + SIDE.replace("ROLE", "document") + literal[1] + SIDE.replace("ROLE", "query") + literal[2]
    how = {"model_kwargs": {"dtype": torch.float32}, "processor_kwargs": {"chat_template": template}}
    transformer = Transformer(str(mini.FOLDER), transformer_task="any-to-any", **how)
    return CrossEncoder(modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)], device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=72, help="of each picture, in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backend, shown = mini.build(mini.Options(device="cpu", prefix_bytes=0)), candidates(arguments.side)
    reranker = ragllava.build(ragllava.Options(), backend)
    yes, no = (backend._prepare.ids_of(choice)[0] for choice in ragllava.CHOICES)
    theirs = cross_encoder(backend._prepare.text(reranker.prompt_for(QUERY, shown[0])), str(QUERY.text), yes, no)
    pairs = [(QUERY.text, {"image": one.item.image.open()}) for one in shown if one.item.image is not None]
    ways = {
        "ragllava": lambda: reranker.rerank(QUERY, shown),
        "CrossEncoder": lambda: theirs.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False),
    }
    scores = {one.item.item_id: float(one.raw_score or 0.0) for one in ways["ragllava"]().candidates}
    gap = max(abs(scores[one.item.item_id] - value) for one, value in zip(shown, ways["CrossEncoder"](), strict=True))
    assert gap < AGREED, f"the two ways differ by {gap}: they were put other questions"
    seconds = taken(ways, arguments.repeats)
    ratios = [their / our for our, their in zip(seconds["ragllava"], seconds["CrossEncoder"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    rates = {way: CANDIDATES / statistics.median(times) for way, times in seconds.items()}
    print(f"{processor_name()}, 1 thread; torch {torch.__version__}, sentence-transformers {version('sentence-transformers')}")
    print(f"{CANDIDATES} pictures of {arguments.side} px, `mini`, {arguments.repeats} rounds; log-odds differ by {gap:.1e}")
    print(f"  ragllava {rates['ragllava']:.0f} a second, CrossEncoder {rates['CrossEncoder']:.0f}: {ratio:.2f} x ({low:.2f} to {high:.2f})")
    print(json.dumps({"bench": "cross_encoder", "side_px": arguments.side, "a_second": rates, "ratio": ratio, "low": low, "high": high}))


if __name__ == "__main__":
    main()
