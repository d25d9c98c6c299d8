"""SuperGlobal against the released modules' output and a plain transcription of the published algorithm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmrerank.errors import InputError, ShapeError
from mmrerank.rerankers.superglobal import Options, _refined, refine

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "superglobal.json").read_text(encoding="utf-8"))
TOLERANCE = 5e-6  # of what the released modules gave, as the golden file says


def unit(rows):  # type: ignore[no-untyped-def]
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain(query, shortlist, neighbours, beta):  # type: ignore[no-untyped-def]
    gram, k = shortlist @ shortlist.T, min(neighbours + 1, len(shortlist))
    nearest = np.argsort(-gram, axis=1, kind="stable")[:, :k]
    weights = beta * np.take_along_axis(gram, nearest, axis=1)
    weights[:, 0] = 1
    refined = (weights[:, :, None] * shortlist[nearest]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    first = refined @ query
    expanded = refined[np.argsort(-first, kind="stable")[:k]].max(axis=0)
    return (first + refined @ expanded) / 2


def released(name):  # type: ignore[no-untyped-def]
    """(case, its options, query, database ids in first-stage order, shortlist, number of the query) of every query of a case."""
    case = GOLDEN["cases"][name]
    database, queries = (np.array(case.get(part, GOLDEN[part]), dtype=np.float32) for part in ("database", "queries"))
    options = Options(neighbours=case["K"], beta=case["beta"])
    for n, query in enumerate(queries):
        ids = np.argsort(-(database @ query), kind="stable")
        yield case, options, query, ids, database[ids[: case["M"]]], n


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_scores_and_orders_are_those_of_the_released_modules(name: str) -> None:
    for case, options, query, ids, shortlist, n in released(name):
        found = _refined(query, shortlist, options)
        assert np.allclose(found.scores, case["S"][n], rtol=0, atol=TOLERANCE)
        assert np.allclose(found.to_expanded, case["S2"][n], rtol=0, atol=TOLERANCE)
        assert np.allclose(2 * found.scores - found.to_expanded, case["S1"][n], rtol=0, atol=TOLERANCE)
        order = np.argsort(-found.scores, kind="stable")
        assert [*ids[order], *ids[len(order) :]] == case["final_ranks"][n]


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_the_plain_transcription_gives_the_released_orders_too(name: str) -> None:
    for case, options, query, ids, shortlist, n in released(name):
        order = np.argsort(-plain(query, shortlist, options.neighbours, options.beta), kind="stable")
        assert [*ids[order], *ids[len(order) :]] == case["final_ranks"][n]


@pytest.mark.parametrize(("neighbours", "beta"), [(0, 0.15), (3, 0.15), (9, 0.15), (9, 0.0), (5, 0.5), (500, 0.1)])
def test_scores_and_order_are_those_of_the_plain_transcription(neighbours: int, beta: float) -> None:
    generator = np.random.default_rng(neighbours)
    shortlist, query = unit(np.abs(generator.standard_normal((60, 32)))), unit(np.abs(generator.standard_normal(32)))
    scores, expected = refine(query, shortlist, neighbours=neighbours, beta=beta), plain(query, shortlist, neighbours, beta)
    assert np.allclose(scores, expected, atol=2e-6)
    assert np.argsort(-scores, kind="stable").tolist() == np.argsort(-expected, kind="stable").tolist()


@pytest.mark.parametrize("neighbours", [9, "adaptive"])
@pytest.mark.parametrize("size", [0, 1, 2, 12])
def test_short_shortlists_work_and_nothing_is_changed(neighbours: int | str, size: int) -> None:
    shortlist, query = unit(np.abs(np.random.default_rng(1).standard_normal((size, 8)))), unit(np.ones(8))
    before = shortlist.copy()
    scores = refine(query, shortlist, neighbours=neighbours)  # type: ignore[arg-type]
    assert scores.shape == (size,)
    assert np.array_equal(shortlist, before)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ShapeError):
        refine(np.ones(3, np.float32), np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match="finite"):
        refine(np.full(4, np.nan, np.float32), np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match="neighbours"):
        refine(np.ones(4, np.float32), np.ones((2, 4), np.float32), neighbours=-1)


@pytest.mark.parametrize(("neighbours", "low", "high"), [(0, 0.0, 1.0), (9, 0.846, 0.849), ("adaptive", 0.89, 1.0)])
def test_on_real_photographs(real_data: Path, neighbours: int | str, low: float, high: float) -> None:
    folder = real_data / "instance_photos" / "dev"
    rows = np.load(folder / "mobilenet_v1.npy").astype(np.float32)
    names = [json.loads(line)["image"] for line in (folder / "images.jsonl").read_text().splitlines()]
    place = {name: n for n, name in enumerate(names)}
    values = []
    for line in (folder / "queries.jsonl").read_text().splitlines():
        query = json.loads(line)
        own = place[query["query_image"]]
        away = {own} | {place[name] for name in query.get("ignore") or []}
        order = np.array([n for n in np.argsort(-(rows @ rows[own]), kind="stable") if n not in away])
        head = order[:400]
        head = head[np.argsort(-refine(rows[own], rows[head], neighbours=neighbours), kind="stable")]  # type: ignore[arg-type]
        found = np.isin(np.concatenate([head, order[400:]]), [place[name] for name in query["positives"]])
        ranks = np.flatnonzero(found) + 1
        values.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    assert low <= float(np.mean(values)) <= high
