"""FAISS against the plain index, on every kind; GPUs by a double that has their limits."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from index_rows import corners, same, shuffled_ids, structured

from mmrerank.errors import DamagedData, InputError, ManifestError, MissingExtra
from mmrerank.index import faiss_index
from mmrerank.index._faiss_kinds import ROWS_PER_LIST, lists_for
from mmrerank.parts import make
from mmrerank.types import Array, Keys, Neighbours

faiss = pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")

EXACT = ['kind="flat"', 'kind="ivf", probes=10000', 'kind="hnsw", ef_construction=400, ef_search=2000']
KINDS = [
    *EXACT,
    'kind="flat", storage="fp16"',
    'kind="hnsw", storage="fp16"',
    'kind="ivf", storage="fp16"',
    'kind="hnsw", links=4',
    'kind="ivf"',
]
ROUGH = [  # what scores by codes, so that its proposals are scored again
    'kind="hnsw", storage="sq8", ef_search=128',
    'kind="ivf", storage="sq8"',
    'kind="ivf", storage="rabitq", bits=1',
    'kind="ivf", storage="rabitq"',
    'kind="ivf", storage="rabitq", bits=4',
    'kind="ivf", storage="pq"',
]
ROWS, IDS, QUERIES = structured(5000, 24, seed=1), shuffled_ids(5000, seed=1), structured(30, 24, seed=2)


def filled(options: str, rows: Array = ROWS, ids: Keys = IDS) -> Any:
    index = make(f"faiss_index({options})", station="index", dimension=rows.shape[1])
    index.add(ids, rows)
    return index


def plain(rows: Array = ROWS, ids: Keys = IDS) -> Any:
    twin = make("flat", station="index", dimension=rows.shape[1])
    twin.add(ids, rows)
    return twin


def recall(actual: Any, expected: Any) -> float:
    return float(np.mean([len(np.intersect1d(one.ids, other.ids)) / len(other.ids) for one, other in zip(actual, expected, strict=True)]))


@pytest.fixture(scope="module")
def indexes() -> dict[str, Any]:
    return {options: filled(options) for options in KINDS}


@pytest.mark.parametrize("options", EXACT)
@pytest.mark.parametrize("k", [1, 10, 333])
def test_a_wide_enough_search_equals_the_plain_one(indexes: dict[str, Any], options: str, k: int) -> None:
    for one, other in zip(indexes[options].search(QUERIES, k), plain().search(QUERIES, k), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("options", KINDS)
def test_recall_is_what_the_kind_is_for(indexes: dict[str, Any], options: str) -> None:
    assert recall(indexes[options].search(QUERIES, 10), plain().search(QUERIES, 10)) > (0.6 if "links=4" in options else 0.93)


def rescored(index: Any, k: int, allowed: Keys | None = None) -> list[Neighbours]:
    """The k best of its proposals by exact score, as a collection takes them."""
    hits = index.search(QUERIES, index.proposals(k), allowed=allowed)
    place = {int(key): n for n, key in enumerate(IDS)}
    exact = [ROWS[[place[int(key)] for key in one.ids]] @ query for one, query in zip(hits, QUERIES, strict=True)]
    return [Neighbours(ids=one.ids[(best := np.argsort(-s)[:k])], scores=s[best]) for one, s in zip(hits, exact, strict=True)]


@pytest.fixture(scope="module")
def rough() -> dict[str, Any]:
    return {options: filled(options) for options in ROUGH}


@pytest.mark.parametrize("options", ROUGH)
def test_rough_codes_keep_their_promise_once_their_proposals_are_scored_again(rough: dict[str, Any], options: str) -> None:
    index = rough[options]
    assert recall(rescored(index, 10), plain().search(QUERIES, 10)) >= index.promise - 0.03  # 300 places: a standard error of .015


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("options", ROUGH)
def test_a_filter_has_one_meaning_on_rough_codes_too(rough: dict[str, Any], options: str, share: float) -> None:
    allowed = IDS[: int(share * len(IDS))]
    hits = rescored(rough[options], 10, allowed)
    assert [len(one.ids) for one in hits] == [min(10, len(allowed))] * len(QUERIES)
    assert all(np.isin(one.ids, allowed).all() for one in hits)
    assert recall(hits, plain().search(QUERIES, 10, allowed=allowed)) > 0.85


@pytest.mark.parametrize("options", [*KINDS, *ROUGH])
def test_an_index_opened_where_its_file_lies_answers_as_it_did(options: str, tmp_path: Path) -> None:
    index = filled(options, ROWS[:3000], IDS[:3000])
    index.save(tmp_path / "index")
    mapped = make(f"faiss_index({options})", station="index", dimension=24)
    mapped.open(tmp_path / "index")
    assert mapped.ids.tolist() == index.ids.tolist()
    for one in (index, mapped):
        one.remove(IDS[:50])
    for allowed in (None, IDS[40:80], IDS[:2000]):
        for one, other in zip(mapped.search(QUERIES, 7, allowed=allowed), index.search(QUERIES, 7, allowed=allowed), strict=True):
            assert one.ids.tolist() == other.ids.tolist()
            assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize("options", ['kind="flat"', 'kind="hnsw"', 'kind="ivf", storage="sq8"', 'kind="ivf", storage="rabitq"'])
def test_what_is_added_to_an_opened_file_leaves_the_file_alone(options: str, tmp_path: Path) -> None:
    """FAISS ends the process where a mapped index is added to."""
    filled(options, ROWS[:2000], IDS[:2000]).save(tmp_path / "index")
    before = (tmp_path / "index").read_bytes()
    mapped = make(f"faiss_index({options})", station="index", dimension=24)
    mapped.open(tmp_path / "index")
    mapped.add(IDS[2000:2500], ROWS[2000:2500])
    assert IDS[2100] in mapped.search(ROWS[2100:2101], 20)[0].ids
    assert (tmp_path / "index").read_bytes() == before


@pytest.mark.parametrize("options", ['kind="flat"', 'kind="hnsw", storage="sq8"', 'kind="ivf"', 'kind="ivf", storage="rabitq"'])
def test_an_index_filled_by_a_scan_finds_what_one_filled_at_once_does(options: str) -> None:
    index = make(f"faiss_index({options})", station="index", dimension=24)
    sample = ROWS[: index.sample_size(len(ROWS))]
    index.train(sample, len(ROWS))
    index.fill((IDS[n : n + 700], ROWS[n : n + 700]) for n in range(0, len(ROWS), 700))
    assert index.ids.tolist() == sorted(IDS.tolist())
    assert recall(rescored(index, 10), plain().search(QUERIES, 10)) > 0.93
    index.train(sample, 10)
    with pytest.raises(InputError, match="twice"):
        index.fill([(IDS[:5], ROWS[:5]), (IDS[4:9], ROWS[4:9])])


def test_two_bits_of_turned_rows_find_what_two_bits_of_a_few_large_numbers_do_not() -> None:
    """CLIP's rows have a few numbers that are far larger than the rest; RaBitQ takes every direction to be like every other."""
    generator = np.random.default_rng(4)
    rows = generator.standard_normal((4000, 64)).astype(np.float32) * 0.1
    rows[:, :2] += 3 + generator.standard_normal((4000, 2)).astype(np.float32) * 0.05
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = filled('kind="ivf", storage="rabitq", probes=100', rows, np.arange(4000))
    queries = rows[:40]
    hits = [one.ids for one in index.search(queries, 64)]
    truth = np.argsort(-queries @ rows.T, axis=1)[:, :10]
    assert np.mean([np.isin(best, some).mean() for best, some in zip(truth, hits, strict=True)]) > 0.95


