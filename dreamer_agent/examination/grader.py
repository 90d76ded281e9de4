"""From all sittings to marks: every measure of every arm, with its interval over seeds, beside its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamer_agent.examination.measures import (
    Walk,
    attraction_share,
    coverage,
    fidelity_ratios,
    frames_ratio,
    habituation_share,
    learnt_at,
    tv_share,
)
from dreamer_agent.examination.statistics import Interval, bootstrap
from dreamer_agent.examination.zones import ATTRACTIVE, Zone, ZoneLayout

FLOOR, SWEEP = "random", "raster"
EXPLAINED = 0.5
"""Of the variance in HARD, what a world model must explain of random data before an agent is blamed for anything."""


@dataclass(frozen=True)
class Target:
    """What a measure shall reach: its unfavourable bound counts. ``least``: at least, else at most."""

    value: float
    least: bool
    text: str

    def met(self, interval: Interval) -> bool:
        """Tell whether the bound that could disappoint does not."""
        return interval.low >= self.value if self.least else interval.high <= self.value


TARGETS: Mapping[str, Target] = {
    "attraction": Target(2.0, True, "share of frames in HARD and NEW ÷ chance, after the onset"),
    "tv": Target(1.2, False, "share of frames in the TV ÷ chance, last third"),
    "habituation": Target(1.3, False, "share in HARD and NEW ÷ chance, once both are learnt"),
    "frames_ratio": Target(0.75, False, "frames that a fresh world model needs ÷ random's, same error in HARD"),
    "frames_ratio_sweep": Target(0.9, False, "the same ÷ the sweep's"),
    "coverage": Target(0.9, True, "share of the sphere seen in the last 1,000 frames"),
    "calibration": Target(0.6, True, "Spearman's ρ of dreamed reward and true error"),
    "copy_last_1": Target(1.0, False, "dreamed error ÷ copy-last's, 1 move"),
    "copy_last_5": Target(1.0, False, "dreamed error ÷ copy-last's, 5 moves"),
    "mean_1": Target(1.0, False, "dreamed error ÷ the mean embedding's, 1 move"),
    "mean_5": Target(1.0, False, "dreamed error ÷ the mean embedding's, 5 moves"),
    "shuffled_cost": Target(0.25, True, "share in HARD and NEW that is lost when embeddings are shuffled"),
}
"""By measure. Which arm must meet which is the reader's business: an arm for caution is not meant to."""


@dataclass(frozen=True)
class Sitting:
    """What one arm with one seed left: see ``ptzjepa.agent.sitting``."""

    arm: str
    seed: int
    result: Mapping[str, Any]


