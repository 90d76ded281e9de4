"""What each route may answer, with examples: the API's description is made of these."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from lock_broker.problems import document

Responses = dict[int | str, dict[str, Any]]

_LEASE = {
    "lease_id": "world-model~wm_00_00~17~9f86d081884c7d65",
    "resource": "world-model/wm_00_00",
    "holder": "world-model-trainer@blade",
    "principal": "blade",
    "mode": "exclusive",
    "token": 17,  # nosec B105 - a fencing token
    "expires_in_ms": 30000,
}
_VERSION = {
    "model": "wm_00_00",
    "version": 4,
    "token": 17,  # nosec B105 - a fencing token
    "committed_at": "2026-05-04T12:00:00Z",
    "checkpoint": {
        "address": "world-models/wm_00_00/2c26b46b68ffc68ff99b453c1d304134.safetensors",
        "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "size": 1048576,
    },
    "card": {"one_step_error": 0.21, "copy_last_error": 0.64},
    "by": "world-model-trainer@blade",
    "principal": "blade",
    "lineage": {
        "generation": 0,
        "restart": 2,
        "parents": [{"model": "wm_00_00", "version": 3}, {"model": "ag_00_00", "version": 12}],
        "data": [{"camera": "north", "first": "2026-05-04T11:00:00Z", "last": "2026-05-04T11:59:58Z", "views": 1800}],
    },
    "restores": None,
    "pinned": False,
}
_UNAUTHORIZED = document(HTTPStatus.UNAUTHORIZED, "a valid bearer token is needed")
_AWAY = document(HTTPStatus.SERVICE_UNAVAILABLE, "Redis does not answer or can't do it; ask again")
_INVALID = document(HTTPStatus.UNPROCESSABLE_ENTITY, "body.ttl_ms: Input should be greater than or equal to 1000")
_NO_LEASE = document(HTTPStatus.NOT_FOUND, "there is no lease 'world-model~wm_00_00~17~9f86d081884c7d65'")
_ENDED = document(HTTPStatus.GONE, "the lease ran out", ended="expired")
_NO_MODEL = document(HTTPStatus.NOT_FOUND, "no version of wm_00_00 has been committed")
_TOO_LARGE = document(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than 1048576 bytes")
_BAD_REQUEST = document(HTTPStatus.BAD_REQUEST, "There was an error parsing the body")
_ALWAYS: Responses = {401: _UNAUTHORIZED, 422: _INVALID, 503: _AWAY}
_WITH_BODY: Responses = {**_ALWAYS, 400: _BAD_REQUEST, 413: _TOO_LARGE}


def _ok(description: str, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


_FOREIGN = document(HTTPStatus.FORBIDDEN, "the lease is another principal's")
_FULL = document(HTTPStatus.INSUFFICIENT_STORAGE, "the broker knows 10000 resources, its limit")
_HELD = {
    "resource": "world-model/wm_00_00",
    "holder": "world-model-trainer@blade",
    "expires_in_ms": 12345,
    "waiting": 1,
}
_ACQUIRE: Responses = {
    **_WITH_BODY,
    200: {**_ok("This request has the lease already", _LEASE), "model": None},
    201: _ok("The lease is granted", _LEASE),
    403: document(HTTPStatus.FORBIDDEN, "request_id: is another principal's"),
    409: document(HTTPStatus.CONFLICT, "request_id: asked for the other mode before"),
    410: document(
        HTTPStatus.GONE, "this request had a lease, which has ended; ask with a new request_id", ended="released"
    ),
    507: _FULL,
}
_HELD_BY = "world-model/wm_00_00 is held by world-model-trainer@blade for another 12345 ms"
ACQUIRE: Responses = {**_ACQUIRE, 423: document(HTTPStatus.LOCKED, _HELD_BY, **_HELD)}
ACQUIRE_ANY: Responses = {
    **_ACQUIRE,
    404: document(HTTPStatus.NOT_FOUND, "no model of the kind world-model is registered"),
    423: document(HTTPStatus.LOCKED, f"none of the resources is free; {_HELD_BY}", **_HELD, busy=[_HELD]),
}
LEASES: Responses = {**_ALWAYS, 200: _ok("The live leases", {"leases": [_LEASE]})}
LEASE: Responses = {**_ALWAYS, 200: _ok("The lease is live", _LEASE), 404: _NO_LEASE, 410: _ENDED}
RENEW: Responses = {
    **_WITH_BODY,
    200: _ok("The lease is prolonged", _LEASE),
    403: _FOREIGN,
    404: _NO_LEASE,
    410: _ENDED,
}
RELEASE: Responses = {**_ALWAYS, 204: {"description": "The lease has ended"}, 403: _FOREIGN, 404: _NO_LEASE}
FORCE: Responses = {
    **_WITH_BODY,
    204: {"description": "The lease has ended"},
    403: document(HTTPStatus.FORBIDDEN, "only an admin may take leases away"),
    404: _NO_LEASE,
}
_WAITER = {"holder": "dreamer-agent@edge-3", "principal": "edge-3", "mode": "shared"}
_RESOURCE = {"resource": "world-model/wm_00_00", "token": 17, "leases": [_LEASE], "waiting": [_WAITER]}  # nosec B105
RESOURCE: Responses = {**_ALWAYS, 200: _ok("How the resource stands", _RESOURCE)}
RESOURCES: Responses = {**_ALWAYS, 200: _ok("The resources, by name", {"resources": [_RESOURCE]})}
_EVENT = {
    "id": "1777896000000-0",
    "at": "2026-05-04T12:00:00Z",
    "event": "granted",
    "resource": "world-model/wm_00_00",
    "lease_id": "world-model~wm_00_00~17~9f86d081884c7d65",
    "holder": "world-model-trainer@blade",
    "principal": "blade",
    "token": 17,  # nosec B105 - a fencing token
    "detail": "",
}
EVENTS: Responses = {**_ALWAYS, 200: _ok("The events, oldest first", {"events": [_EVENT]})}
_MODEL = {"model": "wm_00_00", "kind": "world-model", "state": "active", "head": _VERSION}
_UNKNOWN_VERSION = document(HTTPStatus.NOT_FOUND, "wm_00_00 has no version 7; its head is 4")
_FORGOTTEN = document(HTTPStatus.GONE, "version 1 of wm_00_00 is forgotten")
_STALE = document(HTTPStatus.PRECONDITION_FAILED, "wm_00_00: the lease is not held")
_MOVED = document(HTTPStatus.CONFLICT, "wm_00_00: the head is version 5, not 3", head=5)
_NOT_YOURS = document(HTTPStatus.FORBIDDEN, "wm_00_00: the lease is blade's")
MODELS: Responses = {**_ALWAYS, 200: _ok("The models", {"models": [_MODEL]})}
MODEL: Responses = {**_ALWAYS, 200: _ok("The model", _MODEL), 404: _NO_MODEL}
VERSIONS: Responses = {**_ALWAYS, 200: _ok("The versions", {"versions": [_VERSION]}), 404: _NO_MODEL}
VERSION: Responses = {**_ALWAYS, 200: _ok("The version", _VERSION), 404: _UNKNOWN_VERSION, 410: _FORGOTTEN}
COMMIT: Responses = {
    **_WITH_BODY,
    200: {**_ok("This request made the version before", _VERSION), "model": None},
    201: _ok("The head has moved", _VERSION),
    403: _NOT_YOURS,
    409: _MOVED,
    412: _STALE,
}
ROLLBACK: Responses = {**COMMIT, 404: _UNKNOWN_VERSION, 410: _FORGOTTEN}
ARCHIVE: Responses = {
    **_WITH_BODY,
    200: _ok("The model is archived", {**_MODEL, "state": "archived"}),
    403: _NOT_YOURS,
    404: _NO_MODEL,
    412: _STALE,
}
RESTORE: Responses = {
    **_ALWAYS,
    200: _ok("The model is active", _MODEL),
    403: document(HTTPStatus.FORBIDDEN, "only an admin may restore a model"),
    404: _NO_MODEL,
}
PIN: Responses = {
    **VERSION,
    200: _ok("The version is pinned", {**_VERSION, "pinned": True}),
    409: document(HTTPStatus.CONFLICT, "wm_00_00: 64 versions are pinned already"),
}
UNPIN: Responses = VERSION


def _text(description: str, media_type: str, example: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"example": example}}}


PROGRESS_NAMES: Responses = {
    **_ALWAYS,
    200: _text("The training runs", "text/plain", "wm_00_00 @ 2026-05-04_12:00:00.000000\n"),
}
MODEL_INFO: Responses = {
    **_ALWAYS,
    200: _text("The model's training runs", "application/yaml", "model_gen: 0\nmodel_id: 0\nmodel_name: wm_00_00\n"),
    404: _NO_MODEL,
    409: document(HTTPStatus.CONFLICT, "mine: PTZJEPA knows only names like wm_00_03 and ag_00_03"),
}
READY: Responses = {
    200: _ok("The broker can do its work", {"ready": True, "missing": {}}),
    503: _ok("It can't", {"ready": False, "missing": {"redis": "ConnectionError: connection refused"}}),
}
