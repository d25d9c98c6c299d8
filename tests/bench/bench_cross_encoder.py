"""Candidates a second of `ragllava` or `judge` beside sentence-transformers' CrossEncoder with the same model, prompts and candidates.

Which cost dominates: the forward passes, and beside them what brings pictures to patches. Both ways get pictures that are open, or texts;
they ask for raw log-odds at the first position, and have to agree on them. Every round asks something else of other candidates, so that
nothing of a round before can be used again; with --kept it asks something else of the same ones, whose beginnings are at hand where they
stand first. With the question first the prompts of a query begin alike, and ours run that beginning once: the longer it is beside a
candidate, the more is won. Nobody spares what brings a new picture to patches and through the vision tower: that is timed by itself,
with the model's own calls, and CrossEncoder's time over it is the most that could be won.

    python tests/bench/bench_cross_encoder.py [--texts] [--kept] [--keep-nothing] [--layout question_first] [--side 72]
    python tests/bench/bench_cross_encoder.py --recipe qwen3_reranker --model FOLDER --passages FILE.jsonl

Texts are of 5 to 60 words, drawn from names of emoji; with --passages, a file of judged lists, they are the "text" of its candidates.
One thread; ways in turn, ratios of rounds, in processor time. Wanted: at least twice the candidates a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from measuring import processor_name, taken  # noqa: E402
from PIL import Image  # noqa: E402

from mmrerank.backends import local, mini  # noqa: E402
from mmrerank.backends.local import Local  # noqa: E402
from mmrerank.demo import DATASETS  # noqa: E402
from mmrerank.rerankers import judge, ragllava  # noqa: E402
from mmrerank.testing.samples import InMemory  # noqa: E402
from mmrerank.types import Candidate, Item, Query  # noqa: E402

CANDIDATES = 100
TOWER = "vision tower"
AGREED = 5e-3  # of log-odds
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
SIDE = (
    "{% for message in messages if message['role'] == 'ROLE' %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endfor %}"
)
WORDS = "{{ (messages | selectattr('role', 'eq', 'ROLE') | first).content }}"


def pictures(side_px: int, seed: int) -> list[Candidate]:
    """Pictures of random blocks."""
    generator = np.random.default_rng(seed)
    blocks = [generator.integers(0, 255, (6, 6, 3), dtype=np.uint8) for _ in range(CANDIDATES)]
    opened = [Image.fromarray(block).resize((side_px, side_px), Image.Resampling.NEAREST) for block in blocks]
    return [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture))) for n, picture in enumerate(opened)]


def texts(seed: int) -> list[Candidate]:
    """Texts of 5 to 60 words, drawn from the names of emoji."""
    names = pq.read_table(DATASETS / "emoji" / "pictures.parquet", columns=["key"])["key"].to_pylist()
    words, generator = " ".join(names).replace("-", " ").split(), np.random.default_rng(seed)
    lengths = generator.integers(5, 61, CANDIDATES)
    return shown([" ".join(generator.choice(words, length)) for length in lengths])


def passages(texts: Sequence[str], seed: int) -> list[Candidate]:
    """Real passages, others in each round while they last."""
    generator = np.random.default_rng(seed)
    return shown([texts[n] for n in generator.choice(len(texts), CANDIDATES, replace=False)])


def shown(texts: Sequence[str]) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"{n}", text=text)) for n, text in enumerate(texts)]


def texts_of(file: Path) -> list[str]:
    """What the candidates of a file of judged lists say, once each, one blank between words: as both ways show it."""
    lists = [json.loads(line)["candidates"] for line in file.read_text().splitlines()]
    return list(dict.fromkeys(" ".join(one["text"].split()) for candidates in lists for one in candidates))


def cross_encoder(folder: str, backend: Local, choices: Sequence[str], template: str) -> Any:
    """The same model as a CrossEncoder whose template writes the prompts of the reranker."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    yes, no = (backend._prepare.ids_of(choice)[0] for choice in choices)
    how: dict[str, Any] = {"model_kwargs": {"dtype": torch.float32}, "processor_kwargs": {"chat_template": template}}
    transformer = Transformer(folder, transformer_task="any-to-any" if "image" in backend.takes else "text-generation", **how)
    return CrossEncoder(modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)], device="cpu")


def template_of(prompt: str, words: str, document: str, side: str) -> str:
    """A template that writes a prompt for any query and document.

    Args:
        prompt: a whole prompt of the reranker, a picture as its placeholder.
        words: the query's, which stand in it once.
        document: what the candidate is in it.
    """
    before, after = prompt.split(document)
    asks_first = words in before
    pieces = (*before.split(words), after) if asks_first else (before, *after.split(words))
    roles = ("query", "document") if asks_first else ("document", "query")
    first, between, last = (f"{{{{ {json.dumps(piece)} }}}}" for piece in pieces)
    return "".join([first, side.replace("ROLE", roles[0]), between, side.replace("ROLE", roles[1]), last])


