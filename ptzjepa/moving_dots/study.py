"""``ptzjepa moving-dots study``: all cells that fit into its time, by several processes, as tables and a figure.

Every finished cell is a file; the same command goes on from them, and a kill loses the cells that were being done.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from ptzjepa.moving_dots.cells import Cell, cells, known_methods
from ptzjepa.moving_dots.figure import draw
from ptzjepa.moving_dots.recipe import recipe
from ptzjepa.moving_dots.summary import summarise
from ptzjepa.moving_dots.tables import markdown
from ptzjepa.moving_dots.worker import CELLS, CLAIMS, PLAN, read_cell
from ptzjepa.run_directory import write_atomically
from ptzjepa.world_model.json_file import write_json
from ptzjepa.world_model.training_state import claimed
from shared.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK, UserError

LINE_SECONDS, POLL_SECONDS = 10.0, 0.5
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class StudyOptions:
    """What the user asks of a study. ``values`` change every cell's options."""

    out: Path
    minutes: float = 60.0
    seeds: int = 3
    levels: tuple[float, ...] = ()
    methods: tuple[str, ...] = ()
    processes: int = 1
    values: tuple[str, ...] = ()


def study(options: StudyOptions, console: Console) -> int:
    """Do what fits into the time and write ``study.json``, ``study.md`` and ``study.png``; returns the exit code."""
    _check(options)
    wanted = list(cells(options.methods, options.levels, options.seeds))
    for cell in wanted:
        recipe(cell.config(options.values))
    with _interruptible(), claimed(options.out):
        for name in (CELLS, CLAIMS):
            (options.out / name).mkdir(exist_ok=True)
        for stale in (options.out / CLAIMS).iterdir():
            stale.unlink()
        _plan(options)
        code = _work(options, wanted, console)
        found = [result for cell in wanted if (result := read_cell(options.out, cell)) is not None]
        if found:
            _report(options.out, found, wanted)
            console.print(f"{len(found)} of {len(wanted)} cells; wrote {options.out / 'study.md'}", soft_wrap=True)
    if code == EXIT_INTERRUPTED:
        print("stopped; the same command goes on", file=sys.stderr)
    return code


def _check(options: StudyOptions) -> None:
    if not (math.isfinite(options.minutes) and options.minutes > 0):
        raise UserError(f"--minutes {options.minutes:g}: must be more than 0")
    for level in options.levels:
        if not (math.isfinite(level) and level > 0):
            raise UserError(f"--level {level:g}: must be more than 0; no noise is always tried")
    for method in options.methods:
        if method not in known_methods():
            raise UserError(f"--method {method}: there are {', '.join(known_methods())}")


def _plan(options: StudyOptions) -> None:
    """Leave the workers their plan. ``UserError`` where the folder's cells were done with other values."""
    path = options.out / PLAN
    try:
        former = json.loads(path.read_text(encoding="utf-8"))["values"] if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no plan of a study; give another --out") from error
    if former is not None and former != list(options.values):
        raise UserError(f"{options.out} holds a study with other --values ({former}); give another --out")
    plan = {
        "methods": list(options.methods),
        "levels": list(options.levels),
        "seeds": options.seeds,
        "values": list(options.values),
        "deadline": time.time() + 60.0 * options.minutes,
    }
    write_json(path, plan)


def _work(options: StudyOptions, wanted: list[Cell], console: Console) -> int:
    began = time.monotonic()
    # The status redraws itself many times a second, which only a terminal has a use for.
    shown = console.status("") if console.is_terminal else None
    with _workers(options) as workers, shown or nullcontext():
        said = -LINE_SECONDS
        try:
            while any(worker.poll() is None for worker in workers):
                spent = time.monotonic() - began
                if shown is not None or spent - said >= LINE_SECONDS:
                    said = spent
                    _say(
                        console,
                        shown,
                        f"{spent:.0f} of {60 * options.minutes:.0f} s | {_standing(options.out, wanted)}",
                    )
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return next((EXIT_FAULT for worker in workers if worker.returncode), EXIT_OK)


def _say(console: Console, shown: Status | None, line: str) -> None:
    if shown is not None:
        shown.update(line)
        return
    console.print(line, soft_wrap=True)
    console.file.flush()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, and both where a shell has told its background jobs to ignore them."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _workers(options: StudyOptions) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes, one thread each; none outlives the block. Ctrl-C is for the study, which ends them."""
    command = [sys.executable, "-m", "ptzjepa.moving_dots.worker", str(options.out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen(command, env=environment, process_group=0) for _ in range(options.processes)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _standing(out: Path, wanted: list[Cell]) -> str:
    """Say how many cells are done and which are being done."""
    there = {path.stem for path in (out / CELLS).iterdir()}
    done = sum(cell.name in there for cell in wanted)
    running = []
    for claim in sorted((out / CLAIMS).iterdir()):
        try:
            running.append(claim.read_text(encoding="utf-8") or claim.name)
        except OSError:  # done in the meantime
            continue
    return f"{done} of {len(wanted)} cells | {', '.join(running) or 'starting'}"


def _report(out: Path, found: list[dict[str, Any]], wanted: list[Cell]) -> None:
    result = summarise(found, wanted)
    write_json(out / "study.json", result)
    write_atomically(out / "study.md", markdown(result))
    write_atomically(out / "study.png", draw(result))
