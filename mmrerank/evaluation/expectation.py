"""What a run will cost before it is run: calls, tokens and seconds of each reranker, from a few queries that no model answers.

Each reranker works on some queries of the benchmark through a counting stand-in of its model, which notes every prompt and answers
nothing that can be read: so windows, groups and candidates are counted by the method itself, whatever it is. How long the model takes is
then tried on the first prompts of each kind. Of a sort the number of comparisons hangs on the answers; an answer that is generated may
end before its limit, and is timed as the one that was tried.

Source: ours.  Cost: PROBED queries through the first stage, and PROMPTS prompts of each kind that the model answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from mmrerank.collection import Collection
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.running import DEPTH, first_stage
from mmrerank.evaluation.sampling import evenly
from mmrerank.pipeline import AnyReranker, NamedReranker, rerankers_of
from mmrerank.protocols import Backend, CuttingBackend, EmbeddingBackend, front_to_back
from mmrerank.types import Array, ChoiceScores, Cost, Decoding, Generated, Prompt, Query

T = TypeVar("T")
PROBED = 3  # queries
PROMPTS = 4  # of each kind that the model is asked, to see how long it takes
TOKENS_A_WORD = 1.4
PIXELS_A_TOKEN = 28 * 28
UNREADABLE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one reranker is expected to take, a query."""

    name: str
    calls: float
    prompt_tokens: float
    generated_tokens: float  # as many as the answers that were tried have
    seconds: float  # of the model, and of the reranker itself

    def as_json(self, queries: int) -> dict[str, Any]:
        """A query, and all of them."""
        numbers = {name: getattr(self, name) for name in ("calls", "prompt_tokens", "generated_tokens", "seconds")}
        return {
            "name": self.name,
            **{name: round(value, 6) for name, value in numbers.items()},
            "all_queries": {name: round(value * queries, 6) for name, value in numbers.items()},
        }


class CountingBackend:
    """Stands in for a model: notes what it is asked, and gives answers that say nothing. What the model can beside that, it can."""

    def __init__(self, inner: Backend) -> None:
        self.name = inner.name
        self.inner = inner
        self.choosing: list[tuple[Prompt, tuple[str, ...]]] = []
        self.writing: list[tuple[Prompt, Decoding]] = []
        self.embedding: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """Answers that cannot be read."""
        self.writing += [(prompt, decoding or Decoding()) for prompt in prompts]
        return [Generated(text=UNREADABLE, cost=Cost(calls=1)) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """All choices alike."""
        self.choosing += [(prompt, tuple(choices)) for prompt in prompts]
        rows = np.full((len(prompts), len(choices)), -np.log(max(len(choices), 1)), dtype=np.float32)
        return ChoiceScores(logprobs=rows, cost=Cost(calls=len(prompts)), lengths=(1,) * len(choices))


class CountingStates(CountingBackend):
    """The same for a model that shows its states."""

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        """(n, 4) rows that are all alike."""
        self.embedding += prompts
        return np.ones((len(prompts), 4), dtype=np.float32)


def counting(backend: Backend) -> CountingBackend:
    """What stands in for a backend, with the same capabilities."""
    shows_states = any(isinstance(one, EmbeddingBackend) for one in front_to_back(backend))
    return CountingStates(backend) if shows_states else CountingBackend(backend)


def expectations(
    benchmark: Benchmark,
    collection: Collection,
    rerank: Sequence[AnyReranker],
    *,
    retriever: str | None = None,
    backend: Backend | None = None,
    depth: int = DEPTH,
) -> list[Expected]:
    """What each of these rerankers is expected to take a query, each on the order of the first stage.

    Raises:
        BackendError: a model cannot be reached.
        InputError: a reranker does not work on such queries or candidates.
    """
    first = first_stage(benchmark, collection, name=retriever, run=None, backend=backend)
    queries = evenly(benchmark.queries, PROBED)
    return [_expected(collection, queries, first, one, backend, depth) for one in rerank]


def _expected(
    collection: Collection, queries: Sequence[Query], first: Any, reranker: AnyReranker, backend: Backend | None, depth: int
) -> Expected:
    named = NamedReranker.of(reranker) if isinstance(reranker, str) else reranker
    own = named.backend if isinstance(named, NamedReranker) and named.backend is not None else backend
    double = None if own is None else counting(own)
    if isinstance(named, NamedReranker) and named.backend is not None:
        named = replace(named, backend=double)
    (part,) = rerankers_of([named], first, double)
    seconds = 0.0
    for query in queries:
        stage = collection.search(query, retriever=first, rerank=[part], depth=depth).stages[-1]
        seconds += stage.seconds
    name = part.name
    if double is None:
        return Expected(name=name, calls=0, prompt_tokens=0, generated_tokens=0, seconds=seconds / len(queries))
    calls, prompt_tokens, generated_tokens, model_s = _of_model(double)
    count = len(queries)
    return Expected(
        name=name,
        calls=calls / count,
        prompt_tokens=prompt_tokens / count,
        generated_tokens=generated_tokens / count,
        seconds=(seconds + model_s) / count,
    )


def _of_model(double: CountingBackend) -> tuple[int, float, float, float]:
    """Calls, prompt tokens, generated tokens and seconds of everything that the stand-in was asked."""
    model = list(front_to_back(double.inner))[-1]  # behind caches: what is known costs nothing, and says nothing
    prompts = [*(prompt for prompt, _ in double.choosing), *(prompt for prompt, _ in double.writing), *double.embedding]
    seconds = generated = 0.0
    if double.choosing:
        some, choices = [prompt for prompt, _ in double.choosing[:PROMPTS]], double.choosing[0][1]
        seconds += _seconds(lambda: model.choice_logprobs(some, choices)) / len(some) * len(double.choosing)
    if double.writing:
        prompt, decoding = double.writing[0]
        answers: list[Generated] = []
        seconds += _seconds(lambda: answers.extend(model.generate([prompt], decoding)), again=False) * len(double.writing)
        generated = answers[0].cost.generated_tokens * len(double.writing)
    if double.embedding and isinstance(model, EmbeddingBackend):
        some = double.embedding[:PROMPTS]
        seconds += _seconds(lambda: model.embed(some)) / len(some) * len(double.embedding)
    return len(prompts), sum(_tokens(model, prompts)), generated, seconds


def _seconds(ask: Callable[[], Any], *, again: bool = True) -> float:
    """How long it takes, the second time where that is cheap: the first warms up."""
    if again:
        ask()
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


def _tokens(model: Backend, prompts: Sequence[Prompt]) -> list[float]:
    """How many tokens each prompt is; by words and pixels where the model does not tell."""
    if isinstance(model, CuttingBackend):
        return [float(count) for count in model.count_tokens(prompts)]
    return [sum(_size(part) for message in prompt for part in message.parts) for prompt in prompts]


def _size(part: Any) -> float:
    return len(part.split()) * TOKENS_A_WORD if isinstance(part, str) else part.width * part.height / PIXELS_A_TOKEN
