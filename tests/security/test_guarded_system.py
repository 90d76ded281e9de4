"""The whole system with the users of a deployment: from the first view to a learnt policy, and nothing refused."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.messages import Command, DreamBatch, StreamName, Surprise, TrainingProgress
from shared.streams import look_back
from tests.security.guarded import GuardedRedis
from tests.support import Process, until

pytestmark = pytest.mark.timeout(900)
PATIENCE = 600.0
MODULES = {
    "lock-broker": ("lock_broker",),
    "camera-sampler": ("camera_sampler",),
    "world-model-trainer": ("world_model_trainer",),
    "dream-generator": ("dreamer_agent", "dream"),
    "rl-agent": ("dreamer_agent", "agent"),
}
PACE = {
    "camera-sampler": {"views_per_second": "8", "time_scale": "20", "spool": "spool"},
    "world-model-trainer": {"commit_seconds": "2", "min_views": "16", "replay_ratio": "8", "replay": "replay"},
    "dream-generator": {"dream_interval": "0.5", "number_of_dreams": "16", "dream_length": "4"},
    "rl-agent": {"policy_seconds": "0.5", "dreams_per_update": "16", "updates_per_batch": "1"},
}
"""Settings for little work, not for good learning."""


@pytest.fixture
def guarded(short_dir: Path) -> Iterator[GuardedRedis]:
    server = GuardedRedis(short_dir)
    server.start()
    yield server
    server.kill()


async def test_every_service_does_its_whole_work_as_its_own_user(guarded: GuardedRedis, tmp_path: Path) -> None:
    running: dict[str, Process] = {}
    common = {"model_store": str(tmp_path / "store"), "node": "test", "admin_port": "0", "camera": "north"}
    operator = guarded.clients("operator")
    with contextlib.ExitStack() as stack:
        for name, module in MODULES.items():
            own = {
                key: str(tmp_path / value) if key in ("spool", "replay") else value
                for key, value in PACE.get(name, {}).items()
            }
            if name == "lock-broker":
                own |= {"broker_port": "0"}
            else:
                own |= {"broker_url": running["lock-broker"].url}
            process = Process(tmp_path / name, "-m", *module, **common, **guarded.settings(name), **own)
            running[name] = stack.enter_context(process)
            if name == "lock-broker":
                await asyncio.to_thread(until, process.port_file.is_file, lambda: running["lock-broker"].log, PATIENCE)
                await asyncio.to_thread(process.ready)

        async def learnt() -> bool:
            newest = await look_back(operator.commands, StreamName.commands("north"), Command, 1)
            return bool(newest) and newest[0].message.policy_version >= 1

        deadline = time.monotonic() + PATIENCE
        while not await learnt():
            for name, process in running.items():
                assert process.running.poll() is None, f"{name}: {process.log[-2000:]}"
            assert await guarded.refusals() == []
            assert time.monotonic() < deadline, {name: process.log[-500:] for name, process in running.items()}
            await asyncio.sleep(0.5)
        for stream, kind in (
            (StreamName.surprise("north"), Surprise),
            (StreamName.PROGRESS, TrainingProgress),
            (StreamName.DREAMS, DreamBatch),
        ):
            assert await look_back(operator.commands, stream, kind, 1), stream
        # Who asks stops before who answers.
        for name, process in reversed(running.items()):
            process.send(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0, name
    await operator.aclose()
    # The log of refusals keeps every one, so that nothing that is caught and tried again escapes.
    assert await guarded.refusals() == []
    for user in MODULES:
        for process in running.values():
            assert guarded.password(user) not in process.log
