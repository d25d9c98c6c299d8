"""The report of an evaluation: one HTML page that needs nothing else, on dark and on light."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from mmrerank.errors import MMRerankError
from mmrerank.evaluation._plots import cost_plot, gain_plot, movement_plot
from mmrerank.evaluation.running import Outcome
from mmrerank.types import ImageHandle, Item, Query

SHOWN_QUERIES, SHOWN_HITS, THUMB_PX = 4, 5, 112
STYLE = """
:root{color-scheme:light dark;--ink:#14181f;--soft:#5a6472;--ground:#fff;--card:#f2f4f7;--good:#0a7d4f;--bad:#b42318;--mark:#0b6bcb}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b4;--ground:#12151a;--card:#1d222a;--good:#4cc38a;--bad:#ff8a7a;--mark:#6bb1ff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:60rem;margin:0 auto;padding:1rem}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--soft)}
th:first-child,td:first-child{text-align:left}.scroll{overflow-x:auto}small,.soft{color:var(--soft)}pre{white-space:pre-wrap;font-size:.8rem}
svg{width:100%;max-width:40rem;display:block}svg text{fill:var(--ink);font-size:13px}.axis{stroke:var(--soft)}
line.better{stroke:var(--good);stroke-width:3}line.worse{stroke:var(--bad);stroke-width:3}
circle.better{fill:var(--good)}circle.worse{fill:var(--bad)}circle.mark{fill:var(--mark)}
.query{background:var(--card);border-radius:.5rem;padding:.7rem;margin:.7rem 0}.row{display:flex;flex-wrap:wrap;gap:.5rem}
figure{margin:0;width:7.5rem;font-size:.75rem;overflow-wrap:anywhere;border-top:4px solid transparent}figure.right{border-color:var(--good)}
figure img{max-width:100%;background:#fff}
"""


def render(result: Mapping[str, Any], outcome: Outcome, item_of: Callable[[str], Item] | None = None) -> str:
    """The page.

    Args:
        result: the figures, as `evaluate` gives them.
        item_of: the item of an id, to show its picture; ids alone where it is None.
    """
    main = outcome.benchmark.measures[0]
    parts = [f"<h1>{escape(result['card'])}</h1>", _head(result), _table(result)]
    for system in result["systems"][1:]:
        parts += [f"<h2>Gain of {escape(system['name'])}</h2>", gain_plot(system["gains"])]
    parts += ["<h2>Quality and cost</h2>", cost_plot(result["systems"], main)]
    if len(outcome.systems) > 1:
        parts += ["<h2>Rank of the first right item</h2>", movement_plot(_moves(outcome)), _gallery(outcome, main, item_of)]
    origin = escape(json.dumps(result["made_by"], indent=1, ensure_ascii=False, default=str))
    parts.append(f"<details><summary>What made this</summary><pre>{origin}</pre></details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(result["card"])}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def _head(result: Mapping[str, Any]) -> str:
    told = f"{result['queries']} queries, first stage {result['first_stage']}, depth {result['depth']}, {result['candidates']} candidates."
    variant = f" Variant {result['variant']['name']}." if "variant" in result else ""
    return f"<p>{escape(told + variant)} Intervals are 95 % over queries (paired bootstrap); p is corrected after Holm.</p>"


def _table(result: Mapping[str, Any]) -> str:
    names = list(result["measures"])
    rows = ["<tr><th>system</th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "<th>calls</th><th>tokens</th><th>ms</th></tr>"]
    for n, system in enumerate(result["systems"]):
        cells = [f"<td>{_cell(system['measures'][name], system['gains'].get(name))}</td>" for name in names]
        cost = system["cost"]
        cells += [f"<td>{cost['calls']:.1f}</td><td>{cost['tokens']:.0f}</td><td>{cost['seconds'] * 1000:.0f}</td>"]
        rows.append(f"<tr><td>{n}: {escape(system['name'])}</td>{''.join(cells)}</tr>")
    best = "".join(f"<td>{_number(result['ceiling'][name])}</td>" for name in names)
    rows.append(f"<tr><td>best order at depth {result['depth']}</td>{best}<td></td><td></td><td></td></tr>")
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _cell(found: Mapping[str, Any], gain: Mapping[str, Any] | None) -> str:
    shown = f"{_number(found['value'])}<br><small>{_number(found['low'])} to {_number(found['high'])}</small>"
    if gain is None or gain["value"] is None:
        return shown
    counts = f"{gain['wins']} won, {gain['ties']} equal, {gain['losses']} lost"
    return f"{shown}<br><small>{gain['value']:+.3f}, p {gain['p_holm']:.4f}<br>{counts}</small>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _moves(outcome: Outcome) -> list[tuple[int, int]]:
    """Rank of the first right item before and after, one past the end where there is none."""
    before, after = outcome.systems[0].rankings, outcome.systems[-1].rankings
    return [(_first(outcome, q, before[q]), _first(outcome, q, after[q])) for q in before if q in after]


def _first(outcome: Outcome, query_id: str, ids: Sequence[str]) -> int:
    grades = outcome.benchmark.qrels.get(query_id, {})
    return next((rank for rank, item in enumerate(ids, 1) if grades.get(item, 0) > 0), len(ids) + 1)


def _gallery(outcome: Outcome, main: str, item_of: Callable[[str], Item] | None) -> str:
    """The queries that won and lost most, by the main measure and then by the rank of the first right item."""
    scored = outcome.scored()
    gain = np.nan_to_num(scored[-1].values[main] - scored[0].values[main])
    moved = {q.query_id: move for q, move in zip(outcome.benchmark.queries, _moves(outcome), strict=False)}
    keyed = [(float(g), 1 / moved[q][1] - 1 / moved[q][0], q) for q, g in zip(scored[0].query_ids, gain, strict=True) if q in moved]
    ordered = sorted(keyed, key=lambda row: (-row[0], -row[1], row[2]))
    best = [row[2] for row in ordered if row[:2] > (0, 0)][:SHOWN_QUERIES]
    worst = [row[2] for row in reversed(ordered) if row[:2] < (0, 0)][:SHOWN_QUERIES]
    queries = {query.query_id: query for query in outcome.benchmark.queries}
    shown = [f"<h2>{title}</h2>" + "".join(_query(outcome, queries[q], item_of) for q in ids)
             for title, ids in (("Won most", best), ("Lost most", worst)) if ids]  # fmt: skip
    return "".join(shown)


def _query(outcome: Outcome, query: Query, item_of: Callable[[str], Item] | None) -> str:
    asked = "".join(f"<figure>{_picture(image)}</figure>" for image in query.images)
    parts = [f'<div class="query"><b>{escape(query.text or "like this")}</b> <small>{escape(query.query_id)}</small>']
    parts.append(f'<div class="row">{asked}</div>')
    grades = outcome.benchmark.qrels.get(query.query_id, {})
    for label, system in (("before", outcome.systems[0]), ("after", outcome.systems[-1])):
        hits = system.rankings[query.query_id][:SHOWN_HITS]
        row = "".join(_hit(n, item, grades.get(item, 0) > 0, item_of) for n, item in enumerate(hits, 1))
        parts.append(f'<p class="soft">{label}</p><div class="row">{row}</div>')
    return "".join(parts) + "</div>"


def _hit(rank: int, item_id: str, right: bool, item_of: Callable[[str], Item] | None) -> str:
    item = item_of(item_id) if item_of is not None else None
    picture = _picture(item.image) if item is not None and item.image is not None else ""
    return f'<figure class="{"right" if right else "other"}">{picture}<figcaption>{rank}. {escape(item_id)}</figcaption></figure>'


def _picture(image: ImageHandle) -> str:
    """The picture, small, inside the page; the reason in its place where it cannot be opened."""
    try:
        small = image.open()
    except MMRerankError as error:
        return f"<small>{escape(error.message)}</small>"
    small.thumbnail((THUMB_PX, THUMB_PX))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}">'
