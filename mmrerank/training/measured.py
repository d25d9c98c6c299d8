"""What a reranker is worth on held-out queries: before training and after it, over the first stage, with intervals.

Each query's order is a line in a file of its own, written as it comes, so that a kill costs one query. Beside the two stand the order of
the file, where the first stage is another, and each of the two fused with the first stage by rank. Nothing is chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmrerank.errors import InputError
from mmrerank.evaluation.comparison import gains, intervals
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.measures.names import parse_measure
from mmrerank.measures.scoring import Judgements, Scores, score
from mmrerank.protocols import Reranker
from mmrerank.text_files import json_lines
from mmrerank.training.data import Judged

BEFORE, AFTER = "untrained", "trained"
Orders = Mapping[str, Sequence[str]]  # query_id -> item ids, best first


def orders(
    judged: Judged, reranker: Reranker, depth: int, file: Path, advance: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, list[str]]:
    """The order of every query by a reranker over the first stage; those in the file are taken from there.

    Args:
        depth: how many candidates it sees; the others stay behind, as they came.
        file: JSON lines, a query a line.
    """
    known = {row["query_id"]: row["order"] for _, row in json_lines(file)} if file.is_file() else {}
    with file.open("a", encoding="utf-8") as lines:
        for done, group in enumerate(judged.groups, 1):
            query_id = group.query.query_id
            if query_id not in known:
                head, tail = group.candidates[:depth], group.candidates[depth:]
                known[query_id] = [*reranker.rerank(group.query, list(head)).item_ids, *(one.item.item_id for one in tail)]
                lines.write(json.dumps({"query_id": query_id, "order": known[query_id]}) + "\n")
                lines.flush()
            advance(done, len(judged.groups))
    return {group.query.query_id: known[group.query.query_id] for group in judged.groups}


def figures(judged: Judged, measures: Sequence[str], systems: Mapping[str, Orders]) -> dict[str, Any]:
    """Every system by every measure, with intervals over queries, and what it gains over the first stage and over the untrained one."""
    first = {group.query.query_id: [one.item.item_id for one in group.candidates] for group in judged.groups}
    of_file = {group.query.query_id: group.file_order for group in judged.groups if group.file_order}
    rows: dict[str, Orders] = {**({"order of the file": of_file} if of_file else {}), judged.first_stage: first, **systems}
    rows |= {f"{judged.first_stage} fused with {name}": _fused(first, order) for name, order in systems.items()}
    judgements = Judgements(qrels={group.query.query_id: dict(group.grades) for group in judged.groups}, junk=False)
    scores = {name: score(order, judgements, measures) for name, order in rows.items()}
    return {
        "queries": len(judged.groups),
        "first_stage": judged.first_stage,
        "systems": [_row(name, one, scores[judged.first_stage], scores.get(BEFORE), measures) for name, one in scores.items()],
    }


def _fused(first: Orders, second: Orders) -> dict[str, list[str]]:
    return {query_id: [one for one, _ in reciprocal_rank_fusion([first[query_id], second[query_id]])] for query_id in first}


def _row(name: str, own: Scores, first: Scores, before: Scores | None, measures: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "measures": {key: asdict(value) for key, value in intervals(own).items()}}
    for key, other in (("over_first_stage", first), ("over_untrained", before)):
        if other is not None and other is not own:
            row[key] = {measure: _gain(gains(other, [own], measure)[0]) for measure in measures}
    return row


def _gain(gain: Any) -> dict[str, Any]:
    return {**asdict(gain.interval), "p": gain.p_value, "wins": gain.wins, "ties": gain.ties, "losses": gain.losses}


def table(result: Mapping[str, Any], measure: str) -> str:
    """The figures by one measure as a table in Markdown."""
    rivals = {"over_first_stage": f"over {result['first_stage']}", "over_untrained": "over the untrained"}
    rivals = {key: head for key, head in rivals.items() if any(key in row for row in result["systems"])}
    lines = [f"| | {measure} | {' | '.join(rivals.values())} |", "| --- " * (2 + len(rivals)) + "|"]
    for row in result["systems"]:
        cells = [_span(row["measures"][measure], "")]
        cells += [_span(row[key][measure], "+") if key in row else "" for key in rivals]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _span(value: Mapping[str, float], sign: str) -> str:
    return f"{value['value']:{sign}.3f} ({value['low']:{sign}.3f} to {value['high']:{sign}.3f})"


def check_measurable(measures: Sequence[str]) -> None:
    """UnknownName or InputError for a measure that there is none of."""
    if not measures:
        raise InputError("held-out queries are measured by something", hint="Set measures in [[heldout]].")
    for name in measures:
        parse_measure(name)
