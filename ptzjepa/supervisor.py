"""All services as child processes: start in order, wait until they can work, watch their health, stop in order."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from shared.errors import UserError
from shared.supervision import Child, Supervisor

START_SECONDS = 90.0
POLL_SECONDS = 0.1
HEALTH_SECONDS = 1.0
STOP_SECONDS = 30.0
"""How long a service may take to finish what is under way: the agent's two processes have twelve each."""

Say = Callable[[str], None]


class StartFailed(Exception):
    """A service did not come up; the text says which, and where its log is."""


@dataclass(frozen=True)
class Plan:
    """One service process: what to run, and how to know that it works."""

    name: str
    command: Sequence[str]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    """Services that must have come up before this one starts."""
    url: str | None = None
    """Base URL of /healthz and /readyz, where it is known beforehand."""
    port_file: Path | None = None
    """File with the port of /healthz and /readyz, where the service picks a free one."""
    probe: Callable[[], Awaitable[None]] | None = None
    """Waits for a process that speaks no HTTP."""
    up_when: Literal["ready", "alive"] = "ready"
    """``ready``: up once it can do its work; ``alive``: up once it answers, since its work depends on others'."""


@dataclass
class Health:
    """What a service said about itself last. ``state`` is one of starting, ready, waiting, away, gave up, stopped."""

    state: str = "starting"
    detail: str = ""


def lower_priority(command: Sequence[str], niceness: int = 5) -> list[str]:
    """Prefix ``command`` so that it yields the processor to others, where the machine has ``nice``."""
    nice = shutil.which("nice")
    return [nice, "-n", str(niceness), *command] if nice else list(command)


class Fleet:
    """The services of one run. Start them with ``start``, keep ``watch`` running, end with ``stop``."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self.plans = {plan.name: plan for plan in plans}
        self.health = {name: Health() for name in self.plans}
        self._supervisor = Supervisor()
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(2.0), trust_env=False)

    @property
    def children(self) -> Mapping[str, Child]:
        """The processes by service name, as far as they were started."""
        return self._supervisor.children

    async def start(self, say: Say, seconds: float = START_SECONDS) -> None:
        """Start everything in the order of the plans' ``after``; returns when all are up.

        Raises ``UserError`` when a service finds its input wrong, ``StartFailed`` when one does not come up in time.
        """
        up = {name: asyncio.Event() for name in self.plans}
        deadline = time.monotonic() + seconds
        try:
            async with asyncio.TaskGroup() as group:
                for plan in self.plans.values():
                    group.create_task(self._bring_up(plan, up, say, deadline))
        except* (UserError, StartFailed) as failures:
            # Several may fail of one cause; one clear line is what the user needs.
            raise failures.exceptions[0] from None

    async def _bring_up(self, plan: Plan, up: Mapping[str, asyncio.Event], say: Say, deadline: float) -> None:
        for name in plan.after:
            if name in up:
                await up[name].wait()
        began = time.monotonic()
        if plan.port_file:
            plan.port_file.unlink(missing_ok=True)
        child = Child(plan.name, plan.command, plan.environment, plan.log_file, stop_seconds=STOP_SECONDS)
        self._supervisor.start(child)
        while not await self._is_up(plan):
            if child.given_up:
                raise UserError(f"{plan.name}: {last_error(plan.log_file)}")
            if time.monotonic() > deadline:
                detail = self.health[plan.name].detail or "no answer"
                raise StartFailed(f"{plan.name} did not come up in time ({detail}); see {plan.log_file}")
            await asyncio.sleep(POLL_SECONDS)
        say(f"{plan.name} is up after {time.monotonic() - began:.1f} s")
        up[plan.name].set()

    async def _is_up(self, plan: Plan) -> bool:
        await self._examine(plan)
        state = self.health[plan.name].state
        return state == "ready" or (plan.up_when == "alive" and state == "waiting")

    async def watch(self) -> None:
        """Keep ``health`` up to date until cancelled."""
        while True:
            await asyncio.gather(*(self._examine(plan) for plan in self.plans.values()))
            await asyncio.sleep(HEALTH_SECONDS)

    async def _examine(self, plan: Plan) -> None:
        child = self.children.get(plan.name)
        if child is not None and child.given_up:
            self.health[plan.name] = Health("gave up", last_error(plan.log_file))
        elif child is None or child.pid is None:
            self.health[plan.name] = Health("away" if child and child.process else "starting")
        elif plan.probe is not None:
            self.health[plan.name] = await _probed(plan.probe)
        else:
            self.health[plan.name] = await self._asked(plan)

    async def _asked(self, plan: Plan) -> Health:
        url = plan.url or _url_in(plan.port_file)
        if url is None:
            return Health("starting")
        try:
            response = await self._http.get(f"{url}/readyz")
        except httpx.HTTPError as error:
            return Health("away", type(error).__name__)
        if response.status_code == httpx.codes.OK:
            return Health("ready")
        return Health("waiting", _missing(response))

    async def stop(self, order: Sequence[str], before: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Stop the services one after the other in ``order``; ``before[name]`` runs before that one is stopped."""
        for name in order:
            if name in before:
                await before[name]()
            if name in self.children:
                await self._supervisor.stop(name)
                self.health[name] = Health("stopped", f"exit {self.children[name].exit_code}")
        await self._supervisor.stop_all()
        await self._http.aclose()


def last_error(log_file: Path) -> str:
    """Return what a service printed after ``error:``, or its last line; it ended because of that."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "it ended and left no log"
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return f"it ended; see {log_file}"


async def _probed(probe: Callable[[], Awaitable[None]]) -> Health:
    try:
        await probe()
    except (UserError, OSError):
        return Health("away", "no answer")
    return Health("ready")


def _url_in(port_file: Path | None) -> str | None:
    try:
        return f"http://127.0.0.1:{int(port_file.read_text(encoding='ascii'))}" if port_file else None
    except (OSError, ValueError):
        return None


def _missing(response: httpx.Response) -> str:
    try:
        missing = json.loads(response.content).get("missing", {})
        return "; ".join(f"{part}: {reason}" for part, reason in missing.items())
    except (ValueError, AttributeError):
        return f"HTTP {response.status_code}"