@pytest.mark.parametrize("options", ['kind="flat", storage="sq8"', 'kind="hnsw", storage="rabitq"', 'kind="ivf", storage="rabitq", bits=3'])
def test_a_storage_that_a_kind_has_not_is_refused(options: str) -> None:
    with pytest.raises(InputError):
        make(f"faiss_index({options})", dimension=24)


def test_product_codes_ask_for_rows_of_a_multiple_of_eight_numbers() -> None:
    with pytest.raises(InputError, match="multiple of 8"):
        make('faiss_index(kind="ivf", storage="pq")', dimension=20)


@pytest.mark.parametrize("share", [0.0002, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize("options", KINDS)
def test_a_filter_has_one_meaning_on_every_kind(indexes: dict[str, Any], options: str, share: float) -> None:
    allowed = IDS[: max(1, int(share * len(IDS)))]
    for k in (1, 10, 100):
        actual, expected = indexes[options].search(QUERIES, k, allowed=allowed), plain().search(QUERIES, k, allowed=allowed)
        assert [len(one.ids) for one in actual] == [min(k, len(allowed))] * len(QUERIES)
        assert all(np.isin(one.ids, allowed).all() for one in actual)
        assert recall(actual, expected) > (0.55 if "links=4" in options else 0.88)


@pytest.mark.parametrize("options", KINDS)
def test_a_filter_far_from_the_query_still_fills_k(indexes: dict[str, Any], options: str) -> None:
    nearness = ROWS @ QUERIES[0]
    for far in (0.3, 0.55, 0.8):  # filtered inside FAISS, fetched deeper, fetched deeper
        allowed = IDS[np.argsort(nearness)[: int(far * len(IDS))]]
        hits = indexes[options].search(QUERIES[:1], 20, allowed=allowed)[0]
        assert len(hits.ids) == 20
        assert np.isin(hits.ids, allowed).all()


@pytest.mark.parametrize("options", KINDS)
def test_k_beyond_what_is_there_finds_all(options: str) -> None:
    index = filled(options, ROWS[:300], IDS[:300])
    index.remove(IDS[:20])
    for one in index.search(QUERIES[:2], 1000):
        assert sorted(one.ids.tolist()) == sorted(IDS[20:300].tolist())
        assert (np.diff(one.scores) <= 0).all()


@pytest.mark.parametrize("options", KINDS)
def test_tombstones_never_show_and_wear_the_index(options: str) -> None:
    index = filled(options, ROWS[:2000], IDS[:2000])
    nearest = index.search(QUERIES[:1], 400)[0].ids
    index.remove(nearest)
    hits = index.search(QUERIES[:1], 50)[0]
    assert not np.isin(hits.ids, nearest).any()
    assert len(hits.ids) == 50
    assert not index.needs_rebuild
    index.remove(index.ids[:150])
    assert index.needs_rebuild


@pytest.mark.parametrize("options", ['kind="flat"', 'kind="hnsw"', 'kind="ivf"'])
def test_ties_beyond_the_edge_go_by_id(options: str) -> None:
    rows, ids = np.tile(corners(24), (60, 1)), shuffled_ids(60 * 48, seed=5)  # sixty copies of each row, far more than are spared
    index = filled(options, rows, ids)
    hits = index.search(corners(24)[:1], 5)[0]
    assert hits.scores.tolist() == [1.0] * 5
    if options == 'kind="flat"':
        assert hits.ids.tolist() == sorted(ids[::48].tolist())[:5]


def test_half_storage_is_half_the_file_and_scores_are_near(tmp_path: Path) -> None:
    whole, half = filled('kind="flat"'), filled('kind="flat", storage="fp16"')
    for name, index in (("whole", whole), ("half", half)):
        index.save(tmp_path / name)
    assert (tmp_path / "half").stat().st_size < 0.65 * (tmp_path / "whole").stat().st_size
    one, other = (index.search(QUERIES[:1], 1)[0] for index in (whole, half))
    assert one.scores == pytest.approx(other.scores, abs=2e-3)


@pytest.mark.parametrize("options", KINDS)
def test_a_loaded_index_answers_filters_takes_rows_and_counts_its_age(options: str, tmp_path: Path) -> None:
    index = filled(options, ROWS[:1000], IDS[:1000])
    index.remove(IDS[:100])
    index.save(tmp_path / "index")
    loaded = make(f"faiss_index({options})", station="index", dimension=24)
    loaded.load(tmp_path / "index")
    for allowed in (None, IDS[90:110], IDS[:300], IDS[:900]):
        for one, other in zip(loaded.search(QUERIES, 8, allowed=allowed), index.search(QUERIES, 8, allowed=allowed), strict=True):
            assert one.ids.tolist() == other.ids.tolist()
    for one in (index, loaded):
        one.add(IDS[1000:2500], ROWS[1000:2500])
    assert loaded.needs_rebuild == index.needs_rebuild == ('"ivf"' in options)


def test_search_options_may_change_between_save_and_load_and_build_options_may_not(tmp_path: Path) -> None:
    filled('kind="hnsw", ef_search=16').save(tmp_path / "index")
    make('faiss_index(kind="hnsw", ef_search=99)', dimension=24).load(tmp_path / "index")
    for other in ('kind="hnsw", links=8', 'kind="hnsw", storage="fp16"', 'kind="ivf"'):
        with pytest.raises(ManifestError, match="hnsw"):
            make(f"faiss_index({other})", dimension=24).load(tmp_path / "index")


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ('kind="flat"', (1,)),
        ('kind="ivf", lists=40, probes=3', (3, 6, 12)),
        ('kind="ivf", lists=40, probes=15', (15, 30)),
        ('kind="ivf", storage="rabitq", lists=40, probes=41', (41,)),
        ('kind="hnsw", ef_search=8', (8, 16, 32)),
    ],
)
def test_it_may_be_widened_to_four_times_its_own_width(options: str, widths: tuple[int, ...]) -> None:
    assert filled(options).widths == widths


