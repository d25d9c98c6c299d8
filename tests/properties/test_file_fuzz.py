"""Whatever stands in a file that a user hands over, what comes back is a record or one of our errors, and never another exception."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrerank.errors import FormatError, MMRerankError
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.runs import Run, read_run
from mmrerank.json_io import read_candidates, read_query
from mmrerank.parts import make
from mmrerank.pipeline import rerank_candidates
from mmrerank.text_files import numbered_lines, parse_json, read_text
from mmrerank.types import Query

NUMBERS = st.sampled_from([10**400, -(10**400), 10**18, float("nan"), float("inf"), 1e308, -0.0, 0, -1, True, 2.5])
ODD = ["\ud800", "a\x00b", "\u2028", "\x85", "data:image/png;base64,!", "../x.png", "x" * 300, "p.pdf#page=x", "{x}", "{", "{0}"]
TEXTS = st.text(max_size=8) | st.sampled_from(ODD)
FIELDS = ("query_id", "item_id", "text", "images", "image", "exclude_text", "exclude_images", "score", "page_number", "document_id")
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
RECORD = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES))


def outcome(door: Callable[..., Any], *arguments: Any) -> Any:
    """What comes through a door, or the error of ours that says why nothing does; any other exception fails the test."""
    try:
        return door(*arguments)
    except MMRerankError as error:
        return error if str(error).strip() else None  # an error that says nothing is none of either


quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(RECORD, st.lists(RECORD, max_size=3))
def test_queries_and_candidates(tmp_path: Path, query: dict[str, Any], candidates: list[dict[str, Any]]) -> None:
    (tmp_path / "q.json").write_text(json.dumps(query), encoding="utf-8")
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, candidates)), encoding="utf-8")
    question, result = outcome(read_query, tmp_path / "q.json"), outcome(read_candidates, tmp_path / "c.jsonl")
    assert isinstance(question, Query | MMRerankError)
    if isinstance(question, MMRerankError) or isinstance(result, MMRerankError):
        return
    handles = [*question.images, *question.exclude_images, *(candidate.item.image for candidate in result)]
    for handle in filter(None, handles):
        assert isinstance(outcome(handle.open), Image.Image | MMRerankError)
    ranked = outcome(rerank_candidates, question, result, [make("bm25")])
    if not isinstance(ranked, MMRerankError):
        ids = [hit.item.item_id for hit in ranked.hits]
        assert sorted(ids) == sorted(candidate.item.item_id for candidate in result)
        assert json.dumps(ids, ensure_ascii=False).encode(), "ids can be written anywhere"


@quick
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.binary(max_size=40).map(gzip.compress))
@pytest.mark.parametrize(
    ("door", "kind"), [(read_query, Query), (read_candidates, list), (read_run, Run), (open_benchmark, Benchmark), (read_text, str)]
)
def test_any_bytes(tmp_path: Path, door: Any, kind: type, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert isinstance(outcome(door, tmp_path / "file"), kind | MMRerankError)


LETTERS = st.characters(codec="utf-8", exclude_characters=" \t\n\r\v\f")
FIELD = st.text(LETTERS, min_size=1, max_size=6) | st.sampled_from(["nan", "1e999", "-", "1.0"])


@quick
@given(st.lists(st.lists(FIELD, min_size=5, max_size=7), max_size=4), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_runs(tmp_path: Path, lines: list[list[str]], end: str, packed: bool) -> None:
    content = end.join(" ".join(fields) for fields in lines).encode()
    (tmp_path / "run").write_bytes(gzip.compress(content) if packed else content)
    for order in ("rank", "score"):
        assert isinstance(outcome(read_run, tmp_path / "run", order), Run | MMRerankError)


OF_CARD = ("layout", "split", "measures", "options", "splits", "data", "below_zero")
OF_LAYOUT = ("queries", "qrels", "relevant", "where", "given", "corpus", "pictures", "complete", "text", "query_id")
CARD = """name = "toy"
[benchmark]
layout = "judged"
split = "dev"
measures = ["nDCG@10"]
retriever = "lexical"
data = "."
[benchmark.options]
queries = "queries.jsonl"
qrels = "QRELS"
corpus = "corpus.jsonl"
[benchmark.splits]
dev = {}
"""


@quick
@given(st.lists(VALUES, max_size=3), st.lists(st.lists(FIELD, min_size=3, max_size=5), max_size=3), VALUES)
def test_benchmarks(tmp_path: Path, queries: list[Any], judgements: list[list[str]], corpus: Any) -> None:
    (tmp_path / "card.toml").write_text(CARD.replace("QRELS", "qrels.txt"), encoding="utf-8")
    rows = [json.dumps({"id": "q1", "text": "x"}), *(json.dumps({"id": value, "text": value}) for value in queries)]
    (tmp_path / "queries.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("\n".join(["q1 0 d1 1", *(" ".join(fields) for fields in judgements)]), encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "d1"}) + "\n" + json.dumps({"id": corpus}), encoding="utf-8")
    assert isinstance(outcome(open_benchmark, tmp_path / "card.toml"), Benchmark | MMRerankError)


@quick
@given(st.dictionaries(st.sampled_from(OF_CARD), VALUES, max_size=5), st.dictionaries(st.sampled_from(OF_LAYOUT), VALUES, max_size=3))
def test_cards(tmp_path: Path, table: dict[str, Any], options: dict[str, Any]) -> None:
    import tomli_w

    whole = {"layout": "judged", "split": "dev", "measures": ["nDCG@10"], "data": ".", "splits": {"dev": {}}, "options": options} | table
    try:
        text = tomli_w.dumps({"name": "toy", "benchmark": whole})
    except (TypeError, ValueError, UnicodeError):  # null and halves of letters have no form in TOML
        return
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "qrels": {"a": 1}}\n', encoding="utf-8")
    try:
        (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    except UnicodeError:
        return
    assert isinstance(outcome(open_benchmark, tmp_path / "card.toml"), Benchmark | MMRerankError)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a": ' * 50_000, "nul", '"\t"', ""])
def test_what_the_parser_gives_up_on_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_json(text, "x.jsonl", 7)
    assert caught.value.line == 7


@given(st.lists(st.text(max_size=9), max_size=5))
def test_lines_end_where_a_line_end_stands_and_nowhere_else(texts: list[str]) -> None:
    lines = [json.dumps(text, ensure_ascii=False) for text in texts]
    for end in ("\n", "\r\n"):
        assert [json.loads(line) for _, line in numbered_lines(end.join(lines) + end)] == texts
