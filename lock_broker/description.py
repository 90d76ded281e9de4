"""What the API's description says about every route alike: the answers of the gate, and how to bear a token."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from lock_broker.gate import BODY_BYTES, HEAD_BYTES, TARGET_BYTES
from lock_broker.principals import needed
from lock_broker.problems import document
from shared.leases import Problem

_SCHEME = "bearer"
_ANY = {
    "401": document(HTTPStatus.UNAUTHORIZED, "a valid bearer token is needed"),
    "403": document(HTTPStatus.FORBIDDEN, "blade is a reader; this needs the role worker"),
    "408": document(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
    "413": document(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {BODY_BYTES} bytes"),
    "414": document(HTTPStatus.REQUEST_URI_TOO_LONG, f"the address is longer than {TARGET_BYTES} bytes"),
    "422": document(HTTPStatus.UNPROCESSABLE_ENTITY, "body.ttl_ms: Input should be greater than or equal to 1000"),
    "429": document(HTTPStatus.TOO_MANY_REQUESTS, "too many requests; PTZ_BROKER_RATE and PTZ_BROKER_BURST are …"),
    "431": document(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers are larger than {HEAD_BYTES} bytes"),
    "503": document(HTTPStatus.SERVICE_UNAVAILABLE, "Redis does not answer or can't do it; ask again"),
}


def complete(schema: dict[str, Any], *, tokens: bool) -> dict[str, Any]:
    """Add to a description what holds for every operation under ``/v1``; changes and returns it."""
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": _SCHEME}}
    for path, operations in schema["paths"].items():
        if not path.startswith("/v1"):
            continue
        for method, operation in operations.items():
            role = needed(method.upper(), path)
            operation["description"] = f"{operation.get('description', '')}\n\nRole: {role}.".lstrip()
            for status, answer in _ANY.items():
                operation["responses"].setdefault(status, answer)
            if tokens:
                operation["security"] = [{_SCHEME: []}]
    return schema
