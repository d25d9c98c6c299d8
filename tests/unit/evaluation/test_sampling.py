"""A sample of queries stands for all of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mmrerank.evaluation.sampling import evenly

QUERIES = Path(__file__).parents[3] / "datasets" / "emoji" / "queries.jsonl"


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("most", [150, 300])
def test_a_sample_of_the_shipped_queries_has_the_kinds_of_change_of_all(split: str, most: int) -> None:
    rows = [row for row in map(json.loads, QUERIES.read_text(encoding="utf-8").splitlines()) if row["split"] == split]
    sample = evenly(rows, most)
    assert len(sample) == len({row["query_id"] for row in sample}) == most
    kinds, sampled = (Counter(row["change"] for row in some) for some in (rows, sample))
    assert all(abs(sampled[kind] / most - count / len(rows)) < 0.05 for kind, count in kinds.items()), sampled
    assert rows.index(sample[-1]) > 0.98 * len(rows)
