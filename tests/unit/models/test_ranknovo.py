"""RankNovo's network: its formulas written out in numpy, and what must hold whatever its weights are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mmrerank.errors import FormatError, InputError
from mmrerank.models.axial import Attention
from mmrerank.models.peptides import masses
from mmrerank.models.ranknovo import COARSEST, FINEST, RankNovoConfig, RankNovoNetwork, Stacks
from tools.peptides.simulate import Case, cases

Values = npt.NDArray[np.float64]
SMALL = RankNovoConfig(width=16, heads=2, layers=2, hidden=24, peaks=12)


@pytest.fixture(scope="module")
def some() -> list[Case]:
    return list(islice(cases(5), 3))


def network(config: RankNovoConfig = SMALL) -> RankNovoNetwork:
    """Seeded and shaken, so that no weight is at its beginning."""
    torch.manual_seed(1)
    made = RankNovoNetwork(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def proposals(case: Case) -> list[tuple[str, ...]]:
    return list(case.proposals.values())


def stacks_of(made: RankNovoNetwork, some: Sequence[Case]) -> Stacks:
    return made.stacks([case.spectrum for case in some], [proposals(case) for case in some])


# ---------------------------------------------------------------------- the formulas in numpy


def _value(parameter: Any) -> Values:
    return parameter.detach().numpy().astype(np.float64)  # type: ignore[no-any-return]


def _linear(layer: Any, x: Values) -> Values:
    return x @ _value(layer.weight).T + _value(layer.bias)


def _norm(layer: Any, x: Values) -> Values:
    middle, spread = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    result: Values = (x - middle) / np.sqrt(spread + 1e-5) * _value(layer.weight) + _value(layer.bias)
    return result


def _softmax(x: Values) -> Values:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _gelu(x: Values) -> Values:
    return np.vectorize(lambda v: 0.5 * v * (1 + torch.erf(torch.tensor(v / 2**0.5)).item()))(x)  # type: ignore[no-any-return]


def _feed(block: Any, x: Values) -> Values:
    return x + _linear(block.feed[2], _gelu(_linear(block.feed[0], _norm(block.norms[-1], x))))


def _attended(attention: Any, x: Values, memory: Values, bias: Any = (0, 0)) -> Values:
    """One sequence (T, D) that looks at another (S, D), head by head; `bias` (H, T, S)."""
    query, key, value = _linear(attention.query, x), _linear(attention.key, memory), _linear(attention.value, memory)
    width = x.shape[-1] // attention.heads
    heads = [slice(h * width, (h + 1) * width) for h in range(attention.heads)]
    parts = [_softmax(query[:, h] @ key[:, h].T / np.sqrt(width) + b) @ value[:, h] for h, b in zip(heads, bias, strict=True)]
    return _linear(attention.out, np.concatenate(parts, axis=-1))


def _tied(attention: Any, x: Values) -> Values:
    """Rows (N, L, D) with one map of L x L for all."""
    query, key, value = _linear(attention.query, x), _linear(attention.key, x), _linear(attention.value, x)
    width = x.shape[-1] // attention.heads
    parts = []
    for h in (slice(h * width, (h + 1) * width) for h in range(attention.heads)):
        logits = sum(query[r][:, h] @ key[r][:, h].T for r in range(len(x))) / (np.sqrt(width) * np.sqrt(len(x)))
        parts.append(np.stack([_softmax(logits) @ value[r][:, h] for r in range(len(x))]))
    return _linear(attention.out, np.concatenate(parts, axis=-1))


def _waves(values: Values, width: int) -> Values:
    lengths = np.geomspace(FINEST, COARSEST, width // 2)
    angles = values[..., None] * 2 * np.pi / lengths
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def _numpy_network(made: Any, case: Case) -> tuple[Values, Values]:
    """Distances (N,) and offsets (N, L) of one spectrum with all its rows."""
    width, spectrum, rows = made.config.width, case.spectrum, proposals(case)
    length = max(map(len, rows)) + 1
    x, remaining = np.zeros((len(rows), length, width)), np.zeros((len(rows), length))
    for n, row in enumerate(rows):
        own = np.array([0.0, *(masses()[token] for token in row), *[0.0] * (length - 1 - len(row))])
        left = np.where(np.arange(length) <= len(row), spectrum.residue_mass - np.cumsum(own), 0.0)
        remaining[n] = left
        ids = [0, *(made.vocabulary[token] for token in row), *[1] * (length - 1 - len(row))]
        x[n] = np.concatenate([_value(made.token.weight)[ids], _waves(own, width // 4), _waves(left, width // 2)], axis=-1)
        x[n] += _value(made.place.weight)[:length]
        x[n, 0] += _linear(made.whole, _waves(np.array(spectrum.residue_mass), width // 2)) + _value(made.charge.weight)[spectrum.charge]
    x = _norm(made.entry, x)
    kept = np.argsort(-spectrum.intensity, kind="stable")[: made.config.peaks]
    as_y, as_b = spectrum.mz[kept] - 1.007276 - 18.010565, spectrum.residue_mass - (spectrum.mz[kept] - 1.007276)
    strength = _linear(made.intensity, np.sqrt(spectrum.intensity[kept] / spectrum.intensity.max())[:, None])
    ends = np.concatenate([np.zeros((2, width // 2)), _waves(np.array([0.0, spectrum.residue_mass]), width // 2)], axis=-1)
    peaks = [np.concatenate([strength, _waves(left, width // 2)], axis=-1) for left in (as_y, as_b)]
    memory = np.concatenate([ends + _value(made.anchor.weight), *peaks])
    apart = remaining[..., None] - np.concatenate([[0.0, spectrum.residue_mass], as_y, as_b])  # (N, L, S)
    nearness = np.exp(-((apart[..., None] / np.array([0.02, 0.1, 0.5])) ** 2))
    for block in made.spectrum:
        inside = _norm(block.norms[0], memory)
        memory = _feed(block, memory + _attended(block.look, inside, inside))
    for block in made.layers:
        x = x + _tied(block.along, _norm(block.norms[0], x))
        y = _norm(block.norms[1], x)
        x = x + np.stack([_attended(block.across, y[:, t], y[:, t]) for t in range(length)], axis=1)
        biases = np.moveaxis(nearness @ _value(block.near.weight).T, -1, 1)  # (N, H, L, S)
        x = x + np.stack([_attended(block.aside, row, memory, bias) for row, bias in zip(_norm(block.norms[2], x), biases, strict=True)])
        x = _feed(block, x)
    x = _norm(made.exit, x)
    return _linear(made.distance, x[:, 0])[:, 0], _linear(made.offset, x)[..., 0]


def test_the_network_is_its_formulas(some: list[Case]) -> None:
    made = network().double()
    for case in some:
        stacks = stacks_of(made, [case])
        with torch.no_grad():
            distances, offsets = made(stacks)
        ours = _numpy_network(made, case)
        np.testing.assert_allclose(distances[0], ours[0], atol=1e-5)
        np.testing.assert_allclose(offsets[0], ours[1], atol=1e-5)


# ---------------------------------------------------------------------- what must hold


def test_another_order_of_candidates_is_another_order_of_distances_and_no_more(some: list[Case]) -> None:
    made, rows = network(), proposals(some[0])
    order = [4, 0, 5, 2, 1, 3]
    distances, offsets = made.distances(some[0].spectrum, rows)
    turned, turned_offsets = made.distances(some[0].spectrum, [rows[n] for n in order])
    np.testing.assert_allclose(turned, distances[order], atol=1e-5)
    for n, place in enumerate(order):
        np.testing.assert_allclose(turned_offsets[n], offsets[place], atol=1e-5)


def test_equal_candidates_have_equal_distances(some: list[Case]) -> None:
    rows = proposals(some[0])[:2]
    distances, _ = network().distances(some[0].spectrum, [*rows, rows[0]])
    assert distances[0] == pytest.approx(distances[2], abs=1e-5)


def test_a_spectrum_alone_is_scored_as_in_a_batch(some: list[Case]) -> None:
    """Fewer candidates than the others, shorter ones, fewer peaks: what is padding changes nothing."""
    made = network()
    fewer = [case.proposals for case in some]
    rows = [list(p.values())[: n + 2] for n, p in enumerate(fewer)]
    longest = max(len(row) for row in rows[0])  # gaps are tokens, so that the longest of a stack counts
    with torch.no_grad():
        together, _ = made(made.stacks([case.spectrum for case in some], rows))
    assert torch.isinf(together[0, 2:]).all()
    if max(len(row) for more in rows for row in more) == longest:
        np.testing.assert_allclose(together[0, :2], made.distances(some[0].spectrum, rows[0])[0], atol=1e-5)


def test_rows_look_at_each_other_without_columns_too(some: list[Case]) -> None:
    """Tied attention is one map for all rows."""
    made, rows = network(replace(SMALL, columns=False)), proposals(some[1])
    other = [rows[0], (*rows[1][:-1], "W", "K")]
    assert made.distances(some[1].spectrum, rows[:2])[0][0] != pytest.approx(made.distances(some[1].spectrum, other)[0][0], abs=1e-5)


def test_rows_twice_over_multiply_the_logits_of_the_map_by_the_root_of_two() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x = torch.randn(1, 3, 5, 8)
    rows, places = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        twice = attention.tied(torch.cat([x, x], dim=1), rows, places)[:, :3]
        attention.query.weight.mul_(2**0.5)
        attention.query.bias.mul_(2**0.5)
        once = attention.tied(x, rows[:, :3], places)
    np.testing.assert_allclose(twice, once, atol=1e-6)


def test_a_peptide_that_is_too_long_is_refused(some: list[Case]) -> None:
    with pytest.raises(InputError, match="41 tokens; this network takes up to 40"):
        network().distances(some[0].spectrum, [("G",) * 41])


def test_a_saved_network_is_the_same_again(some: list[Case], tmp_path: Path) -> None:
    made = network()
    made.save(tmp_path / "net")
    again = RankNovoNetwork.load(tmp_path / "net")
    assert again.config == made.config
    before, after = (one.distances(some[0].spectrum, proposals(some[0]))[0] for one in (made, again))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("damage", ["no config", "other model", "no weights", "half the weights", "unknown size"])
def test_what_is_no_network_is_refused(damage: str, tmp_path: Path) -> None:
    network().save(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    settings = json.loads(config.read_text())
    if damage == "no config":
        config.unlink()
    elif damage == "other model":
        config.write_text(json.dumps({**settings, "model": "bert"}))
    elif damage == "no weights":
        weights.unlink()
    elif damage == "half the weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    else:
        config.write_text(json.dumps({**settings, "layers": 3}))
    with pytest.raises(FormatError, match="no network of ranknovo"):
        RankNovoNetwork.load(tmp_path)
