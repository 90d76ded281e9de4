"""All checks over a recorded history."""

from __future__ import annotations

from collections.abc import Sequence

from ptzjepa.verification.history import History, Operation, Violation
from ptzjepa.verification.linearizability import Intractable, linearizable
from ptzjepa.verification.promises import PROMISES, remembered


def check_resource(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """Check one resource's operations: promise by promise, then as a whole."""
    found = [violation for promise in PROMISES for violation in promise(resource, operations)]
    try:
        return found + linearizable(resource, operations)
    except Intractable as error:
        return [*found, Violation("linearizability", resource, f"not decided: {error}")]


def check(history: History) -> list[Violation]:
    """Check everything that was recorded."""
    found = [Violation("answers", "", text) for text in history.strange]
    for resource, operations in history.by_resource().items():
        found += check_resource(resource, operations)
        if resource in history.heads:
            found += remembered(resource, operations, history.heads[resource])
    return found + _requests(history)


def _requests(history: History) -> list[Violation]:
    """One request never gets leases of two resources, either."""
    got: dict[str, str] = {}
    found = []
    for item in history.operations:
        if item.kind == "acquire" and item.outcome == "ok":
            other = got.setdefault(item.request, item.resource)
            if other != item.resource:
                detail = f"request {item.request} has a lease of {other}, too"
                found.append(Violation("idempotence", item.resource, detail, (item.number,)))
    return found
