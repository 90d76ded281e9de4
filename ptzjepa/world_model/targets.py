"""What a world model should reach after ten minutes from scratch on two cores, by the headline's names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound to reach: at least, or at most."""

    bound: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Tell whether a value reaches it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


TARGETS = {
    "probe_r2.pan": Target(0.98, True),
    "probe_r2.tilt": Target(0.99, True),
    "probe_r2.zoom": Target(0.97, True),
    "probe_fov_error": Target(0.03, False),
    "relative_r2.pan": Target(0.90, True),
    "relative_r2.tilt": Target(0.90, True),
    "relative_r2.zoom": Target(0.90, True),
    "effective_rank": Target(32.0, True),
    "rollout_ratio.16": Target(0.03, False),
    "rollout_vs_lookup.static": Target(1.0, False),
    "rollout_vs_lookup.changing": Target(0.6, False),
    "rollout_vs_warp.4": Target(1.5, False),
    "loop_closure": Target(0.10, False),
    "retrieval_h1": Target(0.90, True),
    "overlay_drop": Target(0.02, False),
}
