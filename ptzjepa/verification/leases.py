"""``ptzjepa verify leases``: many clients, real brokers and a real Redis, harmed all the while; then the checker."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ptzjepa.verification.checker import check
from ptzjepa.verification.cluster import Cluster
from ptzjepa.verification.history import Stored
from ptzjepa.verification.http import Connection
from ptzjepa.verification.linearizability import RESOLVE_SECONDS
from ptzjepa.verification.nemesis import Nemesis, Weather
from ptzjepa.verification.planting import plant_all
from ptzjepa.verification.report import Report, write
from ptzjepa.verification.workload import KIND, Client, Scene
from shared.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK, UserError

CLIENTS = 24
RESOURCES = 16
BROKERS = 2
_LINE_SECONDS = 5.0
_REMEMBERED = 1000


@dataclass(frozen=True)
class Trial:
    """What is asked for."""

    operations: int
    minutes: float
    json: Path
    seed: int = 0


def run(trial: Trial, console: Console) -> int:
    """Run the trial and write its result. Exit code 0 only if no promise was broken and every planted one was seen."""
    if not trial.json.absolute().parent.is_dir():
        raise UserError(f"--json {trial.json}: its folder does not exist; make it or name another")
    directory = Path(tempfile.mkdtemp(prefix="ptz-verify-"))
    try:
        report = asyncio.run(_run(trial, directory, console))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    # Not in a thread: Ctrl-C could not end it there.
    console.print(f"{len(report.history.operations):,} operations in {report.seconds:.0f} s; checking …")
    planted = plant_all(report.history, trial.seed)
    report = replace(report, violations=check(report.history), planted=planted)
    write(trial.json, report)
    console.print(report.summary())
    if report.interrupted and not report.violations:
        return EXIT_INTERRUPTED
    return EXIT_OK if report.good else EXIT_FAULT


async def _run(trial: Trial, directory: Path, console: Console) -> Report:
    """Run the trial; what its history shows is still to be found out."""
    rng = random.Random(trial.seed)
    weather = Weather(rng)
    cluster = Cluster(directory, BROKERS, weather)
    async with cluster.running():
        ports = [proxy.port for proxy in cluster.proxies.values()]
        resources = [f"{KIND}/wm_00_{number:02d}" for number in range(RESOURCES)]
        scene = Scene(resources, ports, trial.operations)
        nemesis = Nemesis(cluster, weather, rng)
        started = time.monotonic()
        with _until_interrupted(scene) as interrupted:
            await _work(trial, scene, nemesis, console)
        seconds = time.monotonic() - started
        faults = sum((proxy.counts for proxy in cluster.proxies.values()), nemesis.counts)
        scene.history.heads = await _heads(cluster, resources)
    return Report(
        history=scene.history,
        violations=[],
        planted=[],
        faults=dict(faults),
        asked=trial.operations,
        seconds=seconds,
        seed=trial.seed,
        interrupted=interrupted.is_set(),
        system={"brokers": BROKERS, "clients": CLIENTS, "resources": RESOURCES},
    )


async def _work(trial: Trial, scene: Scene, nemesis: Nemesis, console: Console) -> None:
    """Let the clients work until there are operations enough, or no time is left."""
    clients = [asyncio.create_task(Client(f"c{number:02d}", scene, trial.seed).run()) for number in range(CLIENTS)]
    showing = asyncio.create_task(_show(trial, scene, nemesis, console))
    harming = asyncio.create_task(nemesis.harm())
    waiting = asyncio.create_task(scene.over.wait())
    try:
        # A client that fails ends the trial at once, with its fault.
        await asyncio.wait(
            {waiting, harming, *clients}, timeout=trial.minutes * 60.0, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        scene.over.set()
        for task in (harming, showing, waiting):
            task.cancel()
        await asyncio.gather(showing, waiting, return_exceptions=True)
        await asyncio.wait({harming})
        _, late = await asyncio.wait(clients, timeout=RESOLVE_SECONDS)
        for task in late:
            task.cancel()
        ended = await asyncio.gather(harming, *clients, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result


async def _show(trial: Trial, scene: Scene, nemesis: Nemesis, console: Console) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        elapsed = time.monotonic() - started
        faults = sum(nemesis.counts.values())
        console.print(
            f"{elapsed:4.0f} s | {scene.done:,} of {trial.operations:,} operations ({scene.done / elapsed:.0f}/s) | "
            f"{faults} kills, stops and storms"
        )


@contextlib.contextmanager
def _until_interrupted(scene: Scene) -> Iterator[asyncio.Event]:
    """Let the first Ctrl-C end the trial early; a second one ends the program."""
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        interrupted.set()
        scene.over.set()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread, or no Unix
        loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def _heads(cluster: Cluster, resources: list[str]) -> dict[str, list[Stored]]:
    """Ask a broker what the registry has in the end."""
    heads = {}
    for resource in resources:
        path = f"/v1/models/{resource.partition('/')[2]}/versions?limit={_REMEMBERED}"
        document = await _ask(cluster, path)
        heads[resource] = [
            Stored(item["version"], item["token"], item["checkpoint"]["address"])
            for item in reversed(document.get("versions", []))
        ]
    return heads


async def _ask(cluster: Cluster, path: str) -> dict[str, Any]:
    for _ in range(40):
        for name in cluster.brokers:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(10.0):
                    connection = await Connection.open("127.0.0.1", cluster.port(name))
                    answer = await connection.request("GET", path)
                    connection.abort()
                if answer.status in (200, 404):
                    return answer.json() if answer.status == 200 else {}
        await asyncio.sleep(0.5)
    raise UserError(f"no broker answers GET {path} after the trial")