@pytest.mark.parametrize("options", ['kind="ivf", storage="rabitq", lists=40, probes=1', 'kind="hnsw", links=2, ef_search=2'])
def test_a_wider_search_finds_more_of_the_same_index(options: str, tmp_path: Path) -> None:
    index, expected = filled(options), plain().search(QUERIES, 5)
    name = index.name
    index.save(tmp_path / "index")
    narrow = index.search(QUERIES, 5)
    index.widen(index.widths[-1])
    assert recall(index.search(QUERIES, 5), expected) > recall(narrow, expected)
    assert index.name == name, "it is the same index"
    opened = make(f"faiss_index({options})", station="index", dimension=24)
    opened.open(tmp_path / "index")
    assert all(same(one, other) for one, other in zip(opened.search(QUERIES, 5), narrow, strict=True))
    opened.widen(index.widths[-1])
    assert recall(opened.search(QUERIES, 5), expected) > recall(narrow, expected)


def test_a_file_that_faiss_cannot_read_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = filled('kind="flat"')
    index.save(tmp_path / "index")
    reader = faiss.VectorIOReader()  # without a byte, as bytes of an unknown kind would be
    read = faiss.read_index
    monkeypatch.setattr(faiss, "read_index", lambda *_: read(reader))
    with pytest.raises(DamagedData, match="cannot read"):
        index.load(tmp_path / "index")
    assert len(index) == 5000


