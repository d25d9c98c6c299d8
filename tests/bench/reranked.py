"""What the benches of rerankers share: judged queries with their candidates, methods run over them so that a kill costs one query, figures.

A method's rankings are JSON lines in a file of their own, a line a query, written as they come; a second run goes on behind the last.
The name of the file holds a digest of what moves the order (set, depth, method, model, prompt), so that a changed method starts anew.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.errors import MMRerankError
from mmrerank.evaluation.comparison import Interval, gains, intervals, oracle
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.measures.scoring import Judgements, Scores, score
from mmrerank.parts import StagedReranker
from mmrerank.prompting.files import PromptedPart
from mmrerank.protocols import Backend, Reranker, weights_of
from mmrerank.rerankers._guarding import signs_of
from mmrerank.rerankers.guard import Judgement, guard_from
from mmrerank.text_files import json_lines
from mmrerank.types import Candidate, Cost, Item, Qrels, Query, Ranking

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MODELS = ROOT / ".models"  # made by `make real-models`
LONGEST = 120  # letters of an error that is shown


@dataclass(frozen=True, kw_only=True)
class JudgedSet:
    """Queries with the candidates of a first stage, best first, and what is right."""

    name: str
    first_stage: str
    measure: str
    depth: int
    queries: tuple[tuple[Query, tuple[Candidate, ...]], ...]
    qrels: Qrels

    def some(self, limit: int | None) -> JudgedSet:
        """The set with so many queries, drawn by a fixed seed; those of a smaller limit are among those of a larger one."""
        order = random.Random(self.name).sample(range(len(self.queries)), len(self.queries))
        return replace(self, queries=tuple(self.queries[n] for n in order[:limit]))


@dataclass(frozen=True, kw_only=True)
class Method:
    """Something that reorders candidates, by the name it is shown under."""

    label: str
    reranker: Reranker
    backend: Backend | None = None

    @property
    def identity(self) -> list[str]:
        """What moves its order."""
        part = self.reranker.within if isinstance(self.reranker, StagedReranker) else self.reranker
        prompt = part.prompt.digest if isinstance(part, PromptedPart) else ""
        return [self.reranker.name, prompt, "" if self.backend is None else weights_of(self.backend) or self.backend.name]


def texts_of(rows: Sequence[Mapping[str, Any]], depth: int) -> tuple[tuple[Query, tuple[Candidate, ...]], ...]:
    """Queries and candidates of rows with `id`, `query` and `candidates` of text, with an id and a score of BM25 where they have one."""
    return tuple((Query(query_id=row["id"], text=row["query"]), tuple(_candidates(row, depth))) for row in rows)


def _candidates(row: Mapping[str, Any], depth: int) -> Iterator[Candidate]:
    for n, entry in enumerate(row["candidates"][:depth]):
        item = Item(item_id=entry.get("id", f"{row['id']}-{n}"), text=entry["text"])
        yield Candidate(item=item, score=entry.get("bm25"))


def dl19(data: Path, depth: int) -> JudgedSet:
    """TREC DL 2019: the first `depth` of BM25, as they come with the data, and all judgements."""
    rows = _rows(data / "text_rerank" / "trec_dl19" / "dev.jsonl")
    qrels = {row["id"]: row["qrels"] for row in rows}
    return JudgedSet(name="dl19", first_stage="BM25", measure="nDCG@10", depth=depth, queries=texts_of(rows, depth), qrels=qrels)


def sentences(data: Path, name: str, split: str) -> JudgedSet:
    """Answer sentences of WikiQA or TrecQA, shuffled: every candidate is reranked, and AP is over all of them."""
    rows = _rows(data / "text_rerank" / name / f"{split}.jsonl")
    qrels = {row["id"]: {f"{row['id']}-{n}": int(one["grade"]) for n, one in enumerate(row["candidates"])} for row in rows}
    depth = max(len(row["candidates"]) for row in rows)
    return JudgedSet(
        name=f"{name}-{split}", first_stage="none (shuffled)", measure="AP", depth=depth, queries=texts_of(rows, depth), qrels=qrels
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in json_lines(path)]


# ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a method made of a set: a record a query, and why the rest is not there."""

    label: str
    records: Mapping[str, Mapping[str, Any]]  # query_id -> order, status, cost, seconds
    refusal: str = ""  # of the first query that it would not take

    @property
    def rankings(self) -> dict[str, tuple[str, ...]]:
        return {query_id: tuple(record["order"]) for query_id, record in self.records.items()}


