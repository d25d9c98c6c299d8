"""What a pointwise judgement costs through `judge`, beside sentence-transformers' CrossEncoder (LogitScore) with the same model.

Which cost dominates: the forward passes, and on a CPU with a small model what stands around them: pictures brought to patches, padding of
batches that mix lengths. Both ways are given the same 100 candidates and the same prompts, are asked for raw log-odds, and must agree on
them; they are timed in turn in one run.

    python tests/bench/bench_judges.py                       the embedded model, pictures of 72 px
    python tests/bench/bench_judges.py --text PATH           a language model too, over passages of unlike length
    python tests/bench/bench_judges.py --photos FOLDER       what `same_object` gains or loses on real photographs, by the embedded model

One thread. Wanted: at least 2 times the candidates a second of the CrossEncoder. Times of two runs do not compare.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring import processor_name, taken  # noqa: E402
from PIL import Image  # noqa: E402

from mmrerank.backends import local, mini  # noqa: E402
from mmrerank.backends.local import Local  # noqa: E402
from mmrerank.rerankers import judge, same_object  # noqa: E402
from mmrerank.testing.samples import InMemory  # noqa: E402
from mmrerank.types import Candidate, Item, Query  # noqa: E402

CANDIDATES = 100
TEMPLATE = """\
<|im_start|>user
Candidate:
DOCUMENT

Search:
QUERY

Is the candidate what the search is after? Answer 'Yes' or 'No'.<|im_end|>
<|im_start|>assistant
{{ '' }}"""
PARTS = (
    "{% for message in messages if message['role'] == 'ROLE' %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endfor %}{{ '' }}"  # so that a line break behind it stays
)
WORDS = "{{ (messages | selectattr('role', 'eq', 'ROLE') | first).content }}"


def pictures(side_px: int) -> list[Candidate]:
    """Candidates of random blocks, unlike in every run but the same for each way."""
    generator = np.random.default_rng(0)
    blocks = [generator.integers(0, 255, (6, 6, 3), dtype=np.uint8) for _ in range(CANDIDATES)]
    handles = [InMemory(Image.fromarray(block).resize((side_px, side_px), Image.Resampling.NEAREST)) for block in blocks]
    return [Candidate(item=Item(item_id=f"{n}", image=handle)) for n, handle in enumerate(handles)]


def passages() -> list[Candidate]:
    """Passages of 10 to 200 words, as many short as long ones."""
    generator = np.random.default_rng(0)
    words = [
        "the",
        "old",
        "mill",
        "stands",
        "by",
        "a",
        "river",
        "and",
        "was",
        "built",
        "of",
        "red",
        "stone",
        "when",
        "bread",
        "was",
        "dear",
        "in",
        "the",
        "north",
    ]
    texts = [
        " ".join(generator.choice(words, int(length))) for length in np.geomspace(10, 200, CANDIDATES)[generator.permutation(CANDIDATES)]
    ]
    return [Candidate(item=Item(item_id=f"{n}", text=text)) for n, text in enumerate(texts)]


def cross_encoder(folder: str, backend: Local, *, sees: bool, chat: str) -> Any:
    """The same model as a CrossEncoder with LogitScore, whose template writes the prompts of `judge`."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    part = PARTS if sees else WORDS
    template = TEMPLATE.replace("DOCUMENT", part.replace("ROLE", "document")).replace("QUERY", part.replace("ROLE", "query"))
    yes, no = (backend._prepare.ids_of(choice)[0] for choice in ("Yes", "No"))
    transformer = Transformer(
        folder,
        transformer_task="any-to-any" if sees else "text-generation",
        model_kwargs={"dtype": torch.float32},
        processor_kwargs={"chat_template": chat + template},
    )
    return CrossEncoder(modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)], device="cpu")