@pytest.mark.parametrize(
    ("wish", "n", "lists"),
    [(0, 1, 1), (0, 38, 1), (0, 390, 10), (0, 100_000, 1265), (0, 600_000, 2048), (0, 4_000_000, 4000), (50, 100, 2), (50, 10_000, 50)],
)
def test_lists_follow_the_first_rows(wish: int, n: int, lists: int) -> None:
    assert lists_for(wish, n) == lists
    assert lists * ROWS_PER_LIST <= max(n, ROWS_PER_LIST)


def test_faiss_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for n in (1, 2, 50, 300):
        filled('kind="ivf", lists=100', ROWS[:n], IDS[:n]).search(QUERIES, 5)
    assert capfd.readouterr() == ("", "")


def test_threads_are_set_for_the_call_and_put_back() -> None:
    before = faiss.omp_get_max_threads()
    index = filled('kind="flat", threads=1')
    assert index.name == filled('kind="flat"').name
    index.search(QUERIES, 3)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize(
    "options",
    ["kind=tree", "links=1", "probes=0", "ef_search=0", "lists=-1", "storage=int8", "device=cuda", 'device="gpu:"', 'device="gpu:0,"'],
)
def test_options_out_of_range_are_input_errors(options: str) -> None:
    with pytest.raises(InputError):
        make(f"faiss_index({options})", dimension=8)


def test_faiss_that_is_not_installed_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"mmrerank\[cpu\]"):
        make("faiss_index", dimension=8)


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this faiss has a GPU part")
@pytest.mark.parametrize("device", ["gpu", "gpu:0", "gpu:0,1"])
def test_a_gpu_without_faiss_gpu_is_a_missing_extra(device: str) -> None:
    with pytest.raises(MissingExtra, match=r"uninstall faiss-cpu.*mmrerank\[gpu\]"):
        make(f'faiss_index(device="{device}")', dimension=8)