def run(judged: JudgedSet, method: Method, folder: Path, budget_s: float = float("inf")) -> Answers:
    """The rankings of a method, those of earlier runs as they are; it stops behind the first query past the budget.

    Args:
        budget_s: seconds of this and earlier runs together.
    """
    path = folder / f"{judged.name}-{_slug(method.label)}-{_digest(judged, method)}.jsonl"
    records = {row["query_id"]: row for row in _rows(path)} if path.exists() else {}
    spent, refusal = sum(record["seconds"] for record in records.values()), ""
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for query, candidates in judged.queries:
            if query.query_id in records or spent > budget_s:
                continue
            try:
                record = _record(method.reranker, query, candidates)
            except MMRerankError as error:
                refusal = error.message[:LONGEST]
                break
            except AssertionError:
                raise
            except Exception as error:  # one method that breaks takes no other's place in the table
                refusal = f"raises {type(error).__name__}: {error}"[:LONGEST]
                break
            spent += record["seconds"]
            records[query.query_id] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
    ids = {query.query_id for query, _ in judged.queries}
    return Answers(label=method.label, records={one: row for one, row in records.items() if one in ids}, refusal=refusal)


def _record(reranker: Reranker, query: Query, candidates: Sequence[Candidate]) -> dict[str, Any]:
    start = time.perf_counter()
    ranking = reranker.rerank(query, candidates)
    seconds = time.perf_counter() - start
    check(ranking, candidates)
    return {
        "query_id": query.query_id,
        "order": list(ranking.item_ids),
        "status": ranking.notes.status,
        "seconds": round(seconds, 4),
        "cost": asdict(ranking.notes.cost),
        "message": next(iter(ranking.notes.messages), "")[:LONGEST],
    }


def check(ranking: Ranking, candidates: Sequence[Candidate]) -> None:
    """AssertionError unless what was timed is a permutation of the candidates."""
    assert sorted(ranking.item_ids) == sorted(candidate.item.item_id for candidate in candidates), "no permutation"


def _digest(judged: JudgedSet, method: Method) -> str:
    return hashlib.sha256(json.dumps([judged.name, judged.depth, judged.first_stage, *method.identity]).encode()).hexdigest()[:8]


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60]


def first_stage(judged: JudgedSet) -> Answers:
    """The candidates as they come."""
    return _as_answers(judged.first_stage, {query.query_id: [c.item.item_id for c in candidates] for query, candidates in judged.queries})


def ceiling(judged: JudgedSet) -> Answers:
    """The candidates in the best order, which no reranker exceeds."""
    return _as_answers("ceiling", oracle(first_stage(judged).rankings, judged.qrels, judged.depth))


def fused(label: str, *methods: Answers) -> Answers:
    """The rankings of several methods merged by reciprocal rank, for the queries that all of them have."""
    common = [query_id for query_id in methods[0].records if all(query_id in one.records for one in methods)]
    orders = {query_id: [one.rankings[query_id] for one in methods] for query_id in common}
    return _as_answers(label, {query_id: [pair[0] for pair in reciprocal_rank_fusion(lists)] for query_id, lists in orders.items()})


def guarded(judged: JudgedSet, answers: Answers) -> Answers:
    """A method behind a guard of default gain and risk: on each half of the queries by the rule that was fitted on the other half."""
    own = [(query, candidates) for query, candidates in judged.queries if query.query_id in answers.records]
    orders: dict[str, Sequence[str]] = {}
    for fitted, measured in ((own[::2], own[1::2]), (own[1::2], own[::2])):
        rows = [
            Judgement(before=candidates, after=answers.rankings[query.query_id], grades=judged.qrels[query.query_id])
            for query, candidates in fitted
        ]
        rule = guard_from(Recorded(answers.label), rows, measure=judged.measure).rule()
        for query, candidates in measured:
            after = answers.rankings[query.query_id]
            is_used = rule is not None and rule.takes(signs_of(candidates, after))
            orders[query.query_id] = after if is_used else [candidate.item.item_id for candidate in candidates]
    return _as_answers(f"guard: {answers.label}", orders)