def throughput(name: str, backend: Local, folder: str, candidates: Sequence[Candidate], repeats: int, *, sees: bool) -> dict[str, Any]:
    """Candidates a second of both ways over the same prompts, which they must agree on."""
    query = Query(text="a house by the river")
    part = judge.build(judge.Options(), backend)
    opening = backend._prepare.text(part.prompt_for(query, candidates[0])).partition("<|im_start|>user")[0]
    theirs = cross_encoder(folder, backend, sees=sees, chat=opening)
    sides = [{"image": c.item.image.open()} if c.item.image else c.item.text for c in candidates]  # opened before: it is not theirs to open
    pairs = [(query.text, side) for side in sides]

    def ours() -> dict[str, float]:
        return {c.item.item_id: float(c.raw_score or 0) for c in part.rerank(query, candidates).candidates}

    def predict() -> Any:
        return theirs.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)

    scores, values = ours(), predict()
    apart = max(abs(scores[c.item.item_id] - value) for c, value in zip(candidates, values, strict=True))
    assert apart < 5e-3, f"{name}: the two ways give other scores, by up to {apart}: they were asked otherwise"
    seconds = taken({"judge": ours, "CrossEncoder": predict}, repeats)
    ratios = [their / our for our, their in zip(seconds["judge"], seconds["CrossEncoder"], strict=True)]
    rates = {way: CANDIDATES / statistics.median(times) for way, times in seconds.items()}
    low, ratio, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name}: judge {rates['judge']:.1f} a second, CrossEncoder {rates['CrossEncoder']:.1f}; {ratio:.2f} times ({low:.2f}-{high:.2f})"
    )
    print(f"  scores spread over {np.ptp(values):.2f}; the two ways differ by at most {apart:.1e}")
    return {"set": name, "a_second": rates, "ratio": ratio, "ratio_low": low, "ratio_high": high, "apart": float(apart)}


def photos(folder: Path, depth: int, side_px: int) -> dict[str, Any]:
    """mAP and P@1 of the first stage's best photographs and of `same_object` over them."""
    images = [json.loads(line)["image"] for line in (folder / "images.jsonl").read_text().splitlines()]
    opened = {image: Image.open(folder / "images" / image).convert("RGB") for image in images}
    rows, places = np.load(folder / "mobilenet_v1.npy"), {image: n for n, image in enumerate(images)}
    part = same_object.build(same_object.Options(max_pixels=side_px * side_px), mini.build(mini.Options(device="cpu")))
    values: dict[str, list[list[float]]] = {"first stage": [], "same_object": []}
    for record in map(json.loads, (folder / "queries.jsonl").read_text().splitlines()):
        left_out = {record["query_image"], *record["ignore"]}
        order = [images[n] for n in np.argsort(-(rows @ rows[places[record["query_image"]]]), kind="stable") if images[n] not in left_out]
        candidates = [Candidate(item=Item(item_id=name, image=InMemory(opened[name]))) for name in order[:depth]]
        query = Query(images=(InMemory(opened[record["query_image"]]),))
        ranked = [*part.rerank(query, candidates).item_ids, *order[depth:]]
        for way, ids in (("first stage", order), ("same_object", ranked)):
            values[way].append(measures(ids, set(record["positives"])))
    means = {way: np.mean(numbers, axis=0).tolist() for way, numbers in values.items()}
    gain = np.array(values["same_object"])[:, 0] - np.array(values["first stage"])[:, 0]
    draws = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    for way, (average, first) in means.items():
        print(f"{way}: mAP {average:.3f}, P@1 {first:.3f}")
    print(f"  mAP moves by {gain.mean():+.3f} ({low:+.3f} to {high:+.3f}), {len(gain)} queries, depth {depth}, {side_px} px")
    return {"set": "instance_photos", "depth": depth, "means": means, "gain": float(gain.mean()), "low": float(low), "high": float(high)}


def measures(ids: Sequence[str], positives: set[str]) -> list[float]:
    """Average precision, and whether the first is right."""
    hits = np.array([name in positives for name in ids])
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return [float((precision * hits).sum() / len(positives)), float(hits[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="folder of a language model with ChatML markup, such as SmolLM2-135M-Instruct")
    parser.add_argument("--photos", type=Path, help="folder of instance photographs")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--side", type=int, default=72, help="pixels of a picture's side")
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "sentence-transformers"))
    print(f"{processor_name()}, {os.cpu_count()} cores, 1 thread used; Python {platform.python_version()}, {libraries}")
    print(f"{CANDIDATES} candidates, {wanted.repeats} repeats after 1 warm-up, in turn; median (quartiles)")
    results = [
        throughput("pictures", mini.build(mini.Options(device="cpu")), str(mini.FOLDER), pictures(wanted.side), wanted.repeats, sees=True)
    ]
    if wanted.text:
        backend = local.build(local.Options(model=wanted.text, device="cpu"))
        results.append(throughput("passages", backend, wanted.text, passages(), wanted.repeats, sees=False))
    if wanted.photos:
        results.append(photos(wanted.photos, wanted.depth, wanted.side))
    print(json.dumps({"bench": "judges", "results": results}))


if __name__ == "__main__":
    main()
