"""The report of an evaluation: one HTML page that needs nothing else, on dark and on light."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from mmrerank.evaluation._gallery import gallery, moves
from mmrerank.evaluation._plots import cost_plot, gain_plot, movement_plot
from mmrerank.evaluation.running import Outcome, part_of
from mmrerank.evaluation.summary import costs, unheard, within_groups
from mmrerank.types import Item

STYLE = """
:root{color-scheme:light dark;--ink:#14181f;--soft:#5a6472;--line:#d5dae1;--ground:#fff;--card:#f2f4f7;
--good:#0a7d4f;--bad:#b42318;--mark:#0b6bcb}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b4;--line:#38404c;--ground:#12151a;--card:#1d222a;
--good:#4cc38a;--bad:#ff8a7a;--mark:#6bb1ff}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:68rem;margin:0 auto;padding:1rem}
h1{font-size:1.7rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}.scroll{overflow-x:auto}small,.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}td small{display:block;line-height:1.35}
.better{color:var(--good)}.worse{color:var(--bad)}pre,.name{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem}
ol{padding-left:1.5rem;margin:.5rem 0}
svg{width:100%;max-width:40rem;display:block}svg text{fill:var(--ink);font-size:13px}.axis{stroke:var(--soft)}
line.better{stroke:var(--good);stroke-width:3}line.worse{stroke:var(--bad);stroke-width:3}
line.nothing{stroke:var(--soft);stroke-width:3}circle.nothing{fill:var(--soft)}.tick{stroke:var(--line)}
circle.better{fill:var(--good)}circle.worse{fill:var(--bad)}circle.mark{fill:var(--mark)}
.query{background:var(--card);border-radius:.5rem;padding:.7rem 1rem;margin:.7rem 0}
.row{display:grid;grid-template-columns:4rem repeat(5,minmax(0,6.5rem));gap:.5rem;margin-top:.5rem;align-items:start}
figure{margin:0;font-size:.75rem;line-height:1.3;overflow-wrap:anywhere;border-top:4px solid transparent;padding-top:2px}
figure.right{border-color:var(--good)}figure img{max-width:100%;max-height:6.5rem;background:#fff;display:block;border-radius:3px}
details{margin-top:2rem}@media(max-width:40rem){.row{grid-template-columns:repeat(3,minmax(0,1fr))}.row>.soft{grid-column:1/-1}}
"""


def render(result: Mapping[str, Any], outcome: Outcome, item_of: Callable[[str], Item] | None = None) -> str:
    """The page.

    Args:
        result: the figures, as `evaluate` gives them.
        item_of: the item of an id, to show its picture; ids alone where it is None.
    """
    main = outcome.benchmark.measures[0]
    labels = [_label(system["stages"]) for system in result["systems"]]
    parts = [f"<h1>{escape(result['card'])}</h1>", _head(result), _table(result, labels), _names(result)]
    parts += [_composition(result, labels), _variant(result), _groups(result, labels)]
    for n, (label, system) in enumerate(zip(labels, result["systems"], strict=True)):
        parts += [f"<h2>Gain of {n}: {escape(label)} over the first stage</h2>", gain_plot(system["gains"])] if n else []
    if sum(system["cost"]["seconds"] is not None for system in result["systems"]) > 1:
        parts += ["<h2>Quality and cost</h2>", cost_plot(result["systems"], main)]
    if len(outcome.systems) > 1:
        parts += ["<h2>Rank of the first right item</h2>", movement_plot(moves(outcome)), gallery(outcome, main, item_of)]
    origin = escape(json.dumps(result["made_by"], indent=1, ensure_ascii=False, default=str))
    parts.append(f"<details><summary>What made this</summary><pre>{origin}</pre></details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(result["card"])}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def _label(stages: Sequence[str]) -> str:
    """composed, + superglobal, run: bm25: what a row or a title has room for."""
    if stages[0].startswith("run/"):
        name, mark, file = stages[0].removeprefix("run/").partition(" [")  # the file tells apart runs of one name
        return f"run: {part_of(name.rpartition(' > ')[2])}{mark}{file}" + "".join(f" + {part_of(s)}" for s in stages[1:])
    if len(stages) == 1:
        return part_of(stages[0])
    return "+ " + " + ".join(part_of(stage) for stage in stages[1:])


def _head(result: Mapping[str, Any]) -> str:
    words = f"{result['queries']} queries, first stage {part_of(result['first_stage'])}, depth {result['depth']}, "
    words += f"{result['candidates']} candidates."
    variant = f" Variant {result['variant']['name']}." if "variant" in result else ""
    notes = "".join(f"<p><b>Note:</b> {escape(note)}.</p>" for note in result["notes"])
    how = "Intervals are 95 % over queries (bootstrap, gains paired by query); p is corrected after Holm."
    return f"<p>{escape(words + variant)} {how}</p>{notes}"


def _table(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    names = list(result["measures"])
    rows = ["<tr><th>system</th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "<th>calls</th><th>tokens</th><th>ms</th></tr>"]
    for n, (label, system) in enumerate(zip(labels, result["systems"], strict=True)):
        cells = [f"<td>{_cell(system['measures'][name], system['gains'].get(name))}</td>" for name in names]
        cost = costs(system)
        known = f"<small>{cost['cached']} cached</small>" if cost["cached"] not in ("", "-") else ""
        cells += [f"<td>{cost['calls']}{known}</td><td>{cost['tokens']}</td><td>{cost['ms']}</td>"]
        rows.append(f"<tr><td>{n}: {escape(label)}<small>depth {system['depth']}</small>{_unheard(system)}</td>{''.join(cells)}</tr>")
    best = "".join(f"<td>{_number(result['ceiling'][name])}</td>" for name in names)
    rows.append(f"<tr><td>best order at depth {result['depth']}</td>{best}<td></td><td></td><td></td></tr>")
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _unheard(system: Mapping[str, Any]) -> str:
    words = unheard(system)
    return f'<small class="{"worse" if "fallback" in system["notes"] else "soft"}">{escape(words)}</small>' if words else ""


def _composition(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    """What each system reaches with both sides of a composed query and with one alone, and the gap; nothing where there are none."""
    if "composition" not in result:
        return ""
    composition = result["composition"]
    head = ["system", "both", "text alone", "pictures alone", "composition gap"]
    rows = [
        [
            f"{n}: {label}",
            *(_number(row[name]) for name in ("both", "text", "pictures")),
            _signed(row),
        ]
        for n, (label, row) in enumerate(zip(labels, composition["systems"], strict=True))
    ]
    words = f"Over the {composition['queries']} queries with text and picture, less the better of either alone."
    if any(row["over_system"] != row["name"] for row in composition["systems"]):
        words += " Text and pictures alone went through the first stage only, or through a run of their own."
    return f'<h2>Composition gap, {escape(composition["measure"])}</h2><p class="soft">{words}</p>' + _rows(head, rows)


def _variant(result: Mapping[str, Any]) -> str:
    """What a variant was run for: the figures of the last stage without it and with it, and how alike the rankings are."""
    if "variant" not in result:
        return ""
    variant = result["variant"]
    unchanged = variant["unchanged"][-1]["measures"]
    rows = [[name, _spread(unchanged[name]), _spread(values)] for name, values in result["measures"].items()]
    alike = (
        ("the same first item", "same_first"),
        ("shared of the first ten", "overlap_10"),
        ("order of what both have (tau)", "kendall_tau"),
    )
    shares = [[words, _number(variant[key])] for words, key in alike]
    shares += [
        [f"{name}, changed less unchanged", _signed(gain)] for name, gain in variant.get("change", {}).items() if gain["value"] is not None
    ]
    shares += [[f"{name}, wordings of a query apart", _number(value)] for name, value in variant.get("spread", {}).items()]
    shares += [[f"negatives in the first 10, {key.replace('_', ' ')}", _number(v)] for key, v in variant.get("negatives_10", {}).items()]
    title = f"<h2>{escape(variant['name'])} against the unchanged benchmark, last stage</h2>"
    return title + _rows(["measure", "unchanged", "changed"], rows) + _rows(["of the last stage", "mean over queries"], shares)


def _groups(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    """The figures of each group of queries, a table a system; nothing where the queries are of one group."""
    tables = []
    for label, system in zip(labels, result["systems"], strict=True):
        names = within_groups(result["measures"])
        rows = [[group, *(_number(row[name]) for name in names)] for group, row in system["groups"].items()]
        tables += [f"<h2>Groups of queries: {escape(label)}</h2>{_rows(['group', *names], rows)}"] if rows else []
    return "".join(tables)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; every cell is text."""
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head), *("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)]
    return '<div class="scroll"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _signed(values: Mapping[str, Any]) -> str:
    return f"{values['value']:+.3f} ({values['low']:+.3f} to {values['high']:+.3f})"


def _spread(values: Mapping[str, Any]) -> str:
    return f"{_number(values['value'])} ({_number(values['low'])} to {_number(values['high'])})"


def _cell(values: Mapping[str, Any], gain: Mapping[str, Any] | None) -> str:
    cell = f"{_number(values['value'])}<small>{_number(values['low'])} to {_number(values['high'])}</small>"
    if gain is None or gain["value"] is None:
        return cell
    side = "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "soft"
    counts = f"{gain['wins']} won, {gain['ties']} equal, {gain['losses']} lost"
    return f'{cell}<small class="{side}">{gain["value"]:+.3f}, p {gain["p_holm"]:.4f}</small><small>{counts}</small>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _names(result: Mapping[str, Any]) -> str:
    """The whole names of the systems, which hold every option that moves a number."""
    return '<ol start="0" class="name soft">' + "".join(f"<li>{escape(system['name'])}</li>" for system in result["systems"]) + "</ol>"
