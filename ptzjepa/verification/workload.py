"""The clients: they lease, renew, commit, give back, forget to, come too late, ask twice; and note what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ptzjepa.verification.history import NEVER, TICK_SECONDS, History, Kind, Operation, Outcome
from ptzjepa.verification.http import Answer, Connection
from ptzjepa.verification.linearizability import RESOLVE_SECONDS
from shared.leases import Mode, lease_clock

KIND = "world-model"
ANSWER_SECONDS = 4.5
"""A little longer than the broker waits for Redis."""
PAUSE_SECONDS = 0.05
TTLS = (1.0, 1.0, 1.5, 2.5)
_AWAY = frozenset({429, 502, 503, 504})
_OUTCOMES: dict[Kind, dict[int, Outcome]] = {
    "acquire": {201: "ok", 200: "ok", 423: "denied", 410: "ended"},
    "renew": {200: "ok", 410: "ended"},
    "release": {204: "ok", 410: "ended"},
    "force": {200: "ok", 204: "ok", 410: "ended"},
    "commit": {201: "ok", 200: "ok", 409: "moved", 412: "stale", 410: "ended"},
}


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that some client had."""

    resource: str
    lease: str
    token: int
    mode: Mode
    ttl: float


@dataclass
class Scene:
    """What all clients share."""

    resources: Sequence[str]
    ports: Sequence[int]
    wanted: int
    history: History = field(default_factory=History)
    heads: dict[str, int] = field(default_factory=dict)
    """The newest version that anybody was told of."""
    known: deque[Held] = field(default_factory=lambda: deque(maxlen=64))
    """Leases that live or have lived: for whoever ends those of others, or comes too late with his own."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> int:
        """Operations with an answer."""
        return len(self.history.operations)

    def note(self, **facts: Any) -> Operation:
        """Write an operation down."""
        operation = Operation(number=len(self.history.operations), **facts)
        self.history.operations.append(operation)
        if self.done >= self.wanted:
            self.over.set()
        return operation


class Client:
    """One client: a connection to some broker, a random mind, at most one lease at a time."""

    def __init__(self, name: str, scene: Scene, seed: int) -> None:
        self._name, self._scene, self._rng = name, scene, random.Random(f"{seed}/{name}")
        self._connection: Connection | None = None
        self._requests = 0

    async def run(self) -> None:
        """Do one thing after the other until it is over."""
        try:
            while not self._scene.over.is_set():
                await self._one_turn()
        finally:
            self._hang_up()

    async def _one_turn(self) -> None:
        held = await self._acquire()
        if held is None:
            if self._rng.random() < 0.3:
                await self._meddle()
            await asyncio.sleep(self._rng.uniform(0.0, 0.02))
            return
        self._scene.known.append(held)
        for _ in range(self._rng.choice((0, 1, 1, 2, 4))):
            await self._use(held)
        fate = self._rng.random()
        if fate < 0.05:
            # Sleeps through its lease, and goes on as if it had not.
            await asyncio.sleep(held.ttl * self._rng.uniform(0.8, 1.6))
            await self._use(held)
        if fate > 0.03:
            await self._end(held)
        if self._rng.random() < 0.05:
            await self._use(held)

    async def _use(self, held: Held) -> None:
        if held.mode == "exclusive" and self._rng.random() < 0.6:
            await self._commit(held)
        else:
            await self._call(
                "renew", (held.resource,), "PATCH", f"/v1/leases/{held.lease}", {"ttl_ms": int(held.ttl * 1000)}, held
            )
        if self._rng.random() < 0.2:
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))

    async def _end(self, held: Held) -> None:
        await self._call("release", (held.resource,), "DELETE", f"/v1/leases/{held.lease}", None, held)

    async def _meddle(self) -> None:
        """End somebody's lease, or write under one that may be over."""
        if not self._scene.known:
            return
        held = self._rng.choice(self._scene.known)
        if self._rng.random() < 0.3:
            path = f"/v1/leases/{held.lease}/force-release"
            await self._call("force", (held.resource,), "POST", path, {"reason": "trial"}, held)
        elif held.mode == "exclusive":
            await self._commit(held)

    async def _acquire(self) -> Held | None:
        rng = self._rng
        self._requests += 1
        body: dict[str, Any] = {"holder": self._name, "request_id": f"{self._name}-{self._requests:08d}"}
        body["mode"] = "shared" if rng.random() < 0.25 else "exclusive"
        ttl = rng.choice(TTLS)
        body["ttl_ms"] = int(ttl * 1000)
        if rng.random() < 0.12:
            body["wait_ms"] = rng.randrange(50, 1500)
        path = "/v1/leases"
        resources: tuple[str, ...] = (rng.choice(self._scene.resources),)
        if rng.random() < 0.25:
            path, resources = "/v1/leases/any", tuple(rng.sample(self._scene.resources, rng.randrange(2, 5)))
            body["choice"] = rng.choice(("least-recently-trained", "random", "round-robin"))
            body["resources"] = list(resources)
        else:
            body["resource"] = resources[0]
        if rng.random() < 0.05:
            operations = await self._ask_twice(path, resources, body, ttl)
        else:
            operations = [await self._lease_call(path, resources, body, ttl)]
        got = next((item for item in operations if item.outcome == "ok"), None)
        return None if got is None else Held(got.resource, got.lease, got.token, got.mode, ttl)

    async def _ask_twice(
        self, path: str, resources: tuple[str, ...], body: dict[str, Any], ttl: float
    ) -> list[Operation]:
        """Send the same request at the same time over two connections."""
        twin = Client(f"{self._name}-twin", self._scene, self._rng.randrange(2**32))
        try:
            return await asyncio.gather(*(one._lease_call(path, resources, body, ttl) for one in (self, twin)))
        finally:
            twin._hang_up()

    async def _lease_call(self, path: str, resources: tuple[str, ...], body: dict[str, Any], ttl: float) -> Operation:
        facts = {"request": body["request_id"], "mode": body["mode"], "ttl": ttl, "wait": body.get("wait_ms", 0) / 1e3}
        return await self._call("acquire", resources, "POST", path, body, None, **facts)

    async def _commit(self, held: Held) -> None:
        head = self._scene.heads.get(held.resource, 0)
        if self._rng.random() < 0.03:
            head = max(0, head - 1)
        self._requests += 1
        request = f"{self._name}-{self._requests:08d}"
        model = held.resource.partition("/")[2]
        body = {
            "lease_id": held.lease,
            "token": held.token,
            "expected_head": head,
            "checkpoint": {"address": request, "sha256": hashlib.sha256(request.encode()).hexdigest(), "size": 1},
            "request_id": request,
        }
        path = f"/v1/models/{model}/versions"
        made = await self._call("commit", (held.resource,), "POST", path, body, held, request=request, expected=head)
        self._scene.heads[held.resource] = max(self._scene.heads.get(held.resource, 0), made.version)

    async def _call(
        self,
        kind: Kind,
        resources: tuple[str, ...],
        method: str,
        path: str,
        body: dict[str, Any] | None,
        held: Held | None,
        **facts: Any,
    ) -> Operation:
        """Send a request until it is answered, and write down what came of it."""
        data = b"" if body is None else json.dumps(body).encode()
        patience = ANSWER_SECONDS + (body or {}).get("wait_ms", 0) / 1000.0
        if held is not None:
            facts = {"lease": held.lease, "token": held.token, "mode": held.mode, "ttl": held.ttl, **facts}
        start, lost = lease_clock(), 0
        asked = start
        try:
            while (answer := await self._attempt(method, path, data, patience)) is None:
                lost += 1
                if lease_clock() - start > RESOLVE_SECONDS:
                    return self._scene.note(
                        kind=kind, resources=resources, start=start, end=NEVER, outcome="unknown", lost=lost, **facts
                    )
                await asyncio.sleep(PAUSE_SECONDS)
                asked = lease_clock()
        except asyncio.CancelledError:
            self._scene.note(
                kind=kind, resources=resources, start=start, end=NEVER, outcome="unknown", lost=lost + 1, **facts
            )
            raise
        if "expires_in_ms" in (document := answer.json()) and answer.status < 300:
            facts = {**facts, "until": asked + document["expires_in_ms"] / 1000.0 - TICK_SECONDS}
        return self._answered(kind, resources, start, lost, answer, facts)

    def _answered(
        self, kind: Kind, resources: tuple[str, ...], start: float, lost: int, answer: Answer, facts: dict[str, Any]
    ) -> Operation:
        end, outcome, document = lease_clock(), _OUTCOMES[kind].get(answer.status), answer.json()
        if outcome is None:
            if len(self._scene.history.strange) < 100:
                self._scene.history.strange.append(f"{kind}: HTTP {answer.status}: {document.get('detail')}")
            outcome, end = "unknown", NEVER
        if outcome == "ok" and kind == "acquire":
            resources = (document["resource"],)
            facts = {**facts, "lease": document["lease_id"], "token": document["token"], "mode": document["mode"]}
        if outcome == "ok" and kind == "commit":
            facts = {**facts, "version": document["version"]}
        return self._scene.note(
            kind=kind, resources=resources, start=start, end=end, outcome=outcome, lost=lost, **facts
        )

    async def _attempt(self, method: str, path: str, body: bytes, patience: float) -> Answer | None:
        """Ask once; None if nobody answered, or only that they can't answer now."""
        try:
            async with asyncio.timeout(patience):
                if self._connection is None or not self._connection.usable:
                    self._connection = await Connection.open("127.0.0.1", self._rng.choice(self._scene.ports))
                answer = await self._connection.request(method, path, body)
        except (OSError, TimeoutError):
            self._hang_up()
            return None
        if answer.status in _AWAY:
            self._hang_up()
            return None
        return answer

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.abort()
            self._connection = None
