"""Learner and pilot as the container runs them: two supervised processes behind one port."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dreamer_agent.__main__ import main
from dreamer_agent.agents import RandomAgent
from shared.messages import Command, StreamName
from shared.streams import look_back
from tests.dreamer_agent.conftest import CAMERA, TINY, System, eventually
from tests.dreamer_agent.worlds import toy_dreams
from tests.support import Process


def children(process: Process) -> dict[str, psutil.Process]:
    """Return the running children by their role."""
    found = psutil.Process(process.running.pid).children()
    return {child.cmdline()[-1]: child for child in found if child.status() != psutil.STATUS_ZOMBIE}


def scrape(process: Process) -> dict[str, float]:
    """Return every sample without labels, and fail on a name that occurs twice."""
    text = httpx.get(f"{process.url}/metrics").text
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    return {
        sample.name + "".join(sample.labels.values()): sample.value for family in families for sample in family.samples
    }


async def steered(system: System) -> bool:
    """Publish a view and some dreams; tell whether a learnt policy has answered any view."""
    number = time.monotonic_ns()
    await system.publish_dreams(toy_dreams(RandomAgent(21), count=8, seed=number % 10_000, size=TINY.embedding_size))
    await system.publish_views(1, first=number % 10_000)
    await asyncio.sleep(0.1)
    found = await look_back(system.clients.commands, StreamName.commands(CAMERA), Command, 1)
    return bool(found) and found[-1].message.policy_version >= 1


async def test_both_roles_run_restart_and_stop_together(system: System, tmp_path: Path) -> None:
    await system.commit_world_model()
    settings = {**system.environment, "policy_seconds": "0.5"}
    with Process(tmp_path / "agent", "-m", "dreamer_agent", "agent", **settings) as process:
        await asyncio.to_thread(lambda: process.url)
        before = await eventually(
            lambda: children(process).keys() == {"learner", "pilot"} and children(process), "both"
        )
        reply = await asyncio.to_thread(httpx.get, f"{process.url}/readyz")
        assert reply.status_code == 503
        assert reply.json()["missing"].keys() <= {"learner", "pilot"}
        await eventually(lambda: steered(system), "a command by a learnt policy")
        await asyncio.to_thread(process.ready)

        figures = scrape(process)
        assert figures["ptz_rl_agent_ready"] == 1.0
        assert figures["ptz_rl_agent_learner_updates_total"] > 0.0
        assert figures["ptz_rl_agent_pilot_commands_totalgreedy"] >= 0.0
        assert figures["ptz_rl_agent_child_uppilot"] == 1.0

        before["learner"].kill()
        await eventually(lambda: scrape(process)["ptz_rl_agent_child_restarts_totallearner"] == 1.0, "the restart")
        head = await system.broker.head("ag_00_00")
        assert head is not None
        await eventually(lambda: committed_after(system, head.version), "the next version")
        assert children(process)["pilot"].pid == before["pilot"].pid

        process.send(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    stops = [line for line in process.log.splitlines() if '"stopped"' in line]
    assert [line.split('"service": "')[1].split('"')[0] for line in stops] == [
        "rl-agent-pilot",
        "rl-agent-learner",
        "rl-agent",
    ]


async def committed_after(system: System, version: int) -> bool:
    await system.publish_dreams(toy_dreams(RandomAgent(21), count=8, size=TINY.embedding_size))
    await asyncio.sleep(0.1)
    head = await system.broker.head("ag_00_00")
    return head is not None and head.version > version


async def test_children_do_not_outlive_a_killed_parent(system: System, tmp_path: Path) -> None:
    with Process(tmp_path / "agent", "-m", "dreamer_agent", "agent", **system.environment) as process:
        await asyncio.to_thread(lambda: process.url)
        before = await eventually(
            lambda: children(process).keys() == {"learner", "pilot"} and children(process), "both"
        )
        process.send(signal.SIGKILL)
        gone, alive = await asyncio.to_thread(psutil.wait_procs, list(before.values()), 10)
        assert len(gone) == 2
        assert not alive


def test_settings_that_cannot_work_end_with_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Process(
        tmp_path / "agent", "-m", "dreamer_agent", "agent", model_store=str(tmp_path / "file"), admin_port="0"
    ) as p:
        assert p.wait(60) == 2
    errors = [line for line in p.log.splitlines() if line.startswith("error: ")]
    assert any("PTZ_MODEL_STORE" in line for line in errors)
    assert "Traceback" not in p.log
    with Process(tmp_path / "dream", "-m", "dreamer_agent", "dream", dream_length="0") as p:
        assert p.wait(60) == 2
    assert p.log.startswith("error: setting PTZ_DREAM_LENGTH")
    with Process(tmp_path / "table", "-m", "dreamer_agent", "dream", action_table=str(tmp_path / "none.json")) as p:
        assert p.wait(60) == 2
    assert "error: cannot read the action table" in p.log


@pytest.mark.parametrize("arguments", [[], ["agent", "--role", "cook"], ["sleep"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err
