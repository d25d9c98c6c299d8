"""Submissions: what the servers of CIRR and CIRCO take, and what they would refuse is an error that names the query."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmrerank.errors import InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.evaluate import evaluate, write
from mmrerank.evaluation.running import limited
from mmrerank.evaluation.runs import Run
from mmrerank.evaluation.submissions import submission, submission_texts
from mmrerank.types import Query

NAMES = [f"test1-{n}-0-img0" for n in range(60)]
ITEMS = tuple(f"{name}.png" for name in NAMES)


def cirr() -> Benchmark:
    return Benchmark(
        name="cirr/test1",
        queries=(Query(query_id="12063", text="a"), Query(query_id="12064", text="b")),
        qrels={},
        measures=("R@1", "R_subset@1"),
        items=ITEMS,
        names=dict(zip(ITEMS, NAMES, strict=True)),
        removed={"12063": frozenset({ITEMS[0]}), "12064": frozenset({ITEMS[1]})},
        subsets={"12063": frozenset(ITEMS[:6]), "12064": frozenset(ITEMS[:6])},
        server="cirr",
    )


def circo() -> Benchmark:
    items = tuple(f"{n:012d}.jpg" for n in range(60))
    names = {item: str(n) for n, item in enumerate(items)}
    return Benchmark(
        name="circo/test", queries=(Query(query_id="0", text="a"),), qrels={}, measures=("mAP@5",), items=items, names=names, server="circo"
    )


RANKINGS = {"12063": ITEMS, "12064": tuple(reversed(ITEMS))}


def test_cirr_takes_two_files_without_the_reference() -> None:
    files = submission(cirr(), RANKINGS)
    recall, subset = files["test1_recall.json"], files["test1_recall_subset.json"]
    assert list(recall) == ["version", "metric", "12063", "12064"]
    assert (recall["version"], recall["metric"], subset["metric"]) == ("rc2", "recall", "recall_subset")
    assert recall["12063"] == NAMES[1:51]
    assert subset["12063"] == NAMES[1:4]
    assert subset["12064"] == [NAMES[5], NAMES[4], NAMES[3]]


def test_circo_takes_fifty_numbers_a_query() -> None:
    benchmark = circo()
    assert submission(benchmark, {"0": benchmark.items})["test_circo.json"] == {"0": list(range(50))}


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (None, "'12064' has no ranking; the server wants 50"),
        (ITEMS[:50], "'12064' has 49 pictures that count"),
        ((ITEMS[2], *ITEMS[2:]), r"'12064' has 'test1-2-0-img0\.png' twice"),
        (("other.png", *ITEMS[2:]), r"'12064' has 'other\.png', which is no picture of cirr/test1"),
        (ITEMS[6:], "'12064' has 0 pictures that count; the server wants 3"),
    ],
)
def test_what_the_server_would_refuse_is_an_error(ranking: tuple[str, ...] | None, message: str) -> None:
    rankings = {"12063": ITEMS} | ({} if ranking is None else {"12064": ranking})
    with pytest.raises(InputError, match=message):
        submission(cirr(), rankings)


def test_ids_that_are_no_numbers_are_an_error_for_circo() -> None:
    benchmark = replace(circo(), items=(), names={})
    with pytest.raises(InputError, match="the server takes picture numbers"):
        submission(benchmark, {"0": ITEMS})


def test_a_file_above_the_server_s_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmrerank.evaluation.submissions.CIRR_BYTES", 100)
    with pytest.raises(InputError, match="the server takes 100"):
        submission_texts(cirr(), RANKINGS)


def test_a_benchmark_without_a_server_has_no_submission() -> None:
    with pytest.raises(UnknownName, match="no server is called ''; there are: circo, cirr"):
        submission(replace(cirr(), server=""), RANKINGS)


def test_evaluate_writes_the_submission_beside_the_run(tmp_path: Path) -> None:
    official = Run(tag="other", rankings={query: tuple(item.removesuffix(".png") for item in ids) for query, ids in RANKINGS.items()})
    evaluated = evaluate(cirr(), None, run=official)
    assert evaluated.result["measures"] == {}
    paths = write(evaluated, tmp_path / "out")
    assert [path.name for path in paths] == ["run.trec", "result.json", "test1_recall.json", "test1_recall_subset.json"]
    assert json.loads(paths[2].read_text())["12063"] == NAMES[1:51]
    part = evaluate(limited(cirr(), 1), None, run=official)  # a part of the queries is no submission
    assert [path.name for path in write(part, tmp_path / "part")] == ["run.trec", "result.json"]
