"""What `mmrerank demo` does: the whole way of the data on what ships, with pictures to look at and figures.

Emoji pictures are indexed with the embedded CLIP, the handbook's PDFs by their text; then text, picture, composed and
document queries are answered, refined with SuperGlobal, drawn, and measured on judged queries with and without it.

The data lies in a checkout; the wheel carries a sample of the emoji, on which the same queries are answered and drawn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.sampling import evenly
from mmrerank.ingest.run import IngestReport
from mmrerank.measures.standard import mean
from mmrerank.parts import make
from mmrerank.protocols import Backend
from mmrerank.results import SearchResult
from mmrerank.sheet import draw_sheet
from mmrerank.types import Item, Qrels, Query, Ranking

DATASETS = Path(__file__).parents[1] / "datasets"
EMOJI = "emoji/pictures.parquet"
SAMPLE = Path(__file__).parent / "mini" / "sample.tar"  # made by tools/emoji/sample.py
REFINED = "superglobal(neighbours='adaptive')"
LOOKED_AT = "square(depth=9, cell_px=72, gutter_px=0)"  # cells of the size of the pictures, as the embedded MLLM knows them
DEPTH = 50
MEASURED_QUERIES = 300
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoQuery:
    """One query of the demo: what to ask and in which way."""

    title: str
    query: Query
    retriever: str | None = None
    rerank: tuple[str, ...] = ()
    backend: Backend | None = None


def shipped(name: str) -> Path:
    """A file or folder of the shipped data.

    Raises:
        InputError: it is not there: the wheel carries the code and the models, the checkout also the data.
    """
    path = DATASETS / name
    if not path.exists():
        raise InputError(f"the shipped data {name!r} is not at {path}", hint="Run the demo from a checkout of the repository.")
    return path


def run(out: Path, say: Say, progress: Callable[[str], Any]) -> dict[str, Any]:
    """Indexes, searches, draws and measures; returns what was measured, and says it line by line. Without a checkout it does so on the
    sample of the wheel, and measures nothing.

    Args:
        out: folder for the collections and the sheets; kept, so a second run only adds what is new.
        progress: context manager over a label that yields the ingest's progress function.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (DATASETS / EMOJI).exists():
        return _run_sample(out, say, progress)
    emoji = _collection(out / "emoji", shipped(EMOJI), ["openclip/mini"], say, progress)
    handbook = _collection(out / "handbook", shipped("handbook"), [], say, progress)
    mini = make("mini", station="backends")
    sheets = [*_show(emoji, _emoji_queries(emoji, mini), out, say), *_show(handbook, _handbook_queries(), out, say)]
    composed = composed_queries(emoji, "test")
    measured = _compare(emoji, composed, [REFINED, "superglobal"], say)
    measured |= _compare(emoji, composed, [], say, retriever="square_fusion", backend=mini)
    measured |= _compare(handbook, handbook_questions("test"), [], say)
    _say_sheets(sheets, say)
    return {"sheets": [str(sheet) for sheet in sheets], "measures": measured}


def _run_sample(out: Path, say: Say, progress: Callable[[str], Any]) -> dict[str, Any]:
    """The same with what the wheel carries."""
    say(f"{SAMPLE.name}: a sample of emoji that the package carries; a checkout of the repository searches all of them, and documents")
    emoji = _collection(out / "sample", SAMPLE, ["openclip/mini"], say, progress)
    sheets = list(_show(emoji, _emoji_queries(emoji, make("mini", station="backends"), SAMPLE.name), out, say))
    _say_sheets(sheets, say)
    say("\nYour own pictures:   mmrerank index FOLDER --into photos     then   mmrerank search photos --text 'a red door'")
    return {"sheets": [str(sheet) for sheet in sheets], "measures": {}}


def _say_sheets(sheets: Sequence[Path], say: Say) -> None:
    say(f"\n{len(sheets)} sheets to look at:")
    for sheet in sheets:
        say(f"  {sheet}")


def _collection(folder: Path, source: Path, encoders: list[str], say: Say, progress: Callable[[str], Any]) -> Collection:
    collection = Collection.open_or_create(folder, encoders=encoders)
    with progress(f"indexing {source.name}") as report_progress:
        report = collection.add([source], progress=report_progress)
    _say_report(folder.name, report, say)
    return collection


def _say_report(name: str, report: IngestReport, say: Say) -> None:
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.failed)} failed"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.stage_seconds.items())
    say(f"{name}: {report.found} of {report.expected} items in {report.seconds:.1f} s ({counts}; {stages or 'nothing to do'})")


def _emoji_queries(emoji: Collection, mini: Backend, file: str = "pictures.parquet") -> list[DemoQuery]:
    firefighter = emoji.item(f"{file}::woman-firefighter-medium-skin-tone")
    player, cat = emoji.item(f"{file}::woman-bouncing-ball-medium-skin-tone"), emoji.item(f"{file}::grinning-cat")
    return [
        DemoQuery(title="text", query=Query(query_id="1-text", text="man farmer: dark skin tone")),
        DemoQuery(title="picture", query=Query(query_id="2-picture", images=_pictures(cat)), rerank=(REFINED,)),
        DemoQuery(
            title="picture and text",
            query=Query(query_id="3-composed", images=_pictures(firefighter), text="the same, but a man with dark skin"),
        ),
        DemoQuery(
            title="picture and text, the embedded MLLM tells what is wished for",
            query=Query(query_id="3-composed-mini", images=_pictures(firefighter), text="the same, but a man with dark skin"),
            retriever="square_fusion",
            backend=mini,
        ),
        DemoQuery(
            title="picture and text, the embedded MLLM looks at the nine best at once",
            query=Query(
                query_id="3-composed-square", images=_pictures(player), text="the same, but as a technologist with dark skin colour"
            ),
            rerank=(LOOKED_AT,),
            backend=mini,
        ),
        DemoQuery(
            title="picture, text and an exclusion",
            query=Query(query_id="4-exclusion", images=_pictures(firefighter), text="now as a pilot", exclude_text=("man",)),
        ),
        DemoQuery(title="with a filter", query=Query(query_id="5-filter", text="smiling", filter="\"group\" = 'Animals & Nature'")),
    ]


