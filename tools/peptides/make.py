"""Writes simulated spectra with what six models propose for them, as `mmrerank evaluate` and `mmrerank train` read them.

    python -m tools.peptides.make --out data/peptides

A line of {train,dev,test}.jsonl is a spectrum: `query` is its MGF, `candidates` are the proposals, the models that are right most often
first, `truth` is the sequence, `qrels` names the proposals that are it. Training lines have four of the models, and the truth as a
candidate of grade 2, which no network is shown; the other two are met in dev and test only. Spectra on which all models agree teach
nothing, and are left out of training. Cost: 2 ms a spectrum.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tools.peptides.simulate import MODELS, Case, cases, mgf

SEEDS = {"train": 1, "dev": 2, "test": 3}
TEST_MODELS = ("pairs", "ends")  # models that training does not see
BY_STRENGTH = ("lengths", "starts", "ends", "pairs", "neighbours", "swaps")  # recall on dev, falling; the first stage


def line(name: str, case: Case, *, training: bool = False) -> dict[str, Any]:
    """One spectrum with its proposals; for training with the truth beside them."""
    ranked = [model for model in BY_STRENGTH if model in case.proposals]
    candidates = [{"id": f"{name}/{model}", "text": "".join(case.proposals[model]), "score": 1 / (n + 1)} for n, model in enumerate(ranked)]
    right = {f"{name}/{model}": 1 for model in ranked if case.proposals[model] == case.truth}
    if training:
        candidates.append({"id": f"{name}/truth", "text": "".join(case.truth)})
        right[f"{name}/truth"] = 2
    return {"id": name, "query": mgf(case, name), "candidates": candidates, "truth": "".join(case.truth), "qrels": right}


def lines(split: str, count: int) -> Iterator[dict[str, Any]]:
    """The first `count` spectra of a split."""
    training = split == "train"
    names = [model for model in MODELS if not training or model not in TEST_MODELS]
    drawn = (case for case in cases(SEEDS[split], names) if not training or len(set(case.proposals.values())) > 1)
    return (line(f"{split}-{n}", case, training=training) for n, case in enumerate(islice(drawn, count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=40_000, help="spectra")
    parser.add_argument("--test", type=int, default=1_000, help="spectra of dev and of test")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
        for split in SEEDS:
            with (arguments.out / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for one in lines(split, arguments.train if split == "train" else arguments.test):
                    file.write(json.dumps(one) + "\n")
                    if split != "train":
                        corpus.writelines(json.dumps({"id": c["id"], "text": c["text"]}) + "\n" for c in one["candidates"])


if __name__ == "__main__":
    main()
