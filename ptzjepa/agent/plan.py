"""What an examination is made of, as a file that its workers read; and its cells, one for each arm and seed.

A cell's file says what was asked of it. Files of other questions are no use and are made again; those of the same are
kept, so an examination that was stopped goes on, and one with more arms or seeds only adds to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptzjepa.agent.arms import Arm
from ptzjepa.agent.protocol import Protocol
from ptzjepa.run_directory import write_atomically
from ptzjepa.world_model.json_file import write_json
from ptzjepa.world_model.scenes import Source
from shared.errors import UserError

FORMAT = "ptzjepa-exam-cell-1"
PLAN = "plan.json"


@dataclass(frozen=True)
class Cell:
    """One arm with one seed; seeds take the scenes in turn."""

    arm: Arm
    seed: int
    source: Source
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.arm.name.replace('*', 'x')}~{self.seed}"

    @property
    def asked(self) -> dict[str, Any]:
        """What decides its result."""
        scene = self.source.digest
        return {"arm": self.arm.name, "seed": self.seed, "scene": scene, "protocol": self.protocol.as_dict()}


@dataclass(frozen=True)
class Plan:
    """All that an examination asks, in ``folder``."""

    folder: Path
    arms: tuple[Arm, ...]
    sources: tuple[Source, ...]
    seeds: int
    protocol: Protocol

    def cells(self) -> list[Cell]:
        """Return all cells, seed by seed, so that one that is stopped has compared what it did."""
        return [
            Cell(arm, seed, self.sources[seed % len(self.sources)], self.protocol)
            for seed in range(self.seeds)
            for arm in self.arms
        ]

    def save(self) -> None:
        """Write the plan for the workers. ``UserError`` where the folder cannot be written."""
        try:
            for name in ("cells", "material", "scratch"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"output folder {self.folder}: {error.strerror}; give another --json") from error
        content = {
            "arms": [[arm.agent, list(arm.rewards)] for arm in self.arms],
            "sources": [[str(each.panorama) if each.panorama else None, each.seed] for each in self.sources],
            "seeds": self.seeds,
            "frames": self.protocol.frames,
        }
        write_atomically(self.folder / PLAN, json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read what ``save`` wrote."""
        content = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return cls(
            folder,
            tuple(Arm(agent, tuple((name, weight) for name, weight in rewards)) for agent, rewards in content["arms"]),
            tuple(Source(Path(path) if path else None, seed) for path, seed in content["sources"]),
            content["seeds"],
            Protocol.of(content["frames"]),
        )

    def material_of(self, cell: Cell) -> Path:
        """Return where the material of a cell's seed lies."""
        # The onset decides nothing of it, and neither do arms.
        name = f"{cell.source.digest}~{cell.seed}~{cell.protocol.eyes_steps}"
        return self.folder / "material" / f"{name}.safetensors"

    def scratch_of(self, cell: Cell) -> Path:
        """Return where a cell's replay may lie while it is sat."""
        return self.folder / "scratch" / f"{cell.name}.replay"

    def result_of(self, cell: Cell) -> Mapping[str, Any] | None:
        """Return what a cell came to, if it is done and of the same question."""
        try:
            found: dict[str, Any] = json.loads(self._path(cell).read_text(encoding="utf-8"))
            return found if (found["format"], found["asked"]) == (FORMAT, cell.asked) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Write what a cell came to, whole or not at all."""
        write_json(self._path(cell), {"format": FORMAT, "asked": cell.asked, **result})

    @contextlib.contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Own a cell if nobody else does; whoever dies gives it back."""
        with self._path(cell).with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}.json"