def _pictures(item: Item) -> tuple[Any, ...]:
    return (item.image,)


def _handbook_queries() -> list[DemoQuery]:
    questions = [row for row in _lines(shipped("handbook/questions.jsonl")) if row["answerable"] and row["split"] == "dev"]
    chosen = [next(row for row in questions if row["evidence"] == kind) for kind in ("text", "table", "chart")]
    return [DemoQuery(title="document question", query=Query(query_id=f"6-pages-{n}", text=row["text"])) for n, row in enumerate(chosen, 1)]


def _show(collection: Collection, queries: Sequence[DemoQuery], out: Path, say: Say) -> Iterator[Path]:
    for entry in queries:
        depth = DEPTH if entry.rerank else None
        result = collection.search(entry.query, k=6, retriever=entry.retriever, rerank=entry.rerank, backend=entry.backend, depth=depth)
        sheet = out / f"{entry.query.query_id}.png"
        draw_sheet(result, title=entry.title).save(sheet)
        say(f"\n{entry.title}: {_in_words(entry.query)}")
        say(f"  {_took(result)}")
        for hit in result.hits[:3]:
            say(f"  {hit.rank}. {hit.item.item_id}  ({hit.reason})")
        yield sheet


def _in_words(query: Query) -> str:
    parts = [f"{len(query.images)} picture" if query.images else "", repr(query.text) if query.text else ""]
    parts += [f"not {text!r}" for text in query.exclude_text]
    return " + ".join(part for part in parts if part)


def _took(result: SearchResult) -> str:
    return ", ".join(f"{stage.name.split('(')[0]} {stage.seconds * 1000:.0f} ms" for stage in result.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Queries with their judgements; `own` names the item a query's picture was taken from, which is not an answer to it."""

    label: str
    queries: tuple[Query, ...]
    qrels: Qrels
    own: Mapping[str, str]
    measures: tuple[str, ...]


def composed_queries(emoji: Collection, split: str) -> Judged:
    """Some hundred of the shipped composed queries of one split, evenly over all of them."""
    rows = evenly([row for row in _lines(shipped("emoji/queries.jsonl")) if row["split"] == split], MEASURED_QUERIES)
    return Judged(
        label=f"composed queries, emoji {split} split",
        queries=tuple(Query(query_id=r["query_id"], text=r["text"], images=_pictures(emoji.item(r["image"]))) for r in rows),
        qrels=_qrels(rows),
        own={row["query_id"]: row["image"] for row in rows},
        measures=("R@1", "R@10", "RR"),
    )


def handbook_questions(split: str) -> Judged:
    """The shipped questions of one split that the handbook answers."""
    rows = [row for row in _lines(shipped("handbook/questions.jsonl")) if row["answerable"] and row["split"] == split]
    queries = tuple(Query(query_id=row["query_id"], text=row["text"]) for row in rows)
    return Judged(
        label=f"questions, handbook {split} split", queries=queries, qrels=_qrels(rows), own={}, measures=("Success@1", "Success@5", "RR")
    )


def _qrels(rows: Sequence[Mapping[str, Any]]) -> Qrels:
    return {row["query_id"]: dict.fromkeys(row["relevant"], 1) for row in rows}


def _compare(
    collection: Collection,
    judged: Judged,
    rerankers: Sequence[str],
    say: Say,
    *,
    retriever: str | None = None,
    backend: Backend | None = None,
) -> dict[str, Any]:
    """Measures of the first stage and of each reranker on top of it, by stage."""
    measures: dict[str, Any] = {}
    say(f"\n{judged.label}: {len(judged.queries)} queries")
    for reranker in ("", *rerankers):
        start = time.perf_counter()
        rerank = [reranker] if reranker else ()
        results = [
            collection.search(query, k=DEPTH, retriever=retriever, rerank=rerank, backend=backend, depth=DEPTH) for query in judged.queries
        ]
        took_ms = (time.perf_counter() - start) / len(results) * 1000
        rankings = {result.query.query_id: _without(result.stages[-1].ranking, judged.own.get(result.query.query_id)) for result in results}
        values = mean(rankings, judged.qrels, judged.measures)
        stage = f"{results[0].stages[0].name}" + (f", then {reranker} at depth {DEPTH}" if reranker else "")
        say(f"  {'  '.join(f'{name} {value:.3f}' for name, value in values.items())}  {took_ms:.0f} ms a query  {stage}")
        measures[f"{judged.label}: {stage}"] = values
    return measures


def _without(ranking: Ranking, own: str | None) -> Ranking:
    return replace(ranking, candidates=tuple(c for c in ranking.candidates if c.item.item_id != own))


def _lines(path: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
