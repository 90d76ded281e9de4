"""Is there one order of the operations, each between its call and its return, in which a simple lease behaves so?

The search of Wing and Gong in Lowe's form, one resource at a time: walk over calls and returns, keep every
*configuration* that the past allows (a state, and which of the pending operations have taken effect already), and let
operations take effect only when a return demands it. Equal configurations are one; no configuration left is a
violation. A lease's running out is nobody's operation: whatever needs it gone may take it as gone from the earliest
moment at which it can have run out. An operation without an answer may take effect or not, until it can't linger
anywhere any more. A grant that nobody heard of explains nothing but denials: it, and whoever stands in line, is not
followed through the search, but excuses the denials of its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ptzjepa.verification.history import NEVER, Operation, Violation

LINGER_SECONDS = 10.0
"""A request that nobody answered may be carried out so much later: it may sit in a process that was stopped."""
RESOLVE_SECONDS = 15.0
"""How long an unanswered request is sent again, before its outcome stays unknown."""
LINE_SECONDS = 4.0
"""How much longer than its wait somebody may stand in line, if nobody told the broker."""
MOST_CONFIGURATIONS = 20_000


class Live(NamedTuple):
    """A lease in the model's state."""

    lease: str
    mode: str
    token: int
    earliest: float
    """Before this it cannot have run out."""


class State(NamedTuple):
    """What the model of one resource knows."""

    fence: int = 0
    head: int = 0
    live: frozenset[Live] = frozenset()


class _Excuse(NamedTuple):
    start: float
    until: float
    request: str


class Intractable(Exception):
    """The history allows more configurations than are looked at."""


@dataclass(frozen=True)
class _Configuration:
    state: State
    done: frozenset[int]


@dataclass(frozen=True)
class _Event:
    at: float
    what: str  # call, return, forget: in this order at the same moment
    operation: Operation


_ORDER = {"call": 0, "return": 1, "forget": 2}


