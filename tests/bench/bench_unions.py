"""What a network over unions is worth beside each first stage alone, their reciprocal rank fusion and the best order that there could be.

    mmrerank train ranknovo_union --data DATA --out runs/union
    python tests/bench/bench_unions.py --with ranknovo_union/runs/union/model --data DATA

On the held-out questions of the recipe, each set by itself. Gains are over the fusion, paired by question. Which cost dominates: none; some
milliseconds a question. Intervals are 95 %, by bootstrap over questions; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mmrerank.parts import make
from mmrerank.rerankers.ranknovo_union import stages_of
from mmrerank.training.data import Group, read_groups
from mmrerank.training.measured import figures
from mmrerank.training.recipe import read_recipe

MEASURES = ("nDCG@10", "R@1")


def order_of(group: Group, stage: str) -> list[str]:
    """The candidates by one stage, those that it does not have behind in the order of the fusion."""
    ranks = {one.item.item_id: stages_of(one, 1).get(stage, (10**6, 0.0))[0] for one in group.candidates}
    return sorted(ranks, key=lambda item_id: ranks[item_id])


def best_order(group: Group) -> list[str]:
    return [one.item.item_id for one in sorted(group.candidates, key=lambda one: -group.grade(one))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="name", required=True, help="the reranker with its folder")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    network, result = make(arguments.name, station="rerankers"), {}
    for heldout in read_recipe("ranknovo_union").heldout:
        judged = read_groups(heldout.source, arguments.data, arguments.data)
        stages = sorted({name for group in judged.groups for one in group.candidates for name in stages_of(one, 1)})
        systems: dict[str, Any] = {name: {group.query.query_id: order_of(group, name) for group in judged.groups} for name in stages}
        systems["network"] = {g.query.query_id: list(network.rerank(g.query, list(g.candidates)).item_ids) for g in judged.groups}
        systems["best order"] = {group.query.query_id: best_order(group) for group in judged.groups}
        table = figures(judged, MEASURES, systems)
        rows = {row["name"]: row for row in table["systems"] if " fused with " not in row["name"]}
        result[heldout.name] = {"questions": table["queries"], "systems": rows}
        print(f"\n{heldout.name}, {table['queries']} questions\n\n| | {' | '.join(f'{m} | over the fusion' for m in MEASURES)} |")
        print("| --- " * (1 + 2 * len(MEASURES)) + "|")
        for name, row in rows.items():
            label = "reciprocal rank fusion" if name == judged.first_stage else name
            gains = row.get("over_first_stage", {})
            cells = [cell for m in MEASURES for cell in (span(row["measures"][m]), span(gains[m], "+") if gains else "")]
            print(f"| {label} | {' | '.join(cells)} |")
    print(json.dumps({"bench": "unions", **result}))


def span(value: dict[str, float], sign: str = "") -> str:
    return f"{value['value']:{sign}.3f} ({value['low']:{sign}.3f} to {value['high']:{sign}.3f})"


if __name__ == "__main__":
    main()
