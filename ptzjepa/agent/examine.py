"""``ptzjepa agent examine``: every arm with every seed, in worker processes; then marks, a table and pictures.

Beside ``FILE.json`` a folder ``FILE`` holds the cells, the table and the pictures. The same command goes on.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dreamer_agent.examination.grader import TARGETS, Grader, Sitting, verdicts
from ptzjepa.agent.arms import arms_of
from ptzjepa.agent.plan import Plan
from ptzjepa.agent.protocol import VIEW_ANGLE, Protocol
from ptzjepa.agent.tables import markdown
from ptzjepa.run_directory import write_atomically
from ptzjepa.world_model.json_file import write_json
from ptzjepa.world_model.scenes import Source
from shared.errors import EXIT_OK, EXIT_USER, UserError

FORMAT = "ptzjepa-exam-1"
LEAST_PROGRESS = 0.2
"""Of a cell, before which nobody can say how long all of them will take."""
LINE_SECONDS, POLL_SECONDS, EAR_SECONDS = 10.0, 0.2, 5.0
LEAST_FRAMES = 300
CURVE_WINDOW = 100
"""Frames that one point of the attraction's curve counts."""
TABLE, WHERE, WHEN = "table.md", "where.png", "attraction.png"


@dataclass(frozen=True)
class ExamineOptions:
    """What the user asks of an examination."""

    agents: tuple[str, ...]
    rewards: tuple[str, ...]
    sources: tuple[Source, ...]
    json_file: Path
    seeds: int = 5
    frames: int = 6000
    processes: int = 1


def examine(options: ExamineOptions, console: Console) -> int:
    """Sit all cells that are not done, then grade. ``UserError`` if the input is wrong."""
    plan = _plan(options)
    plan.save()
    _sit(plan, options.processes, console)
    result = grade(plan)
    write_json(options.json_file, result)
    table = markdown(result)
    write_atomically(plan.folder / TABLE, table)
    _draw(plan, result)
    for line in table.splitlines():
        console.print(line, soft_wrap=True)
    console.print(f"wrote {options.json_file} and {plan.folder}/", soft_wrap=True)
    return EXIT_OK


def grade(plan: Plan) -> dict[str, Any]:
    """Return the marks of all cells of a plan, which must be done."""
    cells = [(cell, plan.result_of(cell)) for cell in plan.cells()]
    sittings = [Sitting(cell.arm.name, cell.seed, result) for cell, result in cells if result is not None]
    grader = _grader(plan, sittings)
    marks = grader.marks()
    return {
        "format": FORMAT,
        "arms": marks,
        "verdicts": {arm: verdicts(found) for arm, found in marks.items()},
        "targets": {name: [target.value, target.text] for name, target in TARGETS.items()},
        "explained": grader.explained(),
        "control": grader.control(),
        "curves": grader.curves(CURVE_WINDOW),
        "protocol": plan.protocol.as_dict(),
        "seeds": plan.seeds,
        "scenes": [source.name for source in plan.sources],
        "cpu_seconds": sum(result.get("cpu_seconds", 0.0) for _, result in cells if result is not None),
    }


def _grader(plan: Plan, sittings: list[Sitting]) -> Grader:
    return Grader(sittings, onset=plan.protocol.onset, half_width=VIEW_ANGLE / 2.0)


def _plan(options: ExamineOptions) -> Plan:
    if options.frames < LEAST_FRAMES:
        raise UserError(f"--frames {options.frames}: give at least {LEAST_FRAMES}, or nothing can be learnt")
    if options.json_file.suffix != ".json":
        raise UserError(f"--json {options.json_file}: must end in .json; a folder of that name without it is made, too")
    for source in options.sources:
        source.open()
    return Plan(
        options.json_file.with_suffix(""),
        arms_of(options.agents, options.rewards),
        options.sources,
        options.seeds,
        Protocol.of(options.frames),
    )


