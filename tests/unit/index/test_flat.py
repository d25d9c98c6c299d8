"""The plain index, in both engines, against a sort of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_rows import corners, plainly, same, shuffled_ids, structured

from mmrerank.errors import InputError
from mmrerank.index import _exact
from mmrerank.index.flat import Options, build
from mmrerank.parts import make

ENGINES = ["numpy", "torch"]


def filled(engine: Any, rows: Any, ids: Any) -> Any:
    index = build(Options(engine=engine), rows.shape[1])
    index.add(ids, rows)
    return index


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_blocks_of_any_size_give_one_answer(engine: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exact, "ROWS", block)
    monkeypatch.setattr(_exact, "QUERIES", 3)
    rows, ids, queries = structured(133, 17, seed=1), shuffled_ids(133, seed=1), structured(8, 17, seed=2)
    index = filled(engine, rows, ids)
    for k in (1, 10, 133, 200):
        for query, hits in zip(queries, index.search(queries, k, allowed=ids[::2]), strict=True):
            assert hits.ids.tolist() == plainly(ids, rows, query, k, ids[::2])


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_across_blocks_go_by_id(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exact, "ROWS", 5)
    rows, ids = np.tile(corners(4), (6, 1)), shuffled_ids(48, seed=4)
    hits = filled(engine, rows, ids).search(corners(4)[:1], 9)[0]
    assert hits.ids.tolist() == plainly(ids, rows, corners(4)[0], 9)
    assert hits.scores.tolist() == [1.0] * 6 + [0.0] * 3


def test_either_engine_loads_what_the_other_saved(tmp_path: Path) -> None:
    rows, ids, queries = structured(50, 8, seed=1), shuffled_ids(50, seed=1), structured(4, 8, seed=2)
    for writer, reader in (("numpy", "torch"), ("torch", "numpy")):
        source, target = filled(writer, rows, ids), make(f"flat(engine={reader})", dimension=8)
        source.save(tmp_path / writer)
        target.load(tmp_path / writer)
        assert all(same(one, other) for one, other in zip(source.search(queries, 9), target.search(queries, 9), strict=True))


def test_the_device_is_no_part_of_the_name() -> None:
    assert make("flat(engine=torch, device=cpu)", dimension=4).name == "flat(engine='torch')"


def test_a_device_that_torch_lacks_is_an_input_error() -> None:
    with pytest.raises(InputError, match="torch cannot use the device 'nonsense'"):
        make("flat(engine=torch, device=nonsense)", dimension=4)


def test_removing_frees_the_rows() -> None:
    index = filled("numpy", structured(40, 8, seed=1), shuffled_ids(40, seed=1))
    index.remove(index.ids[:30])
    assert index._engine.to_numpy().shape == (10, 8)
    assert not index.needs_rebuild
