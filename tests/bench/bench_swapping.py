"""Whether modules of languages that are trained longer, or over texts beside their English, are worth swapping: R@1 on dev.

    python -m tools.annotations.make --out data/annotations
    python -m tools.annotations.train --data data/annotations --out data/annotations/base
    python tests/bench/bench_swapping.py --data data/annotations --texts pairs --steps 200 --couplings

A module each by masked language modelling over `texts` (the language alone) or `pairs` (with the name in English), a ranking module from
English lists through the English module, then dev in every language: through the English module (unswapped), through the language's own
(swapped), and the query through its own and the names through the English one (split). `--couplings` keeps the couplings at the embeddings,
which the released code leaves out, in ranking. Intervals are 95 % over 160 queries, paired. Training dominates: some .2 s a step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.models.language_modules import Route
from mmrerank.rerankers.modular_clir import pairs_of
from mmrerank.training.data import Group, lists, texts
from mmrerank.training.networks.modular_clir import ModularTrainee, build
from mmrerank.training.recipe import Band, Draw, Model, Stage
from mmrerank.training.supervised import Schedule, train_stage

TOKENS = 48
DRAW = Draw(positives=1, negatives=(Band(first=1, last=20, count=5),), fresh=True)
SCHEDULE: dict[str, Any] = {"learning_rate": 2e-3, "warmup": 0.05, "schedule": "cosine", "save_every": 10_000}


def train(trainee: ModularTrainee, stage: Stage, groups: Sequence[Group], draw: Draw) -> None:
    with TemporaryDirectory() as folder:
        samples = Schedule(groups, draw, stage.steps * stage.groups, seed=0, name=stage.name)
        train_stage(stage, trainee, samples, Path(folder), seed=0)


def trained(arguments: argparse.Namespace) -> ModularTrainee:
    """The network with a module of every language and the one that ranks."""
    options = {"kind": "adapters", "languages": arguments.languages, "ranking_reduction": 2, "masked": 0.3}
    trainee = build(Model(network="modular_clir", base="base", options=options), arguments.data, 0)
    for language in arguments.languages:
        name = f"modular_clir(document_language={language}, tokens={TOKENS})"
        stage = Stage(name=language, reranker=name, loss="language", steps=arguments.steps, groups=32, **SCHEDULE)
        train(trainee, stage, texts(arguments.data, [f"{arguments.texts}-{language}.jsonl"]).groups, Draw())
    name = f"modular_clir(document_language=en, tokens={TOKENS}, couplings={arguments.couplings})"
    stage = Stage(name="ranking", reranker=name, loss="softmax", steps=arguments.ranking, groups=12, weight_decay=0.01, **SCHEDULE)
    train(trainee, stage, lists(arguments.data, ["train-en.jsonl"]).groups, DRAW)
    return trainee.eval()


@torch.inference_mode()
def firsts(trainee: ModularTrainee, groups: Sequence[Group], route: Route) -> Any:
    """(n,) 1 where the right name is first."""
    values = []
    for group in groups:
        names = [one.item.text or "" for one in group.candidates]
        inputs = pairs_of(trainee._tokenizer, [group.query.text or ""] * len(names), names, TOKENS)
        scores = trainee.network(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"], route)
        values.append(float(group.grade(group.candidates[int(scores.argmax())]) > 0))
    return np.array(values)


def span(values: Any, sign: str = "") -> str:
    interval = mean_interval(values)
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that tools.annotations.make wrote, with the BERT in base")
    parser.add_argument("--texts", choices=("texts", "pairs"), default="pairs")
    parser.add_argument("--steps", type=int, default=200, help="of each language's module")
    parser.add_argument("--ranking", type=int, default=200, help="steps of the module that ranks")
    parser.add_argument("--couplings", action="store_true")
    parser.add_argument("--languages", nargs="+", default=["en", "de", "ru", "uk"])
    arguments = parser.parse_args()
    trainee, result = trained(arguments), dict[str, Any]()
    print("| language | unswapped | swapped | over unswapped | split | over unswapped |\n|---|---|---|---|---|---|", flush=True)
    for language in arguments.languages:
        groups = lists(arguments.data, [f"dev-{language}.jsonl"]).groups
        routes = {"unswapped": ("en", "en"), "swapped": (language, language), "split": (language, "en")}
        hits = {
            name: firsts(trainee, groups, Route(query=query, document=document, coupled=arguments.couplings))
            for name, (query, document) in routes.items()
        }
        gains = {name: span(hits[name] - hits["unswapped"], "+") for name in ("swapped", "split")}
        cells = [cell for name, gain in gains.items() for cell in (span(hits[name]), gain)]
        print(f"| {language} | {span(hits['unswapped'])} | {' | '.join(cells)} |", flush=True)
        result[language] = {name: float(one.mean()) for name, one in hits.items()}
    print(json.dumps({"bench": "swapping", "texts": arguments.texts, "steps": arguments.steps, "couplings": arguments.couplings, **result}))


if __name__ == "__main__":
    main()
