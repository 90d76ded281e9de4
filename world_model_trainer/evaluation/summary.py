"""The headline: one number a question, from the details of all places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from world_model_trainer.evaluation.protocol import Measured

Number = float | None


def headline(places: Mapping[str, Measured], relative: Measured | None, overlay: Sequence[Measured]) -> dict[str, Any]:
    """Return the headline numbers, means over places; None where nothing was measured.

    ``probe_r2``, ``probe_fov_error``, ``effective_rank``, ``rollout_ratio`` (to copy-last, by steps),
    ``rollout_vs_lookup`` at 16 steps by kind of place, ``rollout_vs_warp`` (where views overlap, by steps),
    ``loop_closure``, ``retrieval_h1``; ``relative_r2`` and ``overlay_drop`` come from elsewhere.
    """
    found = list(places.values())

    def over(read: Callable[[Measured], Number], kind: str | None = None) -> Number:
        values = [read(place) for place in found if kind is None or place["kind"] == kind]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def by_step(name: str) -> dict[str, Number]:
        steps = sorted({step for place in found for step in place["open_loop"][name]}, key=int)
        return {step: over(lambda place: place["open_loop"][name].get(step)) for step in steps}  # noqa: B023 - used at once

    def by_item(probe: str) -> dict[str, Number]:
        return {item: over(lambda place: place["probe"][probe][item]) for item in ("pan", "tilt", "zoom")}  # noqa: B023

    kinds = {place["kind"] for place in found} | {"static", "changing"}
    drops = [each["drop"] for each in overlay]
    return {
        "probe_r2": by_item("linear"),
        "probe_r2_mlp": by_item("mlp"),
        "probe_fov_error": over(lambda place: place["probe"]["linear"]["fov_share"]),
        "probe_fov_error_mlp": over(lambda place: place["probe"]["mlp"]["fov_share"]),
        "relative_r2": relative["model"] if relative else None,
        "effective_rank": over(lambda place: place["spread"]["model"]["effective_rank"]),
        "rollout_ratio": by_step("vs_copy_last"),
        "rollout_vs_lookup": {
            kind: over(lambda place: place["open_loop"]["vs_lookup"].get("16"), kind) for kind in sorted(kinds)
        },
        "rollout_vs_warp": by_step("vs_warp"),
        "loop_closure": over(lambda place: place["loops"]["turn"]),
        "retrieval_h1": over(lambda place: place["retrieval"]["model"]["h1"]),
        "overlay_drop": sum(drops) / len(drops) if drops else None,
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
