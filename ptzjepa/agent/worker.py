"""A process that sits cells of an examination until none is left: ``python -m ptzjepa.agent.worker DIR``.

Workers of one folder share the cells among them by locks. Each says on stdout where it is, a JSON line at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

from shared.errors import EXIT_USER, UserError
from shared.threads import limit_threads

SAY_SECONDS = 1.0


def work(folder: Path) -> None:
    """Sit every cell that is not done and that nobody else sits."""
    # Imported late: torch must not start before the threads are limited.
    import torch

    from ptzjepa.agent.material import material, scene_of
    from ptzjepa.agent.plan import Plan
    from ptzjepa.agent.sitting import Sitting

    torch.set_num_threads(1)
    plan = Plan.load(folder)
    for cell in plan.cells():
        with plan.claimed(cell) as ours:
            if not ours or plan.result_of(cell) is not None:
                continue
            began = time.process_time()
            path = plan.material_of(cell)
            with path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = material(path, cell.source, cell.seed, cell.protocol)
            scene = scene_of(cell.source, cell.seed, cell.protocol.onset)
            sitting = Sitting(cell.arm, cell.seed, scene, known, cell.protocol)
            result = sitting.take(plan.scratch_of(cell), _Sayer(cell.name))
            plan.keep(cell, {**result, "cpu_seconds": round(time.process_time() - began, 1)})
            _say({"done": cell.name})


class _Sayer:
    """Tells how far a cell is, now and then; ends this process when nobody is there to hear it."""

    def __init__(self, cell: str) -> None:
        self._cell, self._next, self._parent = cell, 0.0, os.getppid()

    def __call__(self, frame: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAY_SECONDS
        if os.getppid() != self._parent:
            raise SystemExit(1)
        _say({"cell": self._cell, "frame": frame})


def _say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


def main() -> int:
    """Work in the folder that the command line names."""
    limit_threads(1)
    try:
        work(Path(sys.argv[1]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
