"""The queries that won and lost most, with pictures: what was asked, the first hits before and after, what was said of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from mmrerank.errors import MMRerankError
from mmrerank.evaluation.running import Outcome, System
from mmrerank.types import ImageHandle, Item, Query

QUERY_COUNT, HIT_COUNT, THUMB_PX, TEXT_LETTERS = 10, 5, 112, 90


def moves(outcome: Outcome) -> list[tuple[int, int]]:
    """Rank of the first right item before and after, one past the end where there is none; a query each."""
    before, after = outcome.systems[0].rankings, outcome.systems[-1].rankings
    return [(_first(outcome, q, before[q]), _first(outcome, q, after[q])) for q in before if q in after]


def _first(outcome: Outcome, query_id: str, ids: Sequence[str]) -> int:
    grades = outcome.benchmark.qrels.get(query_id, {})
    return next((rank for rank, item in enumerate(ids, 1) if grades.get(item, 0) > 0), len(ids) + 1)


def gallery(outcome: Outcome, main: str, item_of: Callable[[str], Item] | None) -> str:
    """HTML of the queries that won and lost most, by the main measure and then by the rank of the first right item.

    Args:
        item_of: the item of an id, to show its picture; ids alone where it is None.
    """
    best, worst = extremes(outcome, main)
    queries = {query.query_id: query for query in outcome.benchmark.queries}
    html = ""
    for title, ids in (("Won most", best), ("Lost most", worst)):
        if ids:
            html += f"<h2>{title}</h2>" + "".join(_query(outcome, queries[query_id], item_of) for query_id in ids)
    return html


def extremes(outcome: Outcome, main: str) -> tuple[list[str], list[str]]:
    """Query ids that won most and that lost most, most first; those that neither won nor lost are in none."""
    scored = outcome.scored()
    gain = np.nan_to_num(scored[len(outcome.systems) - 1].values[main] - scored[0].values[main])
    before, after = outcome.systems[0].rankings, outcome.systems[-1].rankings
    keyed = []
    for value, query_id in zip(gain, scored[0].query_ids, strict=True):
        if query_id in before and query_id in after:
            ranks = [_first(outcome, query_id, ids[query_id]) for ids in (before, after)]
            keyed.append((float(value), 1 / ranks[1] - 1 / ranks[0], query_id))
    ordered = sorted(keyed, key=lambda row: (-row[0], -row[1], row[2]))
    best = [row[2] for row in ordered if row[:2] > (0, 0)][:QUERY_COUNT]
    worst = [row[2] for row in reversed(ordered) if row[:2] < (0, 0)][:QUERY_COUNT]
    return best, worst


def _query(outcome: Outcome, query: Query, item_of: Callable[[str], Item] | None) -> str:
    words = f"<b>{escape(query.text or 'like this')}</b> <small>{escape(query.query_id)}</small>"
    parts = [f'<div class="query">{words}']
    excluded = "".join(f"<figure>{escape(_cut(text))}</figure>" for text in query.exclude_text)
    for label, cells in (("asked", _pictures(query.images)), ("not", _pictures(query.exclude_images) + excluded)):
        parts += [f'<div class="row"><span class="soft">{label}</span>{cells}</div>'] if cells else []
    for label, system in (("before", outcome.systems[0]), ("after", outcome.systems[-1])):
        parts.append(f'<div class="row"><span class="soft">{label}</span>{_hits(outcome, query, system, item_of)}</div>')
    return "".join(parts) + "</div>"


def _pictures(images: Sequence[ImageHandle]) -> str:
    return "".join(f"<figure>{_picture(image)}</figure>" for image in images)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LETTERS else f"{text[:TEXT_LETTERS]}..."


def _hits(outcome: Outcome, query: Query, system: System, item_of: Callable[[str], Item] | None) -> str:
    ids = system.rankings[query.query_id][:HIT_COUNT]
    grades, reasons = outcome.benchmark.qrels.get(query.query_id, {}), system.reasons.get(query.query_id, {})
    return "".join(
        _hit(rank, item_id, grades.get(item_id, 0) > 0, reasons.get(item_id, ""), item_of) for rank, item_id in enumerate(ids, 1)
    )


def _hit(rank: int, item_id: str, right: bool, reason: str, item_of: Callable[[str], Item] | None) -> str:
    item = item_of(item_id) if item_of is not None else None
    picture = _picture(item.image) if item is not None and item.image is not None else ""
    short = item_id.rpartition("::")[2]
    words = f"<figcaption>{rank}. {escape(short)} <small>{escape(_cut(reason))}</small></figcaption>"
    return f'<figure class="{"right" if right else "other"}" title="{escape(item_id)}: {escape(reason)}">{picture}{words}</figure>'


def _picture(image: ImageHandle) -> str:
    """The picture, small, inside the page; the reason in its place where it cannot be opened."""
    try:
        small = image.open()
    except MMRerankError as error:
        return f"<small>{escape(error.message)}</small>"
    small.thumbnail((THUMB_PX, THUMB_PX))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}">'
