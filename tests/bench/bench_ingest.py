"""Whether indexing keeps the encoder busy, and which stage holds it up when it does not.

Which cost dominates: a real encoder on a CPU, by far; for a minute encoder, or a real one on an accelerator, decoding and
resizing JPEGs on the cores that are left. Listing the files, decoding a first batch and the last commit come once, some 0.5 s
together, which short runs feel. On a CPU the encoder shares its cores with the decoding, so it may be busy all the time and
still give fewer pictures a second than it does alone (the ceiling printed here: encoding what was prepared before).

    OMP_WAIT_POLICY=passive python tests/bench/bench_ingest.py      real photographs from ../shared/data where present, else drawn ones
    python tests/bench/bench_ingest.py --megapixels 12              the same enlarged to a camera's size

Without that policy torch's threads spin while they wait for one another. On two cores that other programs wanted too, that
alone made `openclip/mini` three times slower here and six times in the bare loop; an idle machine was not measured.

`ViT-B-32` has random weights: they take as long as trained ones. `accelerator at N/s` prepares as it does and then waits as
long as a device would that encodes N pictures a second, so that its stage costs the CPU nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from mmrerank.collection import Collection
from mmrerank.encoders.openclip import CONFIG, WEIGHTS
from mmrerank.ingest.run import DECODE_THREADS, IngestReport
from mmrerank.parts import make
from mmrerank.types import Array, Modality

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
STAGES = ("read", "decode", "encode", "write")
BUSY = 0.9


class Accelerator:
    """A device that encodes `per_s` pictures a second while the CPU does other things; its rows mean nothing."""

    takes: frozenset[Modality] = frozenset({"image"})
    reads: Modality = "image"
    dimension = 512

    def __init__(self, prepare: Callable[[Any], Array], per_s: float, batch_size: int) -> None:
        self.name, self.prepare, self.per_s, self.batch_size = f"accelerator at {per_s:.0f} per s", prepare, per_s, batch_size

    def encode(self, values: Sequence[Array], *, normalise: bool = True) -> Array:
        np.stack(values)  # as a real one does before it copies them over
        time.sleep(len(values) / self.per_s)
        return np.full((len(values), self.dimension), self.dimension**-0.5, dtype=np.float32)


def save_random(folder: Path, architecture: str) -> str:
    """A checkpoint of an open_clip architecture with random weights; returns the name of its encoder."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {"size": 224}}
    save_file(model.state_dict(), folder / WEIGHTS[0])
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return f"openclip/local-dir:{folder}"


def drawn(seed: int) -> Image.Image:
    """A picture whose JPEG is about as large as a photograph's."""
    generator = np.random.default_rng(seed)
    blocks = Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 6, (480, 640, 3))
    return Image.fromarray(np.clip(np.asarray(blocks) + grain, 0, 255).astype(np.uint8))


def write_photos(folder: Path, count: int, megapixels: float | None) -> str:
    """`count` JPEG files; returns what they are."""
    real = sorted(file for name in ("instance_photos", "composed_objects") for file in REAL_DATA.glob(f"{name}/dev/images/*.jpg"))
    folder.mkdir()
    for n in range(count):
        target = folder / f"{n:05}.jpg"
        if real and not megapixels:
            target.write_bytes(real[n % len(real)].read_bytes())
            continue
        picture = Image.open(real[n % len(real)]) if real else drawn(n)
        if megapixels:
            scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
            picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        picture.save(target, quality=90)
    sizes = [Image.open(file).size for file in folder.iterdir()]
    kind = "real photographs" if real else "drawn pictures"
    return f"{kind}, median {statistics.median(width * height for width, height in sizes) / 1e6:.2f} megapixels"


