"""What a service counts, for Prometheus: latency per stage and request, calls, tokens, cache hits, repairs, and how busy it is.

Stages are named by their part alone: options would make a series of every setting, and ids or texts of users never appear.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mmrerank.types import Cost, Status

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The counters of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, taken: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("mmrerank_requests", "Requests by path and status.", ["path", "status"], registry=registry)
        self._latency = Histogram("mmrerank_request_seconds", "Seconds a request took.", ["path"], buckets=SECONDS, registry=registry)
        self._stages = Histogram("mmrerank_stage_seconds", "Seconds a stage took.", ["stage"], buckets=SECONDS, registry=registry)
        self._calls = Counter("mmrerank_model_calls", "Prompts that a model answered.", ["stage"], registry=registry)
        self._cached = Counter("mmrerank_cache_hits", "Prompts that the cache answered.", ["stage"], registry=registry)
        self._tokens = Counter("mmrerank_tokens", "Tokens by kind.", ["stage", "kind"], registry=registry)
        self._repairs = Counter("mmrerank_repairs", "Orders that had to be mended, by how.", ["stage", "status"], registry=registry)
        self._batches = Histogram("mmrerank_batch_prompts", "Prompts that met in one batch.", buckets=BATCHES, registry=registry)
        Gauge("mmrerank_requests_taken", "Requests in work or waiting.", registry=registry).set_function(taken)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def stage(self, name: str, seconds: float, status: Status, cost: Cost) -> None:
        """Counts what one station did."""
        part = name.partition("(")[0].partition("/")[0]
        self._stages.labels(part).observe(seconds)
        self._calls.labels(part).inc(cost.calls)
        self._cached.labels(part).inc(cost.cached)
        kinds = {"prompt": cost.prompt_tokens, "image": cost.image_tokens, "generated": cost.generated_tokens, "reused": cost.reused_tokens}
        for kind, count in kinds.items():
            self._tokens.labels(part, kind).inc(count)
        if status != "ok":
            self._repairs.labels(part, status).inc()

    def batch(self, prompts: int) -> None:
        self._batches.observe(prompts)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
