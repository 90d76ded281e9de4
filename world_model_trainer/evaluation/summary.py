"""The headline: one number a question, means over places, and the floors that each has to be read beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from world_model_trainer.evaluation.protocol import Measured

Number = float | None
_ITEMS = ("pan", "tilt", "zoom")
_KINDS = ("static", "changing", "stored")
_LAST = "16"


class Means:
    """Means of what was measured in several places, by where it lies in the measurements: ``probe.linear.pan``."""

    def __init__(self, places: Sequence[Measured]) -> None:
        self._places = places

    def of(self, path: str, kind: str | None = None) -> Number:
        """Return the mean over places (of one kind) of the number at ``path``; None where nobody measured it."""
        values = [_at(place, path) for place in self._places if kind is None or place["kind"] == kind]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def items(self, path: str, names: Sequence[str] = _ITEMS) -> dict[str, Number]:
        """Return the means of several numbers below ``path``."""
        return {name: self.of(f"{path}.{name}") for name in names}

    def steps(self, path: str) -> dict[str, Number]:
        """Return the means by number of moves."""
        found = {step for place in self._places for step in _at(place, path) or ()}
        return self.items(path, sorted(found, key=int))

    def kinds(self, path: str) -> dict[str, Number]:
        """Return the means by kind of place."""
        present = {place["kind"] for place in self._places} | {"static", "changing"}
        return {kind: self.of(path, kind) for kind in _KINDS if kind in present}


def headline(places: Mapping[str, Measured], relative: Measured | None, overlay: Sequence[Measured]) -> dict[str, Any]:
    """Return the headline numbers, means over places; None where nothing was measured; ``floors`` by the same names.

    ``relative`` and ``overlay`` are what relative pose in unseen scenes and models trained under an overlay came to.
    """
    means, twins = Means(list(places.values())), Means(overlay)
    found: dict[str, Any] = {
        "probe_r2": means.items("probe.linear"),
        "probe_mlp_r2": means.items("probe.mlp"),
        "probe_fov_error": means.of("probe.linear.fov_share"),
        "probe_mlp_fov_error": means.of("probe.mlp.fov_share"),
        "relative_r2": relative["model"] if relative else None,
        "effective_rank": means.of("spread.model.effective_rank"),
        "rank_me": means.of("spread.model.rank_me"),
        "within_between": means.of("spread.model.within_between"),
        "rollout_ratio": means.steps("open_loop.vs_copy_last"),
        "rollout_vs_lookup": means.kinds(f"open_loop.vs_lookup.{_LAST}"),
        "rollout_vs_warp": means.steps("open_loop.vs_warp"),
        "shuffled_action": means.of("open_loop.shuffled_action"),
        "loop_closure": means.of("loops.turn"),
        "loop_off_on_the_way": means.of("loops.turn_off_on_the_way"),
        "out_and_back": means.of("loops.out_and_back"),
        "retrieval_h1": means.of("retrieval.model.h1"),
        "overlay_drop": twins.of("drop"),
        "overlay_zero_shot_drop": means.of("nuisance.overlay_zero_shot.drop"),
        "night_drop": means.of("nuisance.night.drop"),
        "camera_identity": means.items("nuisance.camera", ("embedding", "pose_subspace", "chance")),
    }
    return {**found, "floors": _floors(means, twins, relative)}


def _floors(means: Means, twins: Means, relative: Measured | None) -> dict[str, Any]:
    return {
        "probe_r2": {"random": means.items("probe.random_linear"), "shuffled_images": means.items("probe.shuffled")},
        "probe_mlp_r2": {"random": means.items("probe.random_mlp")},
        "probe_fov_error": {"random": means.of("probe.random_linear.fov_share")},
        "probe_mlp_fov_error": {"random": means.of("probe.random_mlp.fov_share")},
        "relative_r2": {"random": relative["random"] if relative else None},
        "effective_rank": {"random": means.of("spread.random.effective_rank")},
        "rank_me": {"random": means.of("spread.random.rank_me")},
        "within_between": {"random": means.of("spread.random.within_between")},
        "rollout_ratio": {
            "lookup": means.steps("open_loop.lookup_vs_copy_last"),
            "warp": means.steps("open_loop.warp_vs_copy_last"),
            "untrained": means.steps("open_loop.untrained_vs_copy_last"),
        },
        "loop_closure": {"copy_last": 0.0, "lookup": means.of("loops.lookup_turn")},
        "loop_off_on_the_way": {
            "copy_last": means.of("loops.copy_last_off_on_the_way"),
            "lookup": means.of("loops.lookup_off_on_the_way"),
        },
        "retrieval_h1": {
            "random": means.of("retrieval.random.h1"),
            "copy_last": means.of("retrieval.copy_last.h1"),
            "lookup": means.of("retrieval.lookup.h1"),
            "warp": means.of("retrieval.warp.h1"),
        },
        "overlay_drop": {"random": twins.of("random_drop")},
    }


def flatten(numbers: Mapping[str, Any], prefix: str = "") -> dict[str, Number]:
    """Return nested numbers by dotted names: ``{"probe_r2": {"pan": 1.0}}`` gives ``{"probe_r2.pan": 1.0}``."""
    flat: dict[str, Number] = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        elif value is None or isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def _at(measured: Any, path: str) -> Any:
    for name in path.split("."):
        measured = measured.get(name) if isinstance(measured, Mapping) else None
    return measured
