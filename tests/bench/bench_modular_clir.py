"""Modules of languages changed with the language, beside what has none: R@1 and MRR of emoji asked for in seven languages by English name.

    python -m tools.annotations.make --out data/annotations
    python -m tools.annotations.train --data data/annotations --out data/annotations/base
    for kind in adapters masks full; do mmrerank train modular_clir_$kind --data data/annotations --out runs/modular-clir/$kind; done
    python tests/bench/bench_modular_clir.py --data data/annotations --runs runs/modular-clir --split test

Every list has 20 names, one of them right; chance is .05. `letters` is BM25 over runs of 2 to 4 letters of words (the best of three
choices on dev), ties as they came; `full` the same BERT tuned whole; `unswapped` asks in the module of English whatever the language,
`swapped` in that of the query's language. Intervals are 95 % over queries, gains are paired. Ranking was learnt from English alone; Dutch
and Ukrainian were seen by no training but that of their own module. Passes of the network dominate: some 6,400 pairs a language and system.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.parts import make
from mmrerank.training.data import Group, lists
from tools.annotations.make import SEEN, UNSEEN

Order = Callable[[Group], Sequence[str]]
WIDTHS = (2, 3, 4)
K1, B = 1.2, 0.75


def runs_of_letters(text: str, widths: Sequence[int] = WIDTHS) -> Counter[str]:
    """Runs of letters in each word, with its ends marked."""
    words = [f"<{word}>" for word in text.lower().replace(",", " ").split()]
    return Counter(word[n : n + width] for word in words for width in widths for n in range(max(1, len(word) - width + 1)))


@dataclass(frozen=True, kw_only=True)
class Letters:
    """BM25 over runs of letters, counted over all names of a split."""

    names: Mapping[str, Counter[str]]
    frequencies: Counter[str]
    mean: float  # length of a name

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Letters:
        texts = {one.item.item_id: one.item.text or "" for group in groups for one in group.candidates}
        names = {item: runs_of_letters(text) for item, text in texts.items()}
        mean = sum(name.total() for name in names.values()) / len(names)
        return cls(names=names, frequencies=Counter(run for name in names.values() for run in name), mean=mean)

    def order(self, group: Group) -> list[str]:
        """Ids, best first; equal ones as they came."""
        terms = runs_of_letters(group.query.text or "")
        scores = {one.item.item_id: self._score(terms, self.names[one.item.item_id]) for one in group.candidates}
        return sorted(scores, key=lambda item: -scores[item])

    def _score(self, terms: Counter[str], name: Counter[str]) -> float:
        norm = K1 * (1 - B + B * name.total() / self.mean)
        return sum(self._idf(term) * name[term] * (K1 + 1) / (name[term] + norm) for term in terms if term in name)

    def _idf(self, term: str) -> float:
        return math.log(1 + (len(self.names) - self.frequencies[term] + 0.5) / (self.frequencies[term] + 0.5))


def by_network(folder: Path, options: str) -> Order:
    part = make(f"modular_clir/{folder}({options}, tokens=40, batch_size=20)", station="rerankers")
    return lambda group: part.rerank(group.query, list(group.candidates)).item_ids


def systems_for(language: str, groups: Sequence[Group], runs: Path, route: str) -> dict[str, Order]:
    """Name -> what orders a list, of the networks that are there."""
    systems: dict[str, Order] = {"letters": Letters.of(groups).order}
    if (runs / "full" / "model").is_dir():
        systems["full"] = by_network(runs / "full" / "model", "route=none")
    for folder in (runs / kind / "model" for kind in ("adapters", "masks") if (runs / kind / "model").is_dir()):
        kind = folder.parent.name
        systems[f"{kind} unswapped"] = by_network(folder, "query_language=en, route=query")
        systems[f"{kind} swapped"] = by_network(folder, f"query_language={language}, route={route}")
    return systems


def ranks(groups: Sequence[Group], order: Order) -> Any:
    """(n,) places of the right name, from 1."""
    return np.array([next(n for n, item in enumerate(order(group), 1) if group.grades.get(item, 0) > 0) for group in groups], dtype=float)


def span(values: Any, sign: str = "") -> str:
    interval = mean_interval(values)
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder with adapters, masks and full, or some of them")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--route", choices=("query", "both"), default="query", help="whose modules a swapped network goes through")
    parser.add_argument("--languages", nargs="+", default=[*SEEN, *UNSEEN])
    arguments = parser.parse_args()
    result: dict[str, Any] = {"bench": "modular_clir", "split": arguments.split, "route": arguments.route}
    print("| language | system | R@1 | MRR | R@1 over letters | over unswapped |\n|---|---|---|---|---|---|", flush=True)
    for language in arguments.languages:
        groups = lists(arguments.data, [f"{arguments.split}-{language}.jsonl"]).groups
        places = {name: ranks(groups, order) for name, order in systems_for(language, groups, arguments.runs, arguments.route).items()}
        first = {name: (one == 1).astype(float) for name, one in places.items()}
        for name, one in places.items():
            over = span(first[name] - first["letters"], "+") if name != "letters" else ""
            beside = first.get(name.replace(" swapped", " unswapped")) if name.endswith(" swapped") else None
            gain = "" if beside is None else span(first[name] - beside, "+")
            print(f"| {language} | {name} | {span(first[name])} | {span(1 / one)} | {over} | {gain} |", flush=True)
        result[language] = {name: {"R@1": float(first[name].mean()), "MRR": float((1 / one).mean())} for name, one in places.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
