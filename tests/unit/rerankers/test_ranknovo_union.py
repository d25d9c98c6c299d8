"""ranknovo_union: candidates with the ranks that several stages gave them, from files to an order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmrerank.errors import InputError
from mmrerank.json_io import read_candidates
from mmrerank.parts import make
from mmrerank.rerankers.ranknovo_union import _tiny, stages_of, tiny
from mmrerank.types import Candidate, Item, Query


def candidate(item_id: str, score: float | None = None, **metadata: Any) -> Candidate:
    return Candidate(item=Item(item_id=item_id, metadata=metadata), score=score)


def test_a_folder_orders_candidates_of_a_file_as_their_distances_say(tmp_path: Path) -> None:
    _tiny().save(tmp_path / "net")
    stages = {"a": {"bm25": [1, 3.0]}, "b": {"dense": [1, 0.5], "bm25": [2, 1.0]}, "c": {"dense": [2, 0.1]}}
    rows = [{"item_id": name, "metadata": {"stages": one}} for name, one in stages.items()]
    (tmp_path / "union.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part = make(f"ranknovo_union/{tmp_path / 'net'}", station="rerankers")
    ranking = part.rerank(Query(text="q"), read_candidates(tmp_path / "union.jsonl"))
    distances = _tiny().distances([{name: (rank, score) for name, (rank, score) in one.items()} for one in stages.values()])
    expected = dict(zip("abc", -distances, strict=True))
    assert {one.item.item_id: one.raw_score for one in ranking.candidates} == pytest.approx(expected, abs=1e-5)
    assert list(ranking.item_ids) == sorted(expected, key=lambda name: -expected[name])
    assert "bm25 2, dense 1" in ranking.notes.reasons["b"]


def test_what_no_stage_is_named_for_has_its_place_in_the_list() -> None:
    assert stages_of(candidate("a", 0.5), 3) == {"order": (3, 0.5)}
    assert stages_of(candidate("a"), 1) == {"order": (1, 0.0)}


@pytest.mark.parametrize(
    "stages", [{}, [1], {"bm25": 1}, {"bm25": [0, 1.0]}, {"bm25": [True, 1.0]}, {"bm25": [1, "high"]}, {1: [1, 1.0]}, "bm25", '{"bm25": 1}']
)
def test_stages_that_are_none_are_refused(stages: Any) -> None:
    with pytest.raises(InputError, match="mapping of names to rank and score"):
        tiny().rerank(Query(text="q"), [candidate("a", stages=stages)])


def test_a_network_must_be_named() -> None:
    with pytest.raises(InputError, match="needs a network"):
        make("ranknovo_union", station="rerankers")
