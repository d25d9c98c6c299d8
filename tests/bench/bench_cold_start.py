"""What a command costs before it does anything: processor seconds of fresh processes, beside those of the libraries it cannot do without.

Imports dominate. They are counted as processor time (user and system, of the process and its children), since the walls of a busy machine
say little; take the ratios. Everything is measured in one run, round after round, so that all rows see the same machine. Two regimes: with
Python's bytecode at hand, as after any first start, and without (PYTHONDONTWRITEBYTECODE, read-only installations, first start), when
every module is compiled again.

    python tests/bench/bench_cold_start.py --rounds 5 [--texts]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CLI = "-m mmrerank.cli"
BASELINES = {"text search": "import lance", "picture search": "import torch, open_clip"}
LIMITS = {"text search": 1.3, "picture search": 1.15, "help": 0.5}  # the last in seconds


def collections(folder: Path) -> tuple[Path, Path]:
    """A small collection of texts and one of pictures, by the embedded CLIP."""
    from mmrerank import Collection

    texts, pictures = folder / "texts", folder / "pictures"
    texts.mkdir()
    pictures.mkdir()
    for n in range(20):
        (texts / f"{n}.txt").write_text(f"Page {n} speaks of the harbour gauge, of tides and of boat number {n}.", encoding="utf-8")
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (64, 48, 3), dtype=np.uint8)).save(pictures / f"{n}.png")
    Collection.create(folder / "t").add(texts)
    Collection.create(folder / "p", encoders=["openclip/mini"]).add(pictures)
    return folder / "t", folder / "p"


def processor_s(arguments: list[str], environment: Mapping[str, str]) -> float:
    """Seconds of the processor that a fresh Python takes for these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(text: Path, picture: Path, *, pictures: bool) -> dict[str, list[str]]:
    cli = CLI.split()
    rows = {"python": ["-c", "pass"], "help": [*cli, "--help"]}
    searches = {"text search": [*cli, "search", str(text), "--text", "tides of the harbour", "--json"]}
    if pictures:
        searches["picture search"] = [*cli, "search", str(picture), "--text", "a red door", "--json"]
    return rows | {BASELINES[name]: ["-c", BASELINES[name]] for name in searches} | searches


def measured(rows: Mapping[str, list[str]], rounds: int, environment: Mapping[str, str]) -> dict[str, list[float]]:
    """Row -> processor seconds of each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, arguments in rows.items():
            value = processor_s(arguments, environment)
            if number:
                seconds[name].append(value)
    return seconds


def summary(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Medians in seconds, and the median over rounds of each search to its library."""
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    for name, library in BASELINES.items():
        if name not in seconds:
            continue
        pairs = zip(seconds[name], seconds[library], strict=True)
        medians[f"{name} / {library}"] = round(statistics.median(one / other for one, other in pairs), 3)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", action="store_true", help="searches over texts alone, which take a tenth of the time")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = commands(*collections(folder), pictures=not arguments.texts)
        base = {key: value for key, value in os.environ.items() if key not in ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")}
        regimes = {"with bytecode": {**base, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}}
        regimes["without"] = {**base, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "none")}
        results = {regime: summary(measured(rows, rounds, environment)) for regime, environment in regimes.items()}
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores, {rounds} rounds after one that is not counted; processor s, medians")
    print(f"{'':<46}" + "".join(f"{regime:>16}" for regime in results))
    for name in next(iter(results.values())):
        print(f"{name:<46}" + "".join(f"{result[name]:>16.3f}" for result in results.values()))
    print(f"wanted: {', '.join(f'{name} at most {limit}' for name, limit in LIMITS.items())}")
    print(json.dumps({"bench": "cold_start", "rounds": rounds, **results}))


if __name__ == "__main__":
    main()
