"""How the routes read in the OpenAPI document; requests are checked by the codec, against each model's signature."""

import re
from typing import Any

_VALUE = {"description": "a value, a list nested to the input's shape, or objects by input's name"}
_REQUEST = {
    "type": "object",
    "properties": {
        "signature_name": {"type": "string", "description": "serving_default if not given"},
        "instances": {"type": "array", "minItems": 1, "items": {}, "description": "row format: a value an instance"},
        "inputs": {**_VALUE, "description": "columnar format: a list an input"},
    },
    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
}
_ANSWER = {
    "type": "object",
    "properties": {
        "predictions": {"type": "array", "items": {}, "description": "row format: a value an instance"},
        "outputs": {**_VALUE, "description": "columnar format: a list an output"},
    },
}
_STATUS = {
    "type": "object",
    "required": ["model_version_status"],
    "properties": {
        "model_version_status": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["version", "state", "status"],
                "properties": {
                    "version": {"type": "string"},
                    "state": {"enum": ["LOADING", "AVAILABLE", "END"]},
                    "status": {
                        "type": "object",
                        "properties": {"error_code": {"type": "string"}, "error_message": {"type": "string"}},
                    },
                },
            },
        }
    },
}
_OBJECT = {"type": "object"}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_REASONS = {
    400: "the request does not fit the contract or the model",
    401: "the token is missing or wrong",
    404: "no such model or version",
    413: "the request is over a limit",
    421: "the Host is not one that this server answers to",
    500: "the server failed",
    501: "not implemented",
    503: "not available now",
    504: "no answer in time",
}
_ROUTES: dict[str, tuple[str, Any, list[int]]] = {
    ":predict": ("Predict", _ANSWER, [400, 401, 404, 413, 421, 500, 501, 503, 504]),
    ":classify": ("Classify (not implemented)", None, [401, 421, 501, 503]),
    ":regress": ("Regress (not implemented)", None, [401, 421, 501, 503]),
    "/metadata": ("A version's signatures", _OBJECT, [400, 401, 404, 421, 503]),
    "/healthz": ("Whether the process answers", _OBJECT, [421]),
    "/readyz": ("Whether every published model can be asked", _OBJECT, [421, 503]),
    "/metrics": ("Counters in Prometheus' text format", None, [401, 421, 503]),
}
_STATUS_ROUTE = ("State of a model's versions", _STATUS, [400, 401, 404, 421, 503])


def describe(path: str) -> dict[str, Any]:
    """What FastAPI's `add_api_route` takes to document the route of a path."""
    suffix = next((suffix for suffix in _ROUTES if path.endswith(suffix)), "")
    summary, answer, refusals = _ROUTES.get(suffix, _STATUS_ROUTE)
    responses: dict[int | str, Any] = {
        status: {"description": _REASONS[status], "content": {"application/json": {"schema": _ERROR}}}
        for status in refusals
    }
    if answer:
        responses[200] = {"description": "the answer", "content": {"application/json": {"schema": answer}}}
    elif suffix == "/metrics":
        responses[200] = {"description": "the counters", "content": {"text/plain": {"schema": {"type": "string"}}}}
    extra: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _parameter(name)}
            for name in re.findall(r"{(\w+)}", path)
        ]
    }
    if suffix == ":predict":
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _REQUEST}}}
    return {"summary": summary, "responses": responses, "openapi_extra": extra}


def _parameter(name: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": 2**63 - 1} if name == "version" else {"type": "string"}