@torch.inference_mode()
def seen(backend: Local, candidates: Sequence[Candidate]) -> Any:
    """What the model makes of pictures before it reads: the processor, and the vision tower over all of them at once."""
    opened = [candidate.item.image.open() for candidate in candidates if candidate.item.image is not None]
    features = backend.processor.image_processor(images=opened, return_tensors="pt")
    return backend.network.base_model.get_image_features(**features)


def question(number: int) -> Query:
    """What is asked in a round."""
    return Query(text=f"{number} people with grey hair")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", help="of `judge`; without one it is `ragllava`")
    parser.add_argument("--model", help="folder of a model; without one it is the embedded one")
    parser.add_argument("--texts", action="store_true", help="texts in place of pictures")
    parser.add_argument("--passages", type=Path, help="texts of a file of judged lists in their place")
    parser.add_argument("--kept", action="store_true", help="the same candidates in every round")
    parser.add_argument("--keep-nothing", action="store_true", help="no keys and values for later (prefix_bytes=0)")
    parser.add_argument("--side", type=int, default=72, help="of each picture, in pixels")
    parser.add_argument("--layout", choices=["candidate_first", "question_first"], help="ragllava's; candidate_first")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    arguments = options()
    torch.set_num_threads(1)
    keep: dict[str, Any] = {"prefix_bytes": 0} if arguments.keep_nothing else {}
    folder = arguments.model or str(mini.FOLDER)
    backend = local.build(local.Options(model=folder, device="cpu", **keep))
    layout = {"layout": arguments.layout} if arguments.layout else {}
    reranker: Any
    if arguments.recipe:
        reranker = judge.build(judge.Options(recipe=arguments.recipe, **layout), backend)
        choices = reranker.recipe.answer.choices
    else:
        reranker, choices = ragllava.build(ragllava.Options(**layout), backend), ragllava.CHOICES
    draw: Callable[[int], list[Candidate]]
    if arguments.passages:
        draw = partial(passages, texts_of(arguments.passages))
    else:
        draw = texts if arguments.texts else partial(pictures, arguments.side)
    sample = draw(0)
    prompt = backend._prepare.text(reranker.prompt_for(Query(text="somebody new"), sample[0]))
    side = SIDE if "image" in backend.takes else WORDS
    theirs = cross_encoder(folder, backend, choices, template_of(prompt, "somebody new", sample[0].item.text or PICTURE, side))

    def ours_in_round(number: int) -> Any:
        return reranker.rerank(question(number), draw(number * (not arguments.kept)))

    def theirs_in_round(number: int) -> Any:
        items = [candidate.item for candidate in draw(number * (not arguments.kept))]
        pairs = [(question(number).text, {"image": item.image.open()} if item.image is not None else item.text) for item in items]
        return theirs.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)

    name = reranker.name
    numbers = {name: count(1), "CrossEncoder": count(1)}
    ways = {
        name: lambda: ours_in_round(next(numbers[name])),
        "CrossEncoder": lambda: theirs_in_round(next(numbers["CrossEncoder"])),
    }
    if sample[0].item.image is not None:
        numbers[TOWER] = count(1)
        ways[TOWER] = lambda: seen(backend, draw(next(numbers[TOWER])))
    scores = {one.item.item_id: float(one.raw_score or 0.0) for one in ours_in_round(0).candidates}
    gap = max(abs(scores[one.item.item_id] - value) for one, value in zip(sample, theirs_in_round(0), strict=True))
    assert gap < AGREED, f"the two ways differ by {gap}: they were put other questions"
    seconds = taken(ways, arguments.repeats, time.process_time)
    ratios = [their / our for our, their in zip(seconds[name], seconds["CrossEncoder"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    rates = {way: CANDIDATES / statistics.median(times) for way, times in seconds.items()}
    what = "texts" if sample[0].item.image is None else f"pictures of {arguments.side} px"
    print(f"{processor_name()}, 1 thread; torch {torch.__version__}, sentence-transformers {version('sentence-transformers')}")
    drawn = "kept" if arguments.kept else "anew"
    print(f"{CANDIDATES} {what}, {drawn} each round, {Path(folder).name}, {arguments.repeats} rounds; log-odds differ by {gap:.1e}")
    print(f"  a second of the processor: {name} {rates[name]:.0f}, CrossEncoder {rates['CrossEncoder']:.0f}: {ratio:.2f} x")
    print(f"  the middle half of the rounds: {low:.2f} to {high:.2f}")
    most = [their / tower for their, tower in zip(seconds["CrossEncoder"], seconds.get(TOWER, []), strict=False)]
    if most:
        print(f"  CrossEncoder over the vision tower alone: {statistics.median(most):.2f} x is the most that could be won")
    result = {"what": what, "kept": arguments.kept, **keep, "a_second": rates, "ratio": ratio, "low": low, "high": high, "most": most}
    print(json.dumps({"bench": "cross_encoder", **result}))


if __name__ == "__main__":
    main()
