"""Whether documents are read at half the speed of bare pdfium or more, and whether pages keep an encoder busy.

Which cost dominates: of text alone, pdfium's own text extraction; of page descriptors, a real encoder on a CPU, by far, and beside an
accelerator the rendering of pages, which pdfium does on one core at a time.

    OMP_WAIT_POLICY=passive python tests/bench/bench_pages.py ../shared/data/mmlongbench/dev/pdfs [--repeats 3] [--pages 128]

Text: `Collection.add` without OCR beside a bare loop over the same files in the same run; where other programs want the cores, the
seconds of the cores say more than the clock. Descriptors: the first files with `--pages` pages, by an encoder of ViT-B/32's size
(random weights take as long) and by accelerators as in bench_ingest.py.
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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pypdfium2
import torch
from bench_ingest import BUSY, STAGES, Accelerator, save_random

from mmrerank.collection import Collection
from mmrerank.ingest.run import IngestReport
from mmrerank.parts import make

READER = "pdf(ocr=never)"


def bare(files: list[Path]) -> int:
    """Pages whose text layers were read with pypdfium2 alone."""
    pages = 0
    for file in files:
        with pypdfium2.PdfDocument(file) as document:
            for number in range(len(document)):
                page = document[number]
                text = page.get_textpage()
                text.get_text_bounded()
                text.close()
                page.close()
                pages += 1
    return pages


def indexed(files: list[Path], encoder: Any = None) -> tuple[IngestReport, float]:
    """The report of indexing the files, and the seconds from call to return, compaction included."""
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(Path(folder) / "c", encoders=[] if encoder is None else [encoder])
        start = time.perf_counter()
        report = collection.add(files, read_with=[READER])
        seconds = time.perf_counter() - start
        assert report.added == len(collection) == report.found - len(report.failed)
    return report, seconds


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of the cores, all threads together."""
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cores


def text_speed(files: list[Path], repeats: int) -> dict[str, float]:
    """Prints and returns the speed of the ingest beside that of bare pdfium, each run beside the other."""
    pages = bare(files)
    assert indexed(files)[0].added == pages  # also the warm-up
    runs = [(spent(lambda: bare(files)), spent(lambda: indexed(files))) for _ in range(repeats)]
    clock, cores = (sorted(alone[n] / ours[n] for alone, ours in runs) for n in (0, 1))
    speed = {"bare": statistics.median(alone[0] for alone, _ in runs), "ours": statistics.median(ours[0] for _, ours in runs)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{pages} pages: {pages / speed['ours']:.0f}/s, bare pdfium {pages / speed['bare']:.0f}/s; of its speed", end=" ")
    print(f"by the clock {statistics.median(clock):.2f} ({clock[0]:.2f}-{clock[-1]:.2f}),", end=" ")
    print(f"by seconds of the cores {statistics.median(cores):.2f} ({cores[0]:.2f}-{cores[-1]:.2f}); peak {peak:.0f} MiB with torch loaded")
    return {"pages_per_s": pages / speed["ours"], "clock": statistics.median(clock), "cores": statistics.median(cores), "peak_mib": peak}


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