class Recorded:
    """The name of a method whose rankings are on record."""

    def __init__(self, name: str) -> None:
        self.name = name

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        raise AssertionError("its rankings are on record")


def _as_answers(label: str, orders: Mapping[str, Sequence[str]]) -> Answers:
    empty = {"status": "ok", "seconds": 0.0, "cost": asdict(Cost()), "message": ""}
    return Answers(label=label, records={query_id: {**empty, "order": list(order)} for query_id, order in orders.items()})


# ------------------------------------------------------------------


def figures(judged: JudgedSet, base: Answers, answers: Answers) -> dict[str, Any]:
    """Quality with its interval, the gain over `base` on the same queries, calls, tokens, seconds a query, and shares of statuses."""
    if not answers.records:
        return {"method": answers.label, "refusal": answers.refusal or "no query within the budget"}
    own, before = (_scores(judged, one, list(answers.records)) for one in (answers, base))
    records, mean = list(answers.records.values()), intervals(own)[judged.measure]
    statuses = Counter(record["status"] for record in records)
    costs = [record["cost"] for record in records]
    return {
        "method": answers.label,
        "queries": len(records),
        judged.measure: _rounded(mean),
        "gain": _rounded(gains(before, [own], judged.measure)[0].interval),
        "calls": float(np.mean([cost["calls"] for cost in costs])),
        "tokens": float(np.mean([cost["prompt_tokens"] + cost["generated_tokens"] for cost in costs])),
        "reused": float(np.mean([cost["reused_tokens"] for cost in costs])),
        "seconds": float(np.median([record["seconds"] for record in records])),
        "statuses": {status: count / len(records) for status, count in sorted(statuses.items())},
        **({"refusal": answers.refusal} if answers.refusal else {}),
    }


def _scores(judged: JudgedSet, answers: Answers, query_ids: Sequence[str]) -> Scores:
    qrels = {query_id: judged.qrels[query_id] for query_id in query_ids}
    return score(answers.rankings, Judgements(qrels=qrels), [judged.measure])


def _rounded(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.value, interval.low, interval.high)]


def table(judged: JudgedSet, rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a table in Markdown; a row is `harms` where the interval of its gain lies below 0."""
    head = f"| method | queries | {judged.measure} | gain over the first stage | calls | tokens | seconds | statuses |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *(_line(judged, row) for row in rows)])


def _line(judged: JudgedSet, row: Mapping[str, Any]) -> str:
    if "queries" not in row:
        return f"| `{row['method']}` | 0 | - | not run: {row['refusal']} | - | - | - | - |"
    mean, gain = row[judged.measure], row["gain"]
    verdict = ": it harms" if gain[2] < 0 else ": it helps" if gain[1] > 0 else ""
    statuses = ", ".join(f"{status} {share:.2f}" for status, share in row["statuses"].items())
    cells = [
        f"{number(mean[0])} ({number(mean[1])} to {number(mean[2])})",
        f"{signed(gain[0])} ({signed(gain[1])} to {signed(gain[2])}){verdict}",
        f"{row['calls']:.1f}",
        f"{row['tokens']:.0f}",
        f"{row['seconds']:.2f}",
        statuses,
    ]
    return f"| `{row['method']}` | {row['queries']} | {' | '.join(cells)} |"


def number(value: float) -> str:
    """Three decimals without the 0 before them.

    >>> number(0.5058), number(1.0)
    ('.506', '1.000')
    """
    return f"{value:.3f}".removeprefix("0")


def signed(value: float) -> str:
    """Three decimals with a sign.

    >>> signed(-0.0123), signed(0.5)
    ('-.012', '+.500')
    """
    return f"{value:+.3f}".replace("+0.", "+.").replace("-0.", "-.")
