"""The network over unions: what must hold whatever the weights are, and what is no network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmrerank.errors import FormatError
from mmrerank.models._folder import CONFIG
from mmrerank.models.union import OTHER, Sightings, UnionNetwork, to_unit
from mmrerank.rerankers.ranknovo_union import _tiny

LIST: list[Sightings] = [
    {"bm25": (1, 9.0), "dense": (3, 0.4)},
    {"bm25": (2, 7.5)},
    {"dense": (1, 0.8), "late": (1, 20.0)},
    {"bm25": (3, 7.0), "dense": (2, 0.5), "late": (2, 11.0)},
]


@pytest.fixture
def network() -> UnionNetwork:
    return _tiny()


def test_another_order_of_candidates_is_another_order_of_distances_and_no_more(network: UnionNetwork) -> None:
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(network.distances([LIST[n] for n in order]), network.distances(LIST)[order], atol=1e-5)


def test_a_list_is_judged_as_it_is_beside_a_longer_one_with_more_stages(network: UnionNetwork) -> None:
    short: list[Sightings] = [{"dense": (1, 0.9)}, {"dense": (2, 0.3)}]
    with torch.inference_mode():
        distances, _ = network(network.unions([short, LIST]))
    np.testing.assert_allclose(distances[0, :2], network.distances(short), atol=1e-5)
    np.testing.assert_allclose(distances[1], network.distances(LIST), atol=1e-5)
    assert torch.isinf(distances[0, 2:]).all()


def test_what_a_batch_holds(network: UnionNetwork) -> None:
    unions = network.unions([LIST])
    assert unions.tokens.tolist() == [[2, 3, OTHER]]  # bm25 and dense by name; late is none that training saw
    assert unions.ranks[0].tolist() == [[1, 3, 0], [2, 0, 0], [0, 1, 1], [3, 2, 2]]
    np.testing.assert_allclose(unions.scores[0, :, 0], [1.0, 0.25, 0.0, 0.0])
    assert unions.columns.tolist() == [[True, True, True]]


def test_scores_count_within_their_list_alone(network: UnionNetwork) -> None:
    louder = [{name: (rank, 100 * score - 3) for name, (rank, score) in one.items()} for one in LIST]
    np.testing.assert_allclose(network.distances(louder), network.distances(LIST), atol=1e-5)
    assert to_unit([3.0, 3.0]).tolist() == [1.0, 1.0]


def test_every_candidate_counts_for_the_others(network: UnionNetwork) -> None:
    moved = [*LIST[:3], {"bm25": (3, 7.0)}]
    assert np.abs(network.distances(moved)[:3] - network.distances(LIST)[:3]).max() > 1e-4


def test_a_saved_network_is_the_same_again(network: UnionNetwork, tmp_path: Path) -> None:
    network.save(tmp_path)
    np.testing.assert_array_equal(UnionNetwork.load(tmp_path).distances(LIST), network.distances(LIST))


@pytest.mark.parametrize("damage", ["no file", "another model", "fewer layers"])
def test_what_is_no_network_is_refused(damage: str, network: UnionNetwork, tmp_path: Path) -> None:
    network.save(tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))
    changed = {"another model": {"model": "ranknovo"}, "fewer layers": {"layers": 2}}.get(damage)
    if changed is None:
        (tmp_path / "model.safetensors").unlink()
    else:
        (tmp_path / CONFIG).write_text(json.dumps(settings | changed), encoding="utf-8")
    with pytest.raises(FormatError, match="no network of ranknovo_union"):
        UnionNetwork.load(tmp_path)
