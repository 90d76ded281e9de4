"""What the user asks of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """The options of ``ptzjepa demo`` and ``ptzjepa up``. ``minutes`` is None for a run without an end."""

    command: str
    out: Path
    panorama: Path | None = None
    minutes: float | None = None
    seed: int = 0
    broker_port: int = 0

    @property
    def lasting(self) -> bool:
        """Whether the run has no end of its own; then it goes on from what a former one learnt."""
        return self.minutes is None

    @property
    def seconds(self) -> float | None:
        """How long the run lasts, in seconds."""
        return None if self.minutes is None else self.minutes * 60.0

    @property
    def as_typed(self) -> str:
        """The command line that repeats this run."""
        words = ["ptzjepa", self.command]
        if self.panorama:
            words += ["--panorama", str(self.panorama)]
        if self.minutes is not None:
            words += ["--minutes", f"{self.minutes:g}"]
        return " ".join([*words, "--seed", str(self.seed)])
