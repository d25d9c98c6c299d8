"""Whether documents are read at half the speed of bare pdfium or more, and whether pages keep an encoder busy.

Which cost dominates: of text alone, pdfium's own text extraction; of page descriptors, a real encoder on a CPU, by far, and beside an
accelerator the rendering of pages, which pdfium does on one core at a time.

    OMP_WAIT_POLICY=passive python tests/bench/bench_pages.py ../shared/data/mmlongbench/dev/pdfs [--repeats 3] [--pages 128]

Text: `Collection.add` without OCR beside a bare loop over the same files in the same run. Descriptors: the first files with `--pages`
pages, by an encoder of ViT-B/32's size (random weights take as long) and by accelerators as in bench_ingest.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pypdfium2
import torch
from bench_ingest import BUSY, STAGES, Accelerator, save_random

from mmrerank.collection import Collection
from mmrerank.ingest import IngestReport
from mmrerank.parts import make

READER = "pdf(ocr=never)"


def bare(files: list[Path]) -> tuple[int, float]:
    """Pages and seconds of reading all text layers with pypdfium2 alone."""
    start, pages = time.perf_counter(), 0
    for file in files:
        with pypdfium2.PdfDocument(file) as document:
            for number in range(len(document)):
                page = document[number]
                text = page.get_textpage()
                text.get_text_bounded()
                text.close()
                page.close()
                pages += 1
    return pages, time.perf_counter() - start


def indexed(files: list[Path], encoder: Any = None) -> tuple[IngestReport, float]:
    """The report of indexing the files, and the seconds from call to return, compaction included."""
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(Path(folder) / "c", encoders=[] if encoder is None else [encoder])
        start = time.perf_counter()
        report = collection.add(files, read_with=[READER])
        seconds = time.perf_counter() - start
        assert report.added == len(collection) == report.found - len(report.failed)
    return report, seconds


def text_speed(files: list[Path], repeats: int) -> dict[str, float]:
    """Prints and returns pages a second of the ingest and of bare pdfium, each run beside the other."""
    runs = [(*bare(files), *indexed(files)) for _ in range(repeats)]
    assert all(report.added == pages for pages, _, report, _ in runs)
    ours = statistics.median(pages / seconds for pages, _, _, seconds in runs)
    plain = statistics.median(pages / seconds for pages, seconds, _, _ in runs)
    ratios = sorted(alone / seconds for _, alone, _, seconds in runs)
    shares = "  ".join(f"{stage} {runs[0][2].stage_shares.get(stage, 0):.0%}" for stage in STAGES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{runs[0][0]} pages: {ours:.0f}/s, bare pdfium {plain:.0f}/s, {statistics.median(ratios):.2f} of it", end=" ")
    print(f"({ratios[0]:.2f}-{ratios[-1]:.2f}); {shares}; peak {peak:.0f} MiB with torch loaded")
    return {"pages_per_s": ours, "bare_per_s": plain, "ratio": statistics.median(ratios), "peak_mib": peak}


def busy(name: str, files: list[Path], encoder: Any) -> float:
    """Prints the share of each stage and returns that of the call in which the encoder was at work."""
    report, seconds = indexed(files, encoder)
    share = report.stage_seconds["encode"] / seconds
    listed = "  ".join(f"{stage} {report.stage_shares[stage]:.0%}" for stage in STAGES)
    print(f"  {name:24s}{listed}   busy {share:.0%}{'' if share >= BUSY else '!'}   {report.found / seconds:.1f} pages/s")
    return share


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pages", type=int, default=128, help="how many pages are described by encoders, at least")
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 20, 40], help="pages per second of the accelerators")
    given = parser.parse_args()
    files = sorted(given.folder.glob("*.pdf"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads; pypdfium2 {version('pypdfium2')}")
    text = text_speed(files, given.repeats)
    few: list[Path] = []
    while files[len(few) :] and sum(len(pypdfium2.PdfDocument(file)) for file in few) < given.pages:
        few.append(files[len(few)])
    with tempfile.TemporaryDirectory() as folder:
        real = make(save_random(Path(folder), "ViT-B-32"), station="encoders")
        shares = {f"ViT-B-32 on {real.device}": real} | {f"accelerator at {r:g}/s": Accelerator(real.prepare, r, 64) for r in given.rates}
        print(f"\nshare of the run that each stage's threads work; busy: encoding, of the whole call (! below {BUSY:.0%})")
        results = {name: busy(name, few, encoder) for name, encoder in shares.items()}
    print(json.dumps({"bench": "pages", "text": text, "busy": results}))


if __name__ == "__main__":
    main()
