"""What the clients saw: every request as one operation, with the times of its call and its return by one clock.

A request whose answer was lost is sent again with the same ``request_id``, so all its attempts are one operation that
takes effect once, somewhere between its first call and its return. One that was never answered has no return.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shared.leases import Mode

NEVER = float("inf")
TICK_SECONDS = 0.001
"""The broker counts whole milliseconds."""

Kind = Literal["acquire", "renew", "release", "force", "commit"]
Outcome = Literal["ok", "denied", "ended", "stale", "moved", "unknown"]
"""``denied``: another holds it. ``ended``: the lease is over. ``stale``, ``moved``: the commit was refused, for the
lease or for the head. ``unknown``: no answer; it may take effect at any time after its call, or never."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request and its answer. Times in seconds of the host's boot clock."""

    number: int
    kind: Kind
    resources: tuple[str, ...]
    """What was asked for: one resource, or those to choose from."""
    start: float
    end: float
    """When it returned; ``NEVER`` for one without an answer."""
    outcome: Outcome
    lost: int = 0
    """Attempts without an answer: they may be carried out late."""
    request: str = ""
    mode: Mode = "exclusive"
    ttl: float = 0.0
    wait: float = 0.0
    lease: str = ""
    """The lease that was got, or that was renewed, ended or written under."""
    until: float = 0.0
    """The lease lives at least until then: what the answer says is left, counted from before it was asked for."""
    token: int = 0
    expected: int = 0
    """The head that a commit started from."""
    version: int = 0

    @property
    def resource(self) -> str:
        """The resource that it was about in the end."""
        return self.resources[0] if len(self.resources) == 1 else ""


@dataclass(frozen=True)
class Stored:
    """A version as the registry shows it at the end."""

    version: int
    token: int
    request: str
    """The commit that made it, as its checkpoint says."""


@dataclass
class History:
    """A recorded run."""

    operations: list[Operation] = field(default_factory=list)
    heads: dict[str, list[Stored]] = field(default_factory=dict)
    """By resource, oldest first: what the registry remembers when all is over. None where nobody asked."""
    strange: list[str] = field(default_factory=list)
    """Answers that the API does not give."""

    def by_resource(self) -> Mapping[str, list[Operation]]:
        """Return what concerns each resource, in the order of the calls."""
        found: dict[str, list[Operation]] = defaultdict(list)
        for operation in sorted(self.operations, key=lambda item: item.start):
            for resource in operation.resources:
                found[resource].append(operation)
        return found


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    promise: str
    resource: str
    detail: str
    operations: tuple[int, ...] = ()


def grants(operations: Iterable[Operation]) -> list[Operation]:
    """Return the leases that were granted, each once: a request may have been answered several times."""
    first: dict[str, Operation] = {}
    for operation in operations:
        if operation.kind == "acquire" and operation.outcome == "ok":
            before = first.get(operation.lease)
            if before is None or operation.end < before.end:
                first[operation.lease] = operation
    return list(first.values())


def accepted(operations: Iterable[Operation]) -> list[Operation]:
    """Return the commits that were accepted, each request once."""
    return [item for item in operations if item.kind == "commit" and item.outcome == "ok"]


def of_lease(operations: Sequence[Operation]) -> Mapping[str, list[Operation]]:
    """Return what was done with each lease after it was granted."""
    found: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind != "acquire":
            found[operation.lease].append(operation)
    return found
