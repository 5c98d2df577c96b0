"""The OpenAPI document and the server agree, request by request."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.conftest import Process

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = max(int(os.environ.get("SERVING_EXAMPLES", "300")) // 10, 1)


@pytest.mark.timeout(60 + 2 * EXAMPLES)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_document_is_true(server: Process, mode: GenerationMode) -> None:
    """Requests that fit the document and requests that do not, half of them to a model that exists."""
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # any text may stand in its path

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            if asked % 2 and "model" in case.path_parameters:
                case.path_parameters["model"] = "contract"
            assert case.call_and_validate(checks=CHECKS).status_code != 500

        ask()
    assert asked > EXAMPLES
