"""Requests made from the OpenAPI document: no fault of the server, nothing undocumented."""

from __future__ import annotations

import time

import httpx
import pytest

from .served import Server, serving

schemathesis = pytest.importorskip("schemathesis")


def check_all(server: Server, examples: int) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_dict(httpx.get(f"{server.url}/openapi.json").json())
    schema.config.base_url = server.url
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    while server.http.get("/ready").status_code != 200:  # what is not ready yet says 503
        time.sleep(0.1)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=server.url, checks=checks, timeout=60)

        ask()
        asked += 1
    assert asked > 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_route_many_times(tmp_path, kind, request: pytest.FixtureRequest):
    settings = {}
    if kind == "postgresql":
        settings["database"] = request.getfixturevalue("postgresql")("asked")
    with serving(tmp_path, **settings) as server:
        check_all(server, examples=100)
