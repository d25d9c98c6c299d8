"""The composition gap, and lists of the queries that are to be measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from makers import InMemory, picture

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.query_lists import only_listed
from mmrerank.evaluation.runs import Run
from mmrerank.types import Query


def composed_benchmark(count: int = 4) -> Benchmark:
    handle = InMemory(picture(1))
    return Benchmark(
        name="cirr/val",
        queries=tuple(Query(query_id=f"{n}", text=f"change {n}", images=(handle,)) for n in range(count)),
        qrels={f"{n}": {f"right-{n}.png": 1} for n in range(count)},
        measures=("R@1",),
        references={f"{n}": f"dev-{n}.png" for n in range(count)},
    )


def run(tag: str, right: set[int], count: int = 4) -> Run:
    """A run that finds the right picture of these queries, and another one of the rest."""
    return Run(tag=tag, rankings={f"{n}": (f"right-{n}.png" if n in right else "right-99.png",) for n in range(count)})


def test_the_gap_is_over_the_better_of_the_sides() -> None:
    sides: Any = {"text": run("t", {0}), "pictures": run("p", {0, 1})}
    result = evaluate(composed_benchmark(), None, run=run("both", {0, 1, 2}), compare=[run("other", {3})], side_runs=sides).result
    rows = result["composition"]["systems"]
    assert (result["composition"]["measure"], result["composition"]["queries"]) == ("R@10", 4)
    assert [(row["both"], row["text"], row["pictures"], row["over"], row["value"]) for row in rows] == [
        (0.75, 0.25, 0.5, "pictures", 0.25),
        (0.25, 0.25, 0.5, "pictures", -0.25),
    ]


def test_queries_of_one_side_have_no_gap_and_none_is_missed() -> None:
    plain = replace(composed_benchmark(), queries=tuple(replace(query, images=()) for query in composed_benchmark().queries))
    result = evaluate(plain, None, run=run("both", {0})).result
    assert "composition" not in result
    assert result["notes"] == []


def circus(number: int, **more: Any) -> dict[str, Any]:
    """An entry as CIRCUS writes it: M-BEIR's sentence, and paths of its own."""
    paths = {"query_image_path": f"<home>/mbeir_images/cirr_images/dev/dev-{number}.jpg", "target_image_path": f"x/right-{number}.jpg"}
    return {"dataset": "cirr", "query_idx": 900 + number, "query_text": f"Change {number}.", **paths, **more}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "json"])
def test_a_list_of_queries_by_any_of_its_forms(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"list.{kind}"
    rows = [circus(1), circus(3), circus(2, dataset="circo"), circus(7)]
    cells = ("dataset", "query_text", "query_image_path", "target_image_path")
    texts = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "csv": "\n".join([",".join(cells).replace("_path", "_ref"), *(",".join(str(row[cell]) for cell in cells) for row in rows)]),
        "txt": "\ufeff1\r\n3\r\n7\r\n",
        "json": "[1, 3, 7]",
    }
    file.write_text(texts[kind], encoding="utf-8")
    benchmark, notes = only_listed(composed_benchmark(), file)
    assert [query.query_id for query in benchmark.queries] == ["1", "3"]
    assert notes == [f"measured on the 2 of 4 queries that list.{kind} lists", f"1 of the 3 queries of list.{kind} are not in cirr/val"]


def test_of_queries_with_one_text_and_reference_the_target_tells(tmp_path: Path) -> None:
    benchmark = composed_benchmark()
    twins = replace(
        benchmark, queries=tuple(replace(query, text="change") for query in benchmark.queries), references=dict.fromkeys("0123", "a.png")
    )
    (tmp_path / "list.jsonl").write_text(json.dumps(circus(2, query_text="Change.", query_image_path="b/a.jpg")), encoding="utf-8")
    assert [query.query_id for query in only_listed(twins, tmp_path / "list.jsonl")[0].queries] == ["2"]


@pytest.mark.parametrize(
    ("text", "kind"), [('{"a": 1}', FormatError), ("[1]", FormatError), ("", InputError), (json.dumps(circus(8)), InputError)]
)
def test_what_lists_no_query_is_an_error(tmp_path: Path, text: str, kind: type[Exception]) -> None:
    (tmp_path / "list.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(kind):
        only_listed(composed_benchmark(), tmp_path / "list.jsonl")
