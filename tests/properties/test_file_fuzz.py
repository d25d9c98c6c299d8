"""Whatever stands in a file that a user hands over, what comes back is a record or one of our errors, and never another exception."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrerank.errors import FormatError, MMRerankError
from mmrerank.evaluation.benchmark import open_benchmark
from mmrerank.evaluation.runs import read_run
from mmrerank.json_io import read_candidates, read_query
from mmrerank.parts import make
from mmrerank.pipeline import rerank_candidates
from mmrerank.text_files import numbered_lines, parse_json, read_text

NUMBERS = st.sampled_from([10**400, -(10**400), 10**18, float("nan"), float("inf"), 1e308, -0.0, 0, -1, True, 2.5])
ODD = ["\ud800", "a\x00b", "\u2028", "\x85", "data:image/png;base64,!", "../x.png", "x" * 300, "p.pdf#page=x", "{x}", "{", "{0}"]
TEXTS = st.text(max_size=8) | st.sampled_from(ODD)
FIELDS = ("query_id", "item_id", "text", "images", "image", "exclude_text", "exclude_images", "score", "page_number", "document_id")
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
RECORD = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES))
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(RECORD, st.lists(RECORD, max_size=3))
def test_queries_and_candidates(tmp_path: Path, query: dict[str, Any], candidates: list[dict[str, Any]]) -> None:
    (tmp_path / "q.json").write_text(json.dumps(query), encoding="utf-8")
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, candidates)), encoding="utf-8")
    with contextlib.suppress(MMRerankError):
        question = read_query(tmp_path / "q.json")
        for picture in (*question.images, *question.exclude_images):
            with contextlib.suppress(MMRerankError):
                picture.open()
        for candidate in (result := read_candidates(tmp_path / "c.jsonl")):
            if candidate.item.image is not None:
                with contextlib.suppress(MMRerankError):
                    candidate.item.image.open()
        json.dumps([hit.item.item_id for hit in rerank_candidates(question, result, [make("bm25")]).hits], ensure_ascii=False).encode()


@quick
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.binary(max_size=40).map(gzip.compress))
@pytest.mark.parametrize("door", [read_query, read_candidates, read_run, open_benchmark, read_text])
def test_any_bytes(tmp_path: Path, door: Any, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with contextlib.suppress(MMRerankError):
        door(tmp_path / "file")


LETTERS = st.characters(codec="utf-8", exclude_characters=" \t\n\r\v\f")
FIELD = st.text(LETTERS, min_size=1, max_size=6) | st.sampled_from(["nan", "1e999", "-", "1.0"])


@quick
@given(st.lists(st.lists(FIELD, min_size=5, max_size=7), max_size=4), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_runs(tmp_path: Path, lines: list[list[str]], end: str, packed: bool) -> None:
    content = end.join(" ".join(fields) for fields in lines).encode()
    (tmp_path / "run").write_bytes(gzip.compress(content) if packed else content)
    for order in ("rank", "score"):
        with contextlib.suppress(MMRerankError):
            read_run(tmp_path / "run", order)


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
    with contextlib.suppress(MMRerankError):
        open_benchmark(tmp_path / "card.toml")


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
    with contextlib.suppress(MMRerankError):
        open_benchmark(tmp_path / "card.toml")


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
