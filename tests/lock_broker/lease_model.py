"""What is right, in plain Python: a model of the lease scripts, to compare them with."""

from __future__ import annotations

from dataclasses import dataclass, field

from lock_broker.scripts import Asking

TICKET_MS, GAP, TOMBSTONES = 3000, 1000, 32


@dataclass
class ModelLease:
    request: str
    mode: str
    token: int
    ttl: int
    expires: int


@dataclass
class ModelTicket:
    request: str
    mode: str
    dies: int


@dataclass
class ModelResource:
    epoch: str
    fence: int
    used: int = 0
    leases: list[ModelLease] = field(default_factory=list)
    queue: list[ModelTicket] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    """Request and how, newest first."""

    def place(self, request: str) -> int:
        """How many stand before this request."""
        return next((n for n, ticket in enumerate(self.queue) if ticket.request == request), len(self.queue))

    def may_go(self, request: str, mode: str) -> bool:
        before = self.queue[: self.place(request)]
        if mode == "exclusive":
            return not before and not self.leases
        return all(it.mode == "shared" for it in [*before, *self.leases])

    def end(self, request: str, how: str) -> None:
        self.leases = [lease for lease in self.leases if lease.request != request]
        self.ended = [(request, how), *self.ended][:TOMBSTONES]

    def leave(self, request: str) -> None:
        self.queue = [ticket for ticket in self.queue if ticket.request != request]


class LeaseModel:
    """All resources. ``now``, ``epoch`` and ``epochs`` are set from outside; like a script, a call settles first."""

    def __init__(self) -> None:
        self.now, self.epoch, self.epochs, self.order = 0, "", 0, 0
        self.resources: dict[str, ModelResource] = {}
        self.cursor = ""

    def new_epoch(self, epoch: str) -> None:
        self.epoch = epoch
        self.epochs += 1

    def settle(self, name: str) -> ModelResource | None:
        """Bring a resource up to now."""
        found = self.resources.get(name)
        if found is None:
            return None
        if found.epoch != self.epoch:
            found.epoch = self.epoch
            found.fence += GAP
            for lease in found.leases:
                lease.expires = self.now + lease.ttl
            for ticket in found.queue:
                ticket.dies = self.now + TICKET_MS
        for lease in reversed(found.leases):
            if lease.expires <= self.now:
                found.end(lease.request, "expired")
        found.queue = [ticket for ticket in found.queue if ticket.dies > self.now]
        return found

    def acquire(self, asking: Asking, *, wait: bool) -> tuple[str, str, int]:
        """Return the outcome, the resource, and the token or how the lease ended before (then 0)."""
        settled = [(name, self.settle(name)) for name in asking.resources]
        fresh = ModelResource(self.epoch, (self.epochs - 1) * GAP)
        there = [(name, found or fresh) for name, found in settled]
        for name, found in there:
            for lease in found.leases:
                if lease.request == asking.request_id:
                    return ("same" if lease.mode == asking.mode else "other"), name, lease.token
            for ticket in found.queue:
                if ticket.request == asking.request_id and ticket.mode != asking.mode:
                    return "other", name, 0
            for request, how in found.ended:
                if request == asking.request_id:
                    return "ended", how, 0
        for name, found in self.ordered(there, asking.order):
            if found.may_go(asking.request_id, asking.mode):
                return "granted", name, self.grant(name, found, asking)
        for _, found in there:
            if not wait:
                found.leave(asking.request_id)
            elif found.place(asking.request_id) == len(found.queue):
                found.queue.append(ModelTicket(asking.request_id, asking.mode, self.now + TICKET_MS))
            else:
                found.queue[found.place(asking.request_id)].dies = self.now + TICKET_MS
        return "held", "", 0

    def ordered(self, there: list[tuple[str, ModelResource]], order: str) -> list[tuple[str, ModelResource]]:
        if order == "least-recently-trained":
            return sorted(there, key=lambda it: (it[1].used, it[0]))
        if order == "round-robin":
            return sorted(there, key=lambda it: (it[0] <= self.cursor, it[0]))
        return there

    def grant(self, name: str, found: ModelResource, asking: Asking) -> int:
        self.resources[name] = found
        found.fence += 1
        found.leases.append(
            ModelLease(asking.request_id, asking.mode, found.fence, asking.ttl_ms, self.now + asking.ttl_ms)
        )
        if asking.mode == "exclusive":
            self.order += 1
            found.used = self.order
        if asking.order == "round-robin":
            self.cursor = name
        for other in asking.resources:
            if other in self.resources:
                self.resources[other].leave(asking.request_id)
        return found.fence
