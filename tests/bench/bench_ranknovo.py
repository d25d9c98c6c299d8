"""Which of the proposed peptides is chosen, by RankNovo's network and by what needs none; peptide recall with 95 % intervals over spectra.

    python -m tools.peptides.make --out data/peptides
    python tests/bench/bench_ranknovo.py --data data/peptides --split test

`best model` is the model that is right most often on dev, `majority` what most models propose (of equal ones the best model's), `peaks` the
proposal that explains the most peaks within .03 Da, `could be chosen` whether any is right. `seen` are the four models that training has,
`unseen` the two that it has not, whose mistakes the network has never met.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.models.peptides import PROTON, WATER, masses, read_spectrum, tokens_of
from mmrerank.parts import make
from mmrerank.types import Candidate, Item, Query

UNSEEN = ("pairs", "ends")
Proposals = Mapping[str, str]  # model -> sequence, the best model first
Choice = Callable[[dict[str, Any], Proposals], str]


def best_model(line: dict[str, Any], proposals: Proposals) -> str:
    return next(iter(proposals.values()))


def majority(line: dict[str, Any], proposals: Proposals) -> str:
    return Counter(proposals.values()).most_common(1)[0][0]


def peaks(line: dict[str, Any], proposals: Proposals) -> str:
    spectrum = read_spectrum(line["query"])

    def explained(text: str) -> float:
        before = np.cumsum([masses()[token] for token in tokens_of(text)])[:-1]
        fragments = np.concatenate([before + PROTON, spectrum.residue_mass - before + WATER + PROTON])
        return float((np.abs(fragments[:, None] - spectrum.mz).min(axis=1) < 0.03).mean())

    return max(proposals.values(), key=explained)


def by_network(name: str) -> Choice:
    reranker = make(name, station="rerankers")

    def ranknovo(line: dict[str, Any], proposals: Proposals) -> str:
        candidates = [Candidate(item=Item(item_id=model, text=text)) for model, text in proposals.items()]
        return reranker.rerank(Query(query_id=line["id"], text=line["query"]), candidates).candidates[0].item.text or ""

    return ranknovo


def hits(lines: Sequence[dict[str, Any]], models: Callable[[str], bool], choice: Choice | None) -> np.ndarray[Any, Any]:
    """(n,) 1 where the truth is chosen; None: where it could be."""
    values = []
    for line in lines:
        proposals = {c["id"].split("/")[1]: c["text"] for c in line["candidates"] if models(c["id"].split("/")[1])}
        values.append(line["truth"] in proposals.values() if choice is None else choice(line, proposals) == line["truth"])
    return np.array(values, dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--with", dest="name", default="ranknovo/mini", help="the reranker with its folder")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in (arguments.data / f"{arguments.split}.jsonl").read_text(encoding="utf-8").splitlines()]
    network = by_network(arguments.name)
    result: dict[str, Any] = {"bench": "ranknovo", "split": arguments.split, "spectra": len(lines)}
    print("| models | best model | majority | peaks | ranknovo | over majority | could be chosen |\n|---|---|---|---|---|---|---|")
    groups = {"all six": lambda _: True, "seen": lambda model: model not in UNSEEN, "unseen": lambda model: model in UNSEEN}
    for group, models in groups.items():
        values = {c.__name__: hits(lines, models, c) for c in (best_model, majority, peaks, network)} | {
            "oracle": hits(lines, models, None)
        }
        gains = {name: mean_interval(values["ranknovo"] - values[name]) for name in ("best_model", "majority", "peaks")}
        result[group] = {name: float(one.mean()) for name, one in values.items()}
        result[group] |= {f"over_{name}": [gain.value, gain.low, gain.high] for name, gain in gains.items()}
        over = gains["majority"]
        cells = [f"{values[name].mean():.3f}" for name in ("best_model", "majority", "peaks", "ranknovo")]
        print(
            f"| {group} | {' | '.join(cells)} | {over.value:+.3f} ({over.low:+.3f} to {over.high:+.3f}) | {values['oracle'].mean():.3f} |"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
