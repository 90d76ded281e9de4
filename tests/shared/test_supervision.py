"""Children are kept alive, stopped in order, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared.supervision import Child, Supervisor
from tests.support import Process, until

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr("shared.supervision.BACK_OFF_SECONDS", (0.01, 0.02))
    return Supervisor()


async def soon(done: Callable[[], object]) -> None:
    await asyncio.to_thread(until, done)


async def test_a_killed_child_starts_again_and_is_counted(supervisor: Supervisor) -> None:
    child = Child("sleeper", SLEEP)
    supervisor.start(child)
    for expected in (1, 2):
        await soon(lambda: child.pid)
        pid = child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await soon(lambda pid=pid: child.pid not in (None, pid))
        assert child.restarts == expected
        assert child.exit_code == -signal.SIGKILL
    await supervisor.stop_all()
    assert child.pid is None
    assert child.exit_code == -signal.SIGTERM


async def test_wrong_input_is_not_tried_again(supervisor: Supervisor) -> None:
    child = Child("wrong", python("raise SystemExit(2)"))
    supervisor.start(child)
    await soon(lambda: child.given_up)
    await asyncio.sleep(0.1)
    assert (child.restarts, child.exit_code, child.pid) == (0, 2, None)
    await supervisor.stop_all()


async def test_faults_are_tried_again(supervisor: Supervisor) -> None:
    child = Child("faulty", python("raise SystemExit(1)"))
    supervisor.start(child)
    await soon(lambda: child.restarts >= 3)
    assert not child.given_up
    await supervisor.stop_all()


async def test_a_child_that_can_not_start_is_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    program = tmp_path / "program"
    child = Child("late", [str(program)])
    supervisor.start(child)
    await soon(lambda: child.restarts >= 2)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    await soon(lambda: child.pid)
    await supervisor.stop_all()


async def test_a_deaf_child_is_killed_after_its_time(supervisor: Supervisor, tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = Child("deaf", python(code), log_file=tmp_path / "log", stop_seconds=0.2)
    supervisor.start(child)
    # The child may speak before the supervisor has taken note of it.
    await soon(lambda: child.pid and "deaf" in (tmp_path / "log").read_text())
    await supervisor.stop("deaf")
    assert child.exit_code == -signal.SIGKILL


async def test_children_stop_in_order(supervisor: Supervisor, tmp_path: Path) -> None:
    note = "open({path!r}, 'a').write({name!r})"
    children = []
    for name in ("a", "b", "c"):
        said = note.format(path=str(tmp_path / "order"), name=name)
        code = (
            "import signal, sys, time\n"
            f"def stop(*_):\n    {said}\n    sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, stop)\nprint('up', flush=True)\ntime.sleep(60)"
        )
        children.append(Child(name, python(code), log_file=tmp_path / name))
        supervisor.start(children[-1])
    for child in children:
        await soon(lambda child=child: "up" in child.log_file.read_text())
    await supervisor.stop_all(["b", "nobody", "a"])
    assert (tmp_path / "order").read_text() == "bac"
    assert [child.exit_code for child in children] == [0, 0, 0]


async def test_the_environment_and_the_log_reach_the_child(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child("one", python("import os; print(os.environ['PTZ_X']); raise SystemExit(2)"), {"PTZ_X": "y"}, log)
    supervisor.start(child)
    await soon(lambda: child.given_up)
    assert log.read_text() == "y\n"
    await supervisor.stop_all()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is announced to children on Linux only")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from shared.supervision import Child, Supervisor\n"
        "async def main():\n"
        "    supervisor, children = Supervisor(), [Child(n, [sys.executable, '-c', 'import time; time.sleep(60)'])"
        " for n in 'ab']\n"
        "    for child in children: supervisor.start(child)\n"
        "    while not all(child.pid for child in children): await asyncio.sleep(0.01)\n"
        "    print(*(child.pid for child in children), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with Process(tmp_path, "-c", code) as parent:
        until(lambda: parent.log.endswith("\n"))
        pids = [int(pid) for pid in parent.log.split()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.send(signal.SIGKILL)
        until(lambda: not any(_alive(pid) for pid in pids), seconds=10)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_stopping_while_waiting_to_start_again_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.supervision.BACK_OFF_SECONDS", (60.0,))
    supervisor, child = Supervisor(), Child("faulty", python("raise SystemExit(1)"))
    supervisor.start(child)
    await soon(lambda: child.exit_code == 1)
    started = time.monotonic()
    await supervisor.stop_all()
    assert time.monotonic() - started < 30
    assert child.restarts == 0