class Grader:
    """Knows where the zones are. Arms are compared over the seeds that both sat."""

    def __init__(self, sittings: Sequence[Sitting], *, onset: int, half_width: float) -> None:
        self._onset, self._half_width = onset, half_width
        self._by_arm: dict[str, dict[int, Mapping[str, Any]]] = {}
        self._layouts: dict[int, ZoneLayout] = {}
        for sitting in sittings:
            self._by_arm.setdefault(sitting.arm, {})[sitting.seed] = sitting.result
            self._layouts.setdefault(sitting.seed, ZoneLayout.drawn(sitting.seed))

    def marks(self) -> dict[str, Any]:
        """Return every arm's measures: mean, low, high and seeds, or None where it cannot be told."""
        return {arm: self._marks(arm) for arm in self._by_arm}

    def explained(self) -> dict[str, Any]:
        """Return the share of variance that fresh world models explain of each zone, from all of random's data."""
        seeds = self._by_arm.get(FLOOR, {})
        zones = ("boring", "hard", "new")
        found = {
            zone: _dict(bootstrap([result["fresh"][-1]["zones"][zone]["explained"] for result in seeds.values()]))
            for zone in zones
        }
        hard = found["hard"]
        return {"zones": found, "needed": EXPLAINED, "met": bool(hard and hard["low"] > EXPLAINED)}

    def control(self) -> dict[str, float | int] | None:
        """Return the calibration of PTZJEPA's reward, one scalar a batch, on random's data: about nothing."""
        known = [
            result["control"] for result in self._by_arm.get(FLOOR, {}).values() if result.get("control") is not None
        ]
        return _dict(bootstrap(known))

    def curves(self, window: int) -> dict[str, list[float]]:
        """Return every arm's share in HARD and NEW, mean over seeds, by windows of so many frames."""
        found: dict[str, list[float]] = {}
        for arm, seeds in self._by_arm.items():
            walks = [self._walk(arm, seed) for seed in seeds]
            frames = len(walks[0])
            found[arm] = [
                sum(walk.share(ATTRACTIVE, slice(begin, begin + window)) for walk in walks) / len(walks)
                for begin in range(0, frames - frames % window, window)
            ]
        return found

    def _walk(self, arm: str, seed: int) -> Walk:
        return Walk.of(self._by_arm[arm][seed]["poses"], self._layouts[seed])

    def _marks(self, arm: str) -> dict[str, Any]:
        seeds = self._by_arm[arm]
        marks: dict[str, Any] = {
            "attraction": self._over_chance(arm, ATTRACTIVE, lambda walk, _: attraction_share(walk, self._onset)),
            "tv": self._over_chance(arm, [Zone.TV], lambda walk, _: tv_share(walk)),
            "habituation": self._over_chance(
                arm, ATTRACTIVE, lambda walk, result: habituation_share(walk, self._onset, _looks(result))
            ),
            "frames_ratio": self._frames(arm, FLOOR),
            "frames_ratio_sweep": self._frames(arm, SWEEP),
            "coverage": _over([coverage(self._walk(arm, s), self._layouts[s], self._half_width) for s in seeds]),
            "calibration": _over([_calibration(result) for result in seeds.values()]),
        }
        ratios = [fidelity_ratios(result["fidelity"]) for result in seeds.values()]
        for name in ("copy_last_1", "copy_last_5", "mean_1", "mean_5"):
            marks[name] = _over([each.get(name) for each in ratios])
        marks["shuffled_cost"] = _over([_shuffled_cost(result) for result in seeds.values()])
        marks["learnt"] = sum(learnt_at(self._onset, _looks(result)) is not None for result in seeds.values())
        return marks

    def _over_chance(
        self, arm: str, zones: Sequence[Zone], measure: Callable[[Walk, Mapping[str, Any]], float | None]
    ) -> dict[str, Any] | None:
        """Return a share over what a walk without aim comes to in the long run: the part that ``zones`` make up.

        One random walk of 1,500 frames is off that by a quarter of it, so its own share would be a floor of luck.
        """
        found: list[float | None] = []
        for seed, result in self._by_arm[arm].items():
            share = measure(self._walk(arm, seed), result)
            found.append(None if share is None else share / self._layouts[seed].part(zones))
        return _over(found)

    def _frames(self, arm: str, other: str) -> dict[str, Any] | None:
        others = self._by_arm.get(other, {})
        both = [seed for seed in self._by_arm[arm] if seed in others]
        return _over([frames_ratio(_curve(self._by_arm[arm][seed]), _curve(others[seed])) for seed in both])


def verdicts(marks: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return which targets an arm's marks meet; None where there is no mark."""
    found: dict[str, bool | None] = {}
    for name, target in TARGETS.items():
        mark = marks.get(name)
        found[name] = None if mark is None else target.met(Interval(**mark))
    return found


def _looks(result: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    return [
        (look["frame"], look["zones"]["hard"]["explained"], look["zones"]["new"]["explained"])
        for look in result["looks"]
    ]


def _curve(result: Mapping[str, Any]) -> list[tuple[int, float]]:
    return [(point["frames"], point["zones"]["hard"]["error"]) for point in result["fresh"]]


def _calibration(result: Mapping[str, Any]) -> float | None:
    """Return the mean over the grader's looks."""
    found = [look["calibration"] for look in result["looks"] if look.get("calibration") is not None]
    return sum(found) / len(found) if found else None


def _shuffled_cost(result: Mapping[str, Any]) -> float | None:
    """Return the part that is lost, of all moments at which the policy was tried."""
    tried = result.get("shuffled") or []
    seeing, shuffled = (sum(float(shares[name]) for shares in tried) for name in ("seeing", "shuffled"))
    return 1.0 - shuffled / seeing if seeing > 0.0 else None


def _over(values: Sequence[float | None]) -> dict[str, Any] | None:
    return _dict(bootstrap([value for value in values if value is not None]))


def _dict(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else interval.as_dict()