def bare(encoder: Any, photos: Path) -> float:
    """Pictures per second of encoding alone, prepared before."""
    prepared = [encoder.prepare(Image.open(file).convert("RGB")) for file in sorted(photos.iterdir())]
    encoder.encode(prepared[: encoder.batch_size])  # warm-up
    start = time.perf_counter()
    for first in range(0, len(prepared), encoder.batch_size):
        encoder.encode(prepared[first : first + encoder.batch_size])
    return len(prepared) / (time.perf_counter() - start)


def indexed(encoder: Any, photos: Path) -> tuple[IngestReport, float]:
    """The report of indexing into a new collection, and the seconds from call to return, compaction included."""
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(Path(folder) / "c", encoders=[encoder])
        start = time.perf_counter()
        report = collection.add([photos])
        seconds = time.perf_counter() - start
        assert (report.added, report.failed) == (len(list(photos.iterdir())), ())
        rows = collection.version.space(takes=frozenset({"image"})).rows([item.item_id for item in collection.items()[:4]])
        expected = encoder.encode([encoder.prepare(item.image.open()) for item in collection.items()[:4] if item.image])
        assert np.allclose(rows, expected, atol=1e-5)
    return report, seconds


def measured(name: str, encoder: Any, photos: Path, repeats: int) -> dict[str, float]:
    """Shares, encoder-busy share and pictures per second of one encoder: medians over the runs, each beside a bare loop."""
    runs = [(bare(encoder, photos), *indexed(encoder, photos)) for _ in range(repeats)]
    shares = {stage: statistics.median(report.stage_shares[stage] for _, report, _ in runs) for stage in STAGES}
    busy = sorted(report.stage_seconds["encode"] / seconds for _, report, seconds in runs)
    speeds = sorted(report.found / seconds for _, report, seconds in runs)
    ceiling = statistics.median(speed for speed, _, _ in runs)
    ratio = statistics.median(report.found / seconds / speed for speed, report, seconds in runs)
    listed = "  ".join(f"{stage} {share:4.0%}" for stage, share in shares.items())
    middle = statistics.median(busy)
    print(
        f"  {name:24s}{listed}   busy {middle:4.0%} ({busy[0]:.0%}-{busy[-1]:.0%}){' ' if middle >= BUSY else '!'}"
        f"   {statistics.median(speeds):7.1f}/s ({speeds[0]:.1f}-{speeds[-1]:.1f})  bare {ceiling:7.1f}/s  {ratio:.2f} of it"
    )
    return {**shares, "busy": middle, "pictures_per_s": statistics.median(speeds), "bare_per_s": ceiling, "of_bare": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megapixels", type=float)
    parser.add_argument("--rates", type=float, nargs="*", default=[50, 100, 200, 400], help="pictures per second of the accelerators")
    asked = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {DECODE_THREADS} decode threads")
    print(f"torch {torch.__version__}, open_clip {open_clip.__version__}, OMP_WAIT_POLICY {os.environ.get('OMP_WAIT_POLICY', 'not set')}")
    with tempfile.TemporaryDirectory() as folder:
        photos, checkpoint = Path(folder) / "photos", Path(folder) / "checkpoint"
        checkpoint.mkdir()
        kind = write_photos(photos, asked.pictures, asked.megapixels)
        real = make(save_random(checkpoint, "ViT-B-32"), station="encoders")
        encoders = {"openclip/mini": make("openclip/mini", station="encoders"), f"ViT-B-32 on {real.device}": real}
        encoders |= {f"accelerator at {rate:.0f}/s": Accelerator(real.prepare, rate, 64) for rate in asked.rates}
        print(f"{asked.pictures} {kind}; {asked.repeats} runs each, medians (least-most)")
        print(f"share of the run that each stage's threads work; busy: encoding, of the whole call (! below {BUSY:.0%})")
        results = {name: measured(name, encoder, photos, asked.repeats) for name, encoder in encoders.items()}
    print(json.dumps({"bench": "ingest", "pictures": asked.pictures, "megapixels": asked.megapixels, "encoders": results}))


if __name__ == "__main__":
    main()