def _sit(plan: Plan, processes: int, console: Console) -> None:
    """Have workers sit what is not done yet. ``UserError`` with what a worker said when it failed."""
    cells = plan.cells()
    left = {cell.name for cell in cells if plan.result_of(cell) is None}
    if not left:
        console.print(f"all {len(cells)} cells are done already", soft_wrap=True)
        return
    watch = _Watch(console, len(cells), len(left), plan.protocol.frames)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(plan.folder, number)) for number in range(min(processes, len(left)))]
        for worker in workers:
            stack.enter_context(worker.heard_by(watch))
        while any([worker.working() for worker in workers]):  # noqa: C419 - all of them are asked, not the first alone
            time.sleep(POLL_SECONDS)
    if any(plan.result_of(cell) is None for cell in cells):
        raise UserError(f"{plan.folder}: another examination sits some of the cells; wait for it, then ask again")


class _Worker:
    """A worker process for as long as its block lasts; what it complains of goes to a file."""

    def __init__(self, folder: Path, number: int) -> None:
        self._log = folder / f"worker-{number}.log"
        self._command = [sys.executable, "-m", "ptzjepa.agent.worker", str(folder)]

    def __enter__(self) -> _Worker:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def working(self) -> bool:
        """Tell whether it still works. ``UserError`` or ``RuntimeError`` with what it said when it failed."""
        code = self._process.poll()
        if code in (None, EXIT_OK):
            return code is None
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()
        if code == EXIT_USER and said:
            raise UserError(said.splitlines()[-1].removeprefix("error: "))
        raise RuntimeError(f"a worker ended with code {code}; it said: {said or 'nothing'}")

    @contextlib.contextmanager
    def heard_by(self, watch: _Watch) -> Iterator[None]:
        """Have what it says told to ``watch``."""
        ear = threading.Thread(target=watch.listen, args=(self._process.stdout or (),), daemon=True)
        ear.start()
        try:
            yield
        finally:
            # Ended, it has nothing more to say; the ear hears the end of the pipe.
            self._process.terminate()
            ear.join(timeout=EAR_SECONDS)


class _Watch:
    """Hears all workers and says a line now and then."""

    def __init__(self, console: Console, cells: int, left: int, frames: int) -> None:
        self._console, self._cells, self._frames = console, cells, frames
        self._done, self._first = cells - left, cells - left
        self._at: dict[str, int] = {}
        self._began, self._next = time.monotonic(), 0.0
        self._lock = threading.Lock()

    def listen(self, lines: Iterable[str]) -> None:
        """Take note of what a worker says until it ends."""
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:  # ended in the middle of a line
                continue
            with self._lock:
                if "done" in said:
                    self._at.pop(said["done"], None)
                    self._done += 1
                else:
                    self._at[said["cell"]] = said["frame"]
                self._say()

    def _say(self) -> None:
        now = time.monotonic()
        if now < self._next and self._done < self._cells:
            return
        self._next = now + LINE_SECONDS
        part = sum(self._at.values()) / self._frames
        progress = self._done - self._first + part
        until = "just begun"
        if progress >= LEAST_PROGRESS:
            left = (self._cells - self._done - part) * (now - self._began) / progress
            until = f"{left / 60.0:.0f} min left"
        where = ", ".join(f"{cell} at {frame}" for cell, frame in self._at.items())
        self._console.print(f"{self._done} of {self._cells} cells | {until} | {where}".rstrip(" |"), soft_wrap=True)
        self._console.file.flush()


def _draw(plan: Plan, result: Mapping[str, Any]) -> None:
    from ptzjepa.agent import pictures

    first = [(cell, plan.result_of(cell)) for cell in plan.cells() if cell.seed == 0]
    walks = {cell.arm.name: found["poses"] for cell, found in first if found is not None}
    pictures.where(plan.folder / WHERE, plan.cells()[0], walks)
    pictures.attraction(plan.folder / WHEN, result, CURVE_WINDOW)
