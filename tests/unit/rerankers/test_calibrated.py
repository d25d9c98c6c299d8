"""Calibration: the two fits against known truths, the file and what it is bound to, and rerankers around which it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from makers import InMemory, coloured
from worded import candidates as worded

from mmrerank.collection.capabilities import rerankers
from mmrerank.errors import FormatError, InputError, ManifestError
from mmrerank.ordering import to_unit_scale
from mmrerank.parts import make, requires
from mmrerank.rerankers._calibration import brier, calibration_error, isotonic, platt
from mmrerank.rerankers.calibrated import Calibration, fit_calibration
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query, Ranking

QUERY = Query(query_id="q", text="red door")


class Known:
    """A reranker whose raw scores are the numbers that texts are."""

    name = "known"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        ranked = [Candidate(item=c.item, raw_score=float(c.item.text or 0)) for c in candidates]
        return Ranking(query_id=query.query_id, candidates=tuple(sorted(ranked, key=lambda c: -(c.raw_score or 0))))


def judged(count: int, seed: int, *, slope: float, offset: float) -> list[tuple[Query, list[Candidate], list[str]]]:
    """Queries with ten candidates each, relevant with the probability sigmoid(slope raw + offset)."""
    generator = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        raw = generator.normal(0, 2, 10)
        relevant = generator.random(10) < 1 / (1 + np.exp(-(slope * raw + offset)))
        candidates = worded(raw.tolist())
        rows.append(
            (Query(query_id=f"q{n}", text="x"), candidates, [c.item.item_id for c, yes in zip(candidates, relevant, strict=True) if yes])
        )
    return rows


def test_a_known_logistic_truth_is_found() -> None:
    fitted = fit_calibration(Known(), judged(2000, 0, slope=0.8, offset=-1.5))
    assert (fitted.slope, fitted.offset) == (pytest.approx(0.8, abs=0.05), pytest.approx(-1.5, abs=0.05))
    assert fitted.relevant + fitted.irrelevant == 20_000
    grid = np.linspace(-6, 6, 50)
    assert fitted.probabilities(grid) == pytest.approx(1 / (1 + np.exp(-(0.8 * grid - 1.5))), abs=0.02)
    assert fitted.unseen_queries
    assert fitted.calibration_error < 0.02
    assert fitted.brier < fitted.relevant * fitted.irrelevant / 20_000**2, "better than the share of relevant ones for everybody"


def test_isotonic_finds_a_shape_that_platt_cannot() -> None:
    generator = np.random.default_rng(1)
    rows = []
    for n in range(1500):
        raw = generator.uniform(0, 1, 10)
        relevant = generator.random(10) < np.where(raw < 0.6, 0.1, 0.7)  # a step
        words = worded(raw.tolist())
        rows.append((Query(query_id=f"q{n}", text="x"), words, [c.item.item_id for c, yes in zip(words, relevant, strict=True) if yes]))
    step, line = (fit_calibration(Known(), rows, method=method) for method in ("isotonic", "platt"))  # type: ignore[arg-type]
    assert step.probabilities([0.2, 0.5, 0.7, 0.95]) == pytest.approx([0.1, 0.1, 0.7, 0.7], abs=0.06)
    assert step.calibration_error < 0.03 < line.calibration_error
    assert step.brier < line.brier
    assert (np.diff(step.probabilities(np.linspace(-1, 2, 300))) >= 0).all()


def test_platt_keeps_groups_that_lie_apart_from_certainty() -> None:
    slope, offset = platt(np.array([1.0, 2, 8, 9]), np.array([0.0, 0, 1, 1]))
    p = 1 / (1 + np.exp(-(slope * np.array([1.0, 2, 8, 9]) + offset)))
    assert p == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.08)  # (2 + 1) / (2 + 2) and 1 / (2 + 2)
    assert slope > 0


def test_platt_is_a_stationary_point_of_the_likelihood_whatever_the_scale() -> None:
    generator = np.random.default_rng(2)
    for scale, shift in ((1.0, 0.0), (1e4, 5e4), (1e-4, -3.0)):
        raw = generator.normal(0, 1, 300)
        labels = (generator.random(300) < 1 / (1 + np.exp(-2 * raw))).astype(float)
        slope, offset = platt(raw * scale + shift, labels)
        relevant = labels.sum()
        target = np.where(labels > 0, (relevant + 1) / (relevant + 2), 1 / (300 - relevant + 2))
        p = 1 / (1 + np.exp(-(slope * (raw * scale + shift) + offset)))
        assert float((p - target).sum()) == pytest.approx(0, abs=1e-5)
        assert float(((p - target) * raw).sum()) == pytest.approx(0, abs=1e-5)


def test_isotonic_pools_what_falls() -> None:
    raw, p = isotonic(np.array([3.0, 1, 2, 2, 5, 4]), np.array([0.0, 0, 1, 0, 1, 1]))
    assert np.interp([1, 2, 3, 4, 5], raw, p) == pytest.approx([0, 1 / 3, 1 / 3, 1, 1])


def test_the_two_figures() -> None:
    p, labels = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0, 0, 0])
    assert brier(p, labels) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert calibration_error(p, labels) == pytest.approx((0.4 * 2 + 0.1 * 2) / 4)
    assert calibration_error(np.array([1.0]), np.array([1.0])) == 0


def test_what_cannot_be_fitted_is_an_error() -> None:
    words = worded([1, 2])
    with pytest.raises(InputError, match="got 0 and 2"):
        fit_calibration(Known(), [(QUERY, words, [])])
    with pytest.raises(InputError, match="got 0 and 0"):
        fit_calibration(Known(), [])
    with pytest.raises(InputError, match="do not rise with relevance"):
        fit_calibration(Known(), judged(50, 0, slope=-1.0, offset=0.0))
    assert not fit_calibration(Known(), [(QUERY, words, ["item-1"])]).unseen_queries


# ------------------------------------------------------------------


def pictures(count: int) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", image=InMemory(coloured(n)), text=f"red {n}")) for n in range(count)]


def model(name: str = "double") -> FakeBackend:
    def choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        picture = next(part for part in prompt[-1].parts if not isinstance(part, str))
        return [picture.getpixel((0, 0))[0] / 50 - 2, 0.0]  # type: ignore[index]

    double = FakeBackend(choose=choose)
    double.name = name
    return double


def fitted_file(path: Path) -> Path:
    reranker = make("ragllava", station="rerankers", backend=model())
    rows = [(Query(query_id=f"q{n}", text="red"), pictures(10), ["item-9", "item-8", f"item-{n}"]) for n in range(6)]
    fit_calibration(reranker, rows).save(path)
    return path


def test_an_order_never_changes_and_everybody_with_a_raw_score_has_a_probability(tmp_path: Path) -> None:
    path = fitted_file(tmp_path / "c.toml")
    mixed = [*pictures(9), Candidate(item=Item(item_id="bare"))]
    plain = make("ragllava", station="rerankers", backend=model()).rerank(QUERY, mixed)
    part = make(f"calibrated(rerank='ragllava', calibration={str(path)!r})", station="rerankers", backend=model())
    ranking = part.rerank(QUERY, mixed)
    assert ranking.item_ids == plain.item_ids
    assert [(c.score, c.raw_score) for c in ranking.candidates] == [(c.score, c.raw_score) for c in plain.candidates]
    probabilities = [c.calibrated_score for c in ranking.candidates]
    assert probabilities[-1] is None
    numbers = [p for p in probabilities if p is not None]
    assert len(numbers) == 9
    assert numbers == sorted(numbers, reverse=True)
    assert 0 < numbers[-1] < numbers[0] < 1
    assert ranking.notes.reasons["item-8"] == f"{plain.notes.reasons['item-8']}; relevant with probability {numbers[0]:.2f}"
    assert ranking.notes.cost == plain.notes.cost
    assert part.pointwise


def test_the_scale_of_the_service_is_then_calibrated(tmp_path: Path) -> None:
    path = fitted_file(tmp_path / "c.toml")
    part = make(f"calibrated(calibration={str(path)!r})", station="rerankers", backend=model())
    scale = to_unit_scale(part.rerank(QUERY, pictures(5)))
    assert scale[1] == "calibrated"
    assert scale[0] == [c.calibrated_score for c in part.rerank(QUERY, pictures(5)).candidates]


def test_what_was_fitted_on_one_model_prompt_or_reranker_is_refused_for_another(tmp_path: Path) -> None:
    path = fitted_file(tmp_path / "c.toml")
    text = path.read_text(encoding="utf-8")
    reloaded = Calibration.load(path, **{key: _field(text, key) for key in ("reranker", "backend", "prompt_digest")})
    assert reloaded.probabilities([0.0]) == pytest.approx([1 / (1 + np.exp(-reloaded.offset))])
    with pytest.raises(ManifestError, match="another model"):
        make(f"calibrated(calibration={str(path)!r})", station="rerankers", backend=model("another model"))
    with pytest.raises(ManifestError, match="task='caption'"):
        make(f"calibrated(rerank='ragllava(task=caption)', calibration={str(path)!r})", station="rerankers", backend=model())
    path.write_text(text.replace(_field(text, "prompt_digest"), "0" * 16), encoding="utf-8")
    with pytest.raises(ManifestError, match="prompt"):
        make(f"calibrated(calibration={str(path)!r})", station="rerankers", backend=model())
    with pytest.raises(FormatError, match="Fit one: fit_calibration"):
        make(f"calibrated(calibration={str(tmp_path / 'absent.toml')!r})", station="rerankers", backend=model())


def _field(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} = ")]
    return line.partition(" = ")[2].strip('"')


def test_an_isotonic_file_reads_back(tmp_path: Path) -> None:
    fitted = fit_calibration(Known(), judged(40, 3, slope=1.0, offset=0.0), method="isotonic")
    fitted.save(tmp_path / "c.toml")
    assert Calibration.load(tmp_path / "c.toml", reranker="known", backend="", prompt_digest="") == fitted


def test_rerankers_that_ask_no_model_can_be_calibrated_too(tmp_path: Path) -> None:
    texts = worded(["red door", "a red boat", "green lamp", "the door of the house", "nothing"])
    bm25 = make("bm25", station="rerankers")
    fit_calibration(bm25, [(Query(query_id=f"q{n}", text="red door"), texts, ["item-0"]) for n in range(3)]).save(tmp_path / "c.toml")
    name = f"calibrated(rerank=bm25, calibration={str(tmp_path / 'c.toml')!r})"
    ranking = make(name, station="rerankers").rerank(QUERY, texts)
    assert ranking.item_ids == bm25.rerank(QUERY, texts).item_ids
    assert ranking.candidates[0].calibrated_score == max(c.calibrated_score or 0 for c in ranking.candidates)
    assert not make(name, station="rerankers").pointwise


def test_it_needs_what_the_one_within_needs(tmp_path: Path) -> None:
    def needed(inner: str) -> set[str]:
        return set(requires(f"calibrated(rerank={inner}, calibration='c.toml')", station="rerankers").needed)

    assert (needed("bm25"), needed("superglobal"), needed("ragllava")) == (set(), {"descriptors"}, {"backend"})
    assert "calibrated" not in rerankers({"backend", "descriptors"}), "its name alone does not say which file"
    with pytest.raises(InputError, match="file of a calibration"):
        make("calibrated", station="rerankers", backend=model())
    with pytest.raises(InputError, match="around"):
        make("calibrated(rerank=calibrated, calibration=x)", station="rerankers", backend=model())


@pytest.mark.parametrize("fields", [{"method": "bogus"}, {"method": "platt", "slope": float("nan")}, {"method": "platt", "slope": "abc"}])
def test_a_calibration_is_of_a_known_method_and_of_numbers(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match="of finite numbers"):
        Calibration(**fields)  # type: ignore[arg-type]


def test_the_depth_is_that_of_the_whole_and_never_of_the_one_within() -> None:
    with pytest.raises(InputError, match="no depth of its own"):
        make("calibrated(rerank='bm25(depth=2)', calibration='x.toml')", station="rerankers")
