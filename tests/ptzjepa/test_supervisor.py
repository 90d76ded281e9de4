"""The fleet with small real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ptzjepa.supervisor import Fleet, Plan, StartFailed, last_error, lower_priority
from shared.errors import UserError

SERVICE = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
missing = json.loads(os.environ["MISSING"])
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"ready": not missing, "missing": missing}).encode()
        self.send_response(503 if missing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
def stop(*_):
    with open(os.environ["ORDER"], "a") as file: file.write("stop " + os.environ["NAME"] + "\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
server = HTTPServer(("127.0.0.1", 0), Handler)
with open(os.environ["ORDER"], "a") as file: file.write("start " + os.environ["NAME"] + "\\n")
with open(os.environ["PORT_FILE"], "w") as file: file.write(str(server.server_port))
server.serve_forever()
"""


class Nursery:
    """Makes plans of small services under a folder and stops them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.order = folder, folder / "order.txt"
        self.fleet: Fleet | None = None
        self.said: list[str] = []

    def plan(self, name: str, *, code: str = SERVICE, missing: str = "{}", **options: object) -> Plan:
        port_file = self.folder / f"{name}.port"
        environment = {"NAME": name, "MISSING": missing, "ORDER": str(self.order), "PORT_FILE": str(port_file)}
        log_file = self.folder / f"{name}.log"
        return Plan(name, [sys.executable, "-c", code], log_file, environment, port_file=port_file, **options)  # type: ignore[arg-type]

    async def start(self, *plans: Plan, seconds: float = 20.0) -> Fleet:
        self.fleet = Fleet(plans)
        await self.fleet.start(self.said.append, seconds)
        return self.fleet

    def events(self) -> list[str]:
        return self.order.read_text().splitlines()


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    if nursery.fleet:
        await nursery.fleet.stop([], {})


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what we wait for is another process
            await asyncio.sleep(0.02)


async def test_start_and_stop_keep_their_order(nursery: Nursery) -> None:
    fleet = await nursery.start(
        nursery.plan("last", after=("middle",)), nursery.plan("middle", after=("first",)), nursery.plan("first")
    )
    assert nursery.events() == ["start first", "start middle", "start last"]
    assert [line.split()[0] for line in nursery.said] == ["first", "middle", "last"]

    async def before() -> None:
        nursery.order.write_text(nursery.order.read_text() + "before middle\n")

    await fleet.stop(("last", "middle", "first"), {"middle": before})
    assert nursery.events()[3:] == ["stop last", "before middle", "stop middle", "stop first"]
    assert {child.exit_code for child in fleet.children.values()} == {0}
    assert {health.state for health in fleet.health.values()} == {"stopped"}


async def test_a_killed_service_comes_back_and_its_health_shows_it(nursery: Nursery) -> None:
    fleet = await nursery.start(nursery.plan("service"))
    watching = asyncio.create_task(fleet.watch())
    child = fleet.children["service"]
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid not in (None, first) and child.restarts == 1)
    await until(lambda: fleet.health["service"].state == "ready")
    watching.cancel()


async def test_alive_is_enough_where_readiness_depends_on_others(nursery: Nursery) -> None:
    fleet = await nursery.start(nursery.plan("dreamer", missing='{"views": "none yet"}', up_when="alive"))
    assert (fleet.health["dreamer"].state, fleet.health["dreamer"].detail) == ("waiting", "views: none yet")


async def test_a_service_that_never_becomes_ready_is_named(nursery: Nursery) -> None:
    with pytest.raises(StartFailed, match=r"slow did not come up in time \(disk: full\)"):
        await nursery.start(nursery.plan("slow", missing='{"disk": "full"}'), seconds=2.0)


async def test_wrong_input_of_a_service_becomes_one_line(nursery: Nursery) -> None:
    code = "import sys; print('noise'); print('error: PTZ_X: not a number', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UserError) as raised:
        await nursery.start(nursery.plan("picky", code=code), nursery.plan("after", after=("picky",)))
    assert str(raised.value) == "picky: PTZ_X: not a number"
    assert not nursery.order.exists(), "nothing that depends on it was started"
    assert nursery.fleet is not None
    assert nursery.fleet.health["picky"].state == "gave up"


def test_last_error_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "no log" in last_error(log)
    log.write_text("error: first\n" + "x" * 20_000 + '\nerror: second\n{"event": "stopped"}\n')
    assert last_error(log) == "second"


def test_lower_priority_runs_the_same_command() -> None:
    command = lower_priority([sys.executable, "-c", "pass"])
    assert command[-3:] == [sys.executable, "-c", "pass"]
