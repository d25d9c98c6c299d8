"""Requests made from the OpenAPI description itself: no error of the service, no reply that breaks its own schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from makers import write_pictures
from served import serving

from mmrerank import Collection
from mmrerank.testing.fakes import FakeBackend

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    write_pictures(folder / "photos", range(3))
    (folder / "t.jsonl").write_text('{"id": "a", "text": "a red door"}\n{"id": "b", "text": "a green boat"}\n', encoding="utf-8")
    made = Collection.create(folder / "things")
    made.add([folder / "photos", folder / "t.jsonl"])
    with serving(collections=(folder / "things",), backend=FakeBackend()) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_every_reply_keeps_to_the_description(api: Any) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
            def asked(case: Any) -> None:
                case.call_and_validate(checks=CHECKS)

            try:
                asked()
            except Unsatisfiable:  # nothing can be wrong with a request that has no parts
                assert mode is GenerationMode.NEGATIVE


def test_every_request_has_an_example_and_every_field_that_needs_one_a_description(api: Any) -> None:
    described = api.raw_schema
    assert {"/v1/search", "/v1/ask", "/v1/collections", "/v1/rerank", "/v2/rerank", "/rerank", "/healthz", "/metrics"} <= set(
        described["paths"]
    )
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            assert {"400", "401", "404", "413", "422", "429", "504"} <= set(operation["responses"]), path
    for name in ("SearchRequest", "AskRequest", "CohereRequest", "JinaRequest", "TeiRequest", "InfinityRequest"):
        fields = described["components"]["schemas"][name]["properties"]
        assert any("examples" in field for field in fields.values()), name