class OnGpu:
    """A FAISS index as one on a GPU behaves: no selectors, no parameters, k up to 2,048."""

    def __init__(self, host: Any) -> None:
        self.host, self.depths = faiss.clone_index(host), []

    def search(self, queries: Array, k: int, *, params: None = None) -> Any:
        assert params is None
        assert 1 <= k <= 2048
        self.depths.append(k)
        return self.host.search(queries, k)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A faiss with two such GPUs; `copies` holds what was put on them."""
    copies: list[tuple[Any, tuple[int, ...]]] = []

    def one(resource: Any, number: int, index: Any) -> OnGpu:
        copies.append((OnGpu(index), (number,)))
        return copies[-1][0]

    def several(resources: list[Any], index: Any, gpus: list[int]) -> OnGpu:
        assert len(resources) == len(gpus)
        copies.append((OnGpu(index), tuple(gpus)))
        return copies[-1][0]

    functions = {
        "StandardGpuResources": object,
        "get_num_gpus": lambda: 2,
        "index_cpu_to_gpu": one,
        "index_cpu_to_gpu_multiple_py": several,
    }
    double = SimpleNamespace(**{**vars(faiss), **functions}, copies=copies)
    monkeypatch.setattr(faiss_index, "faiss_module", lambda: double)
    return double


@pytest.mark.parametrize("share", [None, 0.0002, 0.01, 0.1, 0.45, 0.5, 0.9, 1])
@pytest.mark.parametrize(
    "options", ['kind="flat"', 'kind="flat", storage="fp16"', 'kind="ivf", probes=1000', 'kind="ivf", storage="sq8", probes=1000']
)
def test_a_gpu_filters_as_the_cpu_does(gpu: SimpleNamespace, options: str, share: float | None) -> None:
    index = filled(f'{options}, device="gpu"')
    twin = make(f"faiss_index({options})", dimension=24)
    twin.add(IDS, ROWS)
    for one in (index, twin):
        one.remove(IDS[4000:4600])
    allowed = None if share is None else IDS[: max(1, int(share * len(IDS)))]
    for k in (1, 10, 300, 3000):
        for one, other in zip(index.search(QUERIES, k, allowed=allowed), twin.search(QUERIES, k, allowed=allowed), strict=True):
            assert same(one, other)


def test_a_filter_far_from_the_query_is_found_on_a_gpu(gpu: SimpleNamespace) -> None:
    index, twin = filled('kind="flat", device="gpu"'), plain()
    allowed = IDS[np.argsort(ROWS @ QUERIES[0])[:3500]]
    assert same(index.search(QUERIES[:1], 20, allowed=allowed)[0], twin.search(QUERIES[:1], 20, allowed=allowed)[0])
    assert gpu.copies[0][0].depths == sorted(gpu.copies[0][0].depths)
    assert len(gpu.copies[0][0].depths) > 1


def test_the_copy_on_a_gpu_is_made_anew_after_an_add_and_not_otherwise(gpu: SimpleNamespace) -> None:
    index = filled('kind="flat", device="gpu:1"', ROWS[:100], IDS[:100])
    index.search(QUERIES, 3)
    index.remove(IDS[:10])
    index.search(QUERIES, 3)
    assert [numbers for _, numbers in gpu.copies] == [(1,)]
    index.add(IDS[100:200], ROWS[100:200])
    assert index.search(ROWS[150:151], 1)[0].ids.tolist() == [IDS[150]]
    assert len(gpu.copies) == 2


def test_several_gpus_hold_a_copy_each(gpu: SimpleNamespace) -> None:
    filled('kind="flat", device="gpu:0,1"').search(QUERIES, 3)
    assert [numbers for _, numbers in gpu.copies] == [(0, 1)]


def test_a_gpu_that_is_not_there_and_hnsw_on_one_are_input_errors(gpu: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="GPU 2; FAISS sees 2"):
        make('faiss_index(device="gpu:0,2")', dimension=8)
    with pytest.raises(InputError, match="no HNSW on a GPU"):
        make('faiss_index(kind="hnsw", device="gpu")', dimension=8)
    for storage in ("rabitq", "pq"):
        with pytest.raises(InputError, match=f"no storage '{storage}' on a GPU"):
            make(f'faiss_index(kind="ivf", storage="{storage}", device="gpu")', dimension=8)


@pytest.mark.parametrize("options", ['kind="hnsw"', 'kind="ivf"'])
def test_fetching_deeper_serves_every_kind(options: str) -> None:
    index = filled(options)
    index._selectors_work = False
    for share in (0.02, 0.2, 0.6):
        allowed = IDS[: int(share * len(IDS))]
        hits = index.search(QUERIES, 50, allowed=allowed)
        assert [len(one.ids) for one in hits] == [50] * len(QUERIES)
        assert recall(hits, plain().search(QUERIES, 50, allowed=allowed)) > 0.85
