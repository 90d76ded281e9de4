"""One process of a study: does cells that nobody has done or is at, until the time is up.

Processes know of each other by locks on files alone, which the system lets go of when one is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ptzjepa.moving_dots.cells import Cell, cells
from ptzjepa.moving_dots.run import FORMAT, run
from ptzjepa.world_model.json_file import write_json
from shared.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER, UserError

PLAN, CELLS, CLAIMS = "plan.json", "cells", ".claims"


class OutOfTime(Exception):
    """The study's time is up, or the study is gone."""


def work(out: Path) -> None:
    """Do cells of the study in ``out`` as its plan says."""
    plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    study = os.getppid()
    took: dict[tuple[str, int], float] = {}
    for cell in cells(tuple(plan["methods"]), tuple(plan["levels"]), plan["seeds"]):
        left = plan["deadline"] - time.time()
        if left <= 0.0 or os.getppid() != study:
            return
        kind = (cell.method, cell.dots)
        if read_cell(out, cell) is not None or took.get(kind, 0.0) > left:
            continue
        with claimed(out, cell) as ours:
            if ours and read_cell(out, cell) is None:
                began = time.monotonic()
                _do(out, cell, tuple(plan["values"]), plan["deadline"], study)
                took[kind] = time.monotonic() - began


def _do(out: Path, cell: Cell, values: tuple[str, ...], deadline: float, study: int) -> None:
    said = 0.0

    def tell(step: int, steps: int, terms: dict[str, float]) -> None:
        nonlocal said
        del terms
        if time.time() > deadline or os.getppid() != study:
            raise OutOfTime
        if time.monotonic() - said > 1.0:
            said = time.monotonic()
            _claim(out, cell).write_text(f"{cell.name} {100 * step // steps} %", encoding="utf-8")

    began = time.monotonic()
    try:
        result: dict[str, Any] = run(cell.config(values), tell)
    except UserError as error:
        result = {"format": FORMAT, "method": cell.method, "failed": str(error)}
    result["wall_seconds"] = round(time.monotonic() - began, 2)
    write_json(path_of(out, cell), {"cell": cell.where, **result})


def path_of(out: Path, cell: Cell) -> Path:
    """Return a cell's file."""
    return out / CELLS / f"{cell.name}.json"


def _claim(out: Path, cell: Cell) -> Path:
    return out / CLAIMS / cell.name


def read_cell(out: Path, cell: Cell) -> dict[str, Any] | None:
    """Return a cell's result, if it is done. ``UserError`` where its file is something else."""
    path = path_of(out, cell)
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no result of this study ({error}); remove it") from error
    return found


@contextlib.contextmanager
def claimed(out: Path, cell: Cell) -> Iterator[bool]:
    """Be the one who does a cell; yields False where another process is at it."""
    path = _claim(out, cell)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def main() -> int:
    """Work in the folder that is named."""
    try:
        work(Path(sys.argv[1]))
    except (OutOfTime, KeyboardInterrupt) as stopped:
        return EXIT_OK if isinstance(stopped, OutOfTime) else EXIT_INTERRUPTED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
