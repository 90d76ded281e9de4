"""What a run came to: the numbers of ``summary.json`` and the checks that decide whether it was a good one."""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ptzjepa.timeline import AGENT, Timeline
from shared.leases import ModelVersion
from shared.supervision import Child

VIEWS_PER_MINUTE = 100
CHECKPOINTS = 2
DREAMS, DREAMS_AFTER_MINUTES = 500, 3.0
MINUTES_TO_LEARN = 2.0
"""A world model that starts from nothing is not asked to beat its floor sooner."""
CARD_KEYS = ("one_step_error", "copy_last_error", "fresh_views", "training_steps", "views_seen")


@dataclass(frozen=True)
class Check:
    """One thing that a good run has: ``value`` is to be ``comparison`` of ``required``."""

    value: float | int | str | None
    required: float | int | str | None
    comparison: str
    ok: bool
    title: str


@dataclass(frozen=True)
class Identity:
    """What makes a run repeatable."""

    seed: int
    config_hash: str
    versions: Mapping[str, str]
    command: str


def checks(timeline: Timeline, children: Mapping[str, Child], minutes: float) -> dict[str, Check]:
    """Return the checks of a run of this many minutes by name; shorter runs need less in proportion."""
    share = min(1.0, minutes / DREAMS_AFTER_MINUTES)
    failed = {name: child.exit_code for name, child in children.items() if child.exit_code != 0}
    gave_up = [name for name, child in children.items() if child.given_up]
    return {
        "views": _at_least("views", timeline.views, round(VIEWS_PER_MINUTE * minutes)),
        "checkpoints": _at_least(
            "world-model checkpoints committed",
            timeline.committed[timeline.world_model],
            max(1, min(CHECKPOINTS, math.floor(CHECKPOINTS * minutes))),
        ),
        "dreams": _at_least("dreams", timeline.dreams, round(DREAMS * share)),
        "steered": _at_least("views a learned policy version steered to", timeline.learned_steering, 1),
        "one_step_error": _better_than_copying(timeline.errors(), minutes),
        "services_exit": _none("services that ended with an error", [f"{n} ({c})" for n, c in failed.items()]),
        "gave_up": _none("services that gave up", gave_up),
    }


def _better_than_copying(errors: tuple[float, float] | None, minutes: float) -> Check:
    if errors is None:
        return Check(None, None, "below", False, "one-step error on fresh views, below copy-last")
    error, copy_last = errors
    if minutes < MINUTES_TO_LEARN:
        title = f"one-step error on fresh views, with copy-last (compared from {MINUTES_TO_LEARN:g} minutes on)"
        return Check(error, copy_last, "measured with", True, title)
    return Check(error, copy_last, "below", error < copy_last, "one-step error on fresh views, below copy-last")


def _at_least(title: str, value: int, required: int) -> Check:
    return Check(value, required, "at least", value >= required, title)


def _none(title: str, names: list[str]) -> Check:
    return Check(", ".join(names) or "none", "none", "exactly", not names, title)


def show_number(value: float | int | str | None) -> str:
    """Return a check's value as people read it."""
    if value is None:
        return "nothing measured"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summarise(
    timeline: Timeline, children: Mapping[str, Child], identity: Identity, *, seconds: float, interrupted: bool
) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    results = checks(timeline, children, seconds / 60.0)
    return {
        "ok": all(check.ok for check in results.values()),
        "interrupted": interrupted,
        "seconds": round(seconds, 1),
        "views": timeline.views,
        "world_model": _world_model(timeline),
        "dreams": timeline.dreams,
        "agent": _agent(timeline),
        "services": {name: {"restarts": child.restarts, "exit": child.exit_code} for name, child in children.items()},
        "checks": {name: asdict(check) for name, check in results.items()},
        "versions": dict(identity.versions),
        "seed": identity.seed,
        "config_hash": identity.config_hash,
        "command": identity.command,
    }


def _world_model(timeline: Timeline) -> dict[str, Any]:
    committed = timeline.checkpoints(timeline.world_model)
    one_step, copy_last = timeline.errors() or (None, None)
    newest = committed[-1].card if committed else {}
    return {
        "name": timeline.world_model,
        "checkpoints": timeline.committed[timeline.world_model],
        "one_step_error": one_step,
        "copy_last_error": copy_last,
        "ratio": one_step / copy_last if one_step is not None and copy_last else None,
        "measured_views": timeline.measurements,
        "training_steps": newest.get("training_steps"),
        "views_seen": newest.get("views_seen"),
        "curve": [_point(timeline, version) for version in committed],
    }


def _point(timeline: Timeline, version: ModelVersion) -> dict[str, Any]:
    card = {key: version.card[key] for key in CARD_KEYS if key in version.card}
    return {"version": version.version, "seconds": timeline.seconds_of(version), **card}


def _agent(timeline: Timeline) -> dict[str, Any]:
    walk: Counter[str] = Counter()
    for policy, counts in timeline.directions.items():
        if policy != AGENT:
            walk.update(counts)
    return {
        "name": timeline.agent,
        "policy_versions": timeline.committed[timeline.agent],
        "steered_views": timeline.steered_views,
        "steered_share": round(timeline.steered_views / timeline.views, 4) if timeline.views else 0.0,
        "preferred_actions": dict(timeline.actions.get(AGENT, {})),
        "preferred_directions": dict(timeline.directions.get(AGENT, {})),
        "random_walk_views": timeline.views - timeline.steered_views,
        "random_walk_directions": dict(walk),
    }


def software_versions(redis_server: str, sources: Path | None = None) -> dict[str, str]:
    """Return the versions of what took part. Nothing heavy is imported for it."""
    found = {"python": platform.python_version()}
    for package in ("ptzjepa", "torch", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["redis_server"] = redis_server
    if revision := _git_revision(sources or Path(__file__).resolve().parent.parent):
        found["git"] = revision
    return found


def _git_revision(sources: Path) -> str | None:
    if shutil.which("git") is None or not (sources / ".git").exists():
        return None
    command = ["git", "-C", str(sources), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
