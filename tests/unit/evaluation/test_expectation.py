"""What a run is expected to take, beside what it took."""

from __future__ import annotations

from pathlib import Path

import pytest
from emoji_benchmark import write_benchmark

from mmrerank.collection import Collection
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.expectation import CountingStates, counting, expectations
from mmrerank.parts import module
from mmrerank.protocols import EmbeddingBackend
from mmrerank.testing.fakes import FakeBackend

METHODS = ("ragllava", "square(depth=9, retries=0)", "mm_r5(window=4, step=2)")


@pytest.fixture(scope="module")
def benchmark_(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return open_benchmark(write_benchmark(tmp_path_factory.mktemp("few"), queries=3, others=30))


@pytest.fixture(scope="module")
def collection(benchmark_: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collection = Collection.create(Path(tmp_path_factory.mktemp("collection")) / "c", encoders=["openclip/mini"])
    collection.add(benchmark_.sources)
    return collection


@pytest.mark.parametrize("method", METHODS)
def test_as_many_calls_are_expected_as_are_made(benchmark_: Benchmark, collection: Collection, method: str) -> None:
    model = FakeBackend()
    (expected,) = expectations(benchmark_, collection, [method], backend=model, depth=9)
    asked_before = len(model.prompts)
    assert 0 < asked_before <= 2 * 4, "only what is timed is asked"
    evaluate(benchmark_, collection, rerank=[method], backend=model, depth=9, sides="none")
    assert expected.calls == (len(model.prompts) - asked_before) / 3
    assert expected.prompt_tokens > 0
    assert expected.seconds > 0
    assert expected.name.startswith(method.partition("(")[0])


def test_one_that_asks_no_model_is_timed_itself(benchmark_: Benchmark, collection: Collection) -> None:
    (expected,) = expectations(benchmark_, collection, ["superglobal"], depth=9)
    assert (expected.calls, expected.prompt_tokens, expected.generated_tokens) == (0, 0, 0)
    assert expected.seconds > 0


def test_the_stand_in_can_what_the_model_can() -> None:
    assert isinstance(counting(FakeBackend()), EmbeddingBackend)
    assert isinstance(counting(FakeBackend()), CountingStates)
    assert not isinstance(counting(module("scripted", station="backends").tiny()), EmbeddingBackend)