def linearizable(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """Return the first operation that fits no order, if there is one."""
    walk = _Walk(operations)
    for event in _events(operations):
        if not walk.step(event):
            item = event.operation
            detail = f"no order explains {item.kind} {item.outcome} ({item.mode}, {item.lease or 'no lease'})"
            return [Violation("linearizability", resource, detail, (item.number,))]
    return []


def _events(operations: Sequence[Operation]) -> list[_Event]:
    events = []
    for operation in operations:
        if operation.outcome == "unknown" and operation.kind in ("renew", "acquire"):
            continue  # a renewal can only have prolonged the lease, and nothing is concluded from one that lives on
        events.append(_Event(operation.start, "call", operation))
        if operation.outcome == "unknown":
            events.append(_Event(operation.start + LINGER_SECONDS, "forget", operation))
            continue
        events.append(_Event(operation.end, "return", operation))
        if operation.lost and operation.outcome != "ok" and operation.kind in ("commit", "force"):
            # An attempt of it may still come to effect, after another attempt was refused.
            late = replace(operation, number=-operation.number - 1, outcome="unknown", end=NEVER)
            events.append(_Event(late.start, "call", late))
            events.append(_Event(operation.end + LINGER_SECONDS, "forget", late))
    return sorted(events, key=lambda event: (event.at, _ORDER[event.what]))


class _Walk:
    def __init__(self, operations: Sequence[Operation]) -> None:
        self._excuses = [excuse for item in operations if (excuse := _excuse(item)) is not None]
        self._excused: dict[int, bool] = {}
        self._pending: dict[int, Operation] = {}
        self._configurations = {_Configuration(State(), frozenset())}

    def step(self, event: _Event) -> bool:
        """Take one event in; False when nothing explains it."""
        operation = event.operation
        if event.what == "call":
            self._pending[operation.number] = operation
            return True
        if event.what == "return":
            reached = self._reachable(event.at, operation)
            self._configurations = {
                _Configuration(item.state, item.done - {operation.number})
                for item in reached
                if operation.number in item.done
            }
        else:  # it has taken effect by now, or never will
            self._configurations = self._reachable(event.at)
        del self._pending[operation.number]
        return bool(self._configurations)

    def _reachable(self, now: float, wanted: Operation | None = None) -> set[_Configuration]:
        """Let pending operations take effect by ``now`` in every order; none after ``wanted`` has."""
        stack, seen = list(self._configurations), set(self._configurations)
        while stack:
            item = stack.pop()
            if wanted is not None and wanted.number in item.done:
                continue
            for number, operation in self._pending.items():
                if number in item.done:
                    continue
                state = self._effect(item.state, operation, now)
                # What nobody answered has no effect a second time, so whether it had one shows in the state alone.
                open_ended = operation.outcome == "unknown"
                if state is None or (open_ended and state == item.state):
                    continue
                reached = _Configuration(state, item.done if open_ended else item.done | {number})
                if reached not in seen:
                    seen.add(reached)
                    stack.append(reached)
            if len(seen) > MOST_CONFIGURATIONS:
                raise Intractable(f"more than {MOST_CONFIGURATIONS} configurations")
        return seen

    def _effect(self, state: State, item: Operation, now: float) -> State | None:
        """Return the state after the operation took effect by ``now`` as it was answered; None if it can't have."""
        if item.kind == "acquire":
            return self._acquire(state, item, now)
        held = next((live for live in state.live if live.lease == item.lease), None)
        if item.kind == "renew":
            return _renew(state, item, held, now)
        if item.kind == "commit":
            return _commit(state, item, held, now)
        if item.outcome == "ended" and held is not None:
            return _expired(state, held, now)
        return state if held is None else state._replace(live=state.live - {held})

    def _acquire(self, state: State, item: Operation, now: float) -> State | None:
        rivals = [live for live in state.live if "exclusive" in (live.mode, item.mode)]
        if item.outcome == "denied":
            return state if rivals or self._is_excused(item) else None
        if item.outcome == "ended":
            return state
        same = next((live for live in state.live if live.lease == item.lease), None)
        if same:  # the request was answered before
            longer = same._replace(earliest=max(same.earliest, item.until))
            return state._replace(live=state.live - {same} | {longer})
        if any(rival.earliest > now for rival in rivals):
            return None
        if item.token <= state.fence:
            return None
        lease = Live(item.lease, item.mode, item.token, item.until)
        return state._replace(fence=item.token, live=state.live.difference(rivals) | {lease})

    def _is_excused(self, item: Operation) -> bool:
        found = self._excused.get(item.number)
        if found is None:
            found = self._excused[item.number] = any(
                excuse.start <= item.end and excuse.until >= item.start and excuse.request != item.request
                for excuse in self._excuses
            )
        return found


def _excuse(item: Operation) -> _Excuse | None:
    """Return when a request may have been in others' way without anybody having been told that it had the lease."""
    if item.kind != "acquire":
        return None
    until = item.start + item.wait + LINE_SECONDS if item.wait else 0.0
    if item.outcome == "unknown" or (item.outcome == "denied" and item.lost):
        last = item.start + RESOLVE_SECONDS if item.outcome == "unknown" else item.end
        until = max(until, last + LINGER_SECONDS + item.ttl)
    if item.outcome == "ended":
        until = max(until, item.end)
    return _Excuse(item.start, until, item.request) if until else None


def _renew(state: State, item: Operation, held: Live | None, now: float) -> State | None:
    if item.outcome == "ok":
        if held is None:
            return None
        return state._replace(live=state.live - {held} | {held._replace(earliest=max(held.earliest, item.until))})
    return state if held is None else _expired(state, held, now)


def _commit(state: State, item: Operation, held: Live | None, now: float) -> State | None:
    may = held is not None and held.mode == "exclusive" and held.token == item.token
    if item.outcome in ("stale", "ended"):
        return state if held is None or not may else _expired(state, held, now)
    if item.outcome == "moved":
        return state if item.expected != state.head else None
    if not may or item.expected != state.head:
        return None
    if item.outcome == "ok" and item.version != state.head + 1:
        return None
    return state._replace(head=state.head + 1)


def _expired(state: State, held: Live, now: float) -> State | None:
    return None if held.earliest > now else state._replace(live=state.live - {held})
