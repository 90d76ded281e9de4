"""Results as plain tables of at most 80 columns, floors in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptzjepa.world_model.targets import TARGETS
from world_model_trainer.evaluation import flatten

WIDTH = 80
_LABEL, _LONG_LABEL = 26, 40
_SIDE_BY_SIDE = 2
_NONE = "–"

Row = tuple[str, Sequence[float | str | None]]


def table(
    title: str, columns: Sequence[str], rows: Sequence[Row], digits: int = 3, label: int = _LABEL
) -> Iterator[str]:
    """Yield the lines of one table: a title, the columns' names, a line a row behind a label of that width."""
    width = (WIDTH - label) // max(1, len(columns))
    yield ""
    yield title
    yield " " * label + "".join(f"{name[: width - 1]:>{width}}" for name in columns)
    for name, values in rows:
        yield f"{name[: label - 1]:<{label}}" + "".join(f"{show(value, digits):>{width}}" for value in values)


def show(value: float | str | None, digits: int = 3) -> str:
    """Return a number as tables have it."""
    if value is None or isinstance(value, str):
        return value or _NONE
    return f"{value:.{digits}f}" if abs(value) < 1000.0 else f"{value:.3g}"


def describe(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield all lines of an evaluation."""
    for name, place in result["places"].items():
        yield from _place(name, place)
    if result["relative"]:
        yield from _relative(result["relative"])
    if result["overlay"]:
        yield from _overlay(result["overlay"])
    yield from _headline(result)


def study_table(settings: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """Yield the lines of a study: mean ± deviation by name, a column for each setting, two side by side."""
    names = list(settings)
    for at in range(0, len(names), _SIDE_BY_SIDE):
        shown = names[at : at + _SIDE_BY_SIDE]
        rows: list[Row] = [
            (name, [_target(name), *(_plus_minus(settings[setting].get(name)) for setting in shown)])
            for name in dict.fromkeys(name for setting in shown for name in settings[setting])
        ]
        yield from table("Mean ± deviation over seeds", ("target", *shown), rows, label=_LONG_LABEL)


def _headline(result: Mapping[str, Any]) -> Iterator[str]:
    """All numbers that a target is set for, with the target and the floors."""
    numbers = flatten({name: result[name] for name in result["headline"]})
    rows: list[Row] = []
    for name, target in TARGETS.items():
        value = numbers.get(name)
        verdict = None if value is None else "met" if target.met(value) else "missed"
        rows.append((name, [value, str(target), verdict]))
    yield from table("Targets: ten minutes from scratch on two cores", ("here", "target", ""), rows, label=_LONG_LABEL)


def _target(name: str) -> str | None:
    return str(TARGETS[name]) if name in TARGETS else None


def _plus_minus(found: Mapping[str, float] | None) -> str | None:
    return f"{show(found['mean'])} ± {show(found['deviation'])}" if found else None


def _place(name: str, place: Mapping[str, Any]) -> Iterator[str]:
    views = place["views"]
    here = {True: ", trained here", False: ", NOT trained here"}.get(place.get("trained_here", ""), "")
    yield ""
    yield f"== {name} ({place['kind']}{here})"[:WIDTH]
    yield (
        f"{views['fit']} views to fit probes, {views['held_out']} to judge, "
        f"{views['walks']} walks of {views['moves']} moves"
    )
    yield from _probes(place["probe"])
    yield from _open_loop(place["open_loop"], views["lookup"])
    yield from _retrieval(place["retrieval"])
    yield from _loops(place["loops"])
    yield from _spread(place["spread"])
    yield from _nuisance(place["nuisance"])


_SCORES = ("pan", "tilt", "zoom", "degrees", "fov_share")
_SCORE_NAMES = ("R² pan", "R² tilt", "R² zoom", "median °", "÷ field")


def _scores(found: Mapping[str, Any]) -> list[float]:
    return [found[name] for name in _SCORES]


def _probes(probe: Mapping[str, Any]) -> Iterator[str]:
    labels = {
        "linear": "linear",
        "mlp": "MLP",
        "random_linear": "floor: random, linear",
        "random_mlp": "floor: random, MLP",
        "shuffled": "control: shuffled images",
    }
    rows: list[Row] = [(label, _scores(probe[key])) for key, label in labels.items()]
    rows += [(f"linear, dreamt {step} moves", _scores(found)) for step, found in probe["on_dreams"].items()]
    yield from table("Pose of one view, held-out poses, from pixels alone", _SCORE_NAMES, rows)


def _open_loop(found: Mapping[str, Any], stored: int) -> Iterator[str]:
    steps = list(found["vs_copy_last"])
    labels = {
        "vs_copy_last": "÷ copy-last",
        "vs_lookup": "÷ look-up",
        "vs_warp": "÷ oracle warp (overlap)",
        "lookup_vs_copy_last": "floor: look-up ÷ copy",
        "warp_vs_copy_last": "floor: warp ÷ copy",
        "untrained_vs_copy_last": "floor: untrained ÷ copy",
        "overlapping": "share of overlap",
    }
    rows: list[Row] = [(label, [found[key].get(step) for step in steps]) for key, label in labels.items()]
    title = f"Open-loop error by moves ({stored} views stored; overlap ≥ {found['least_overlap']:.0%})"
    yield from table(title, steps, rows)
    yield f"{'wrong action ÷ true action':<{_LABEL}}{show(found['shuffled_action'], 1):>10}"


def _retrieval(found: Mapping[str, Any]) -> Iterator[str]:
    labels = {
        "model": "model",
        "copy_last": "floor: copy-last",
        "lookup": "floor: look-up",
        "warp": "floor: oracle warp",
        "random": "floor: random, copy",
    }
    hard = found.get("hard", {})
    rows: list[Row] = [
        (label, [*(found[key][name] for name in ("h1", "h5", "mrr")), hard.get(key, {}).get("h1")])
        for key, label in labels.items()
    ]
    yield from table(
        f"Next view among {found['among']}; hard: among {hard.get('among', _NONE)} a quarter of the field apart",
        ("H@1", "H@5", "MRR", "hard H@1"),
        rows,
    )


def _loops(found: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = [
        ("model: 36 × 10°", [found["turn"], found.get("turn_off_on_the_way")]),
        ("model: out and back", [found["out_and_back"], None]),
        ("model: zoom and back", [found["zoom_in_and_out"], None]),
        ("floor: copy-last, turn", [0.0, found.get("copy_last_off_on_the_way")]),
        ("floor: look-up, turn", [found.get("lookup_turn"), found.get("lookup_off_on_the_way")]),
    ]
    yield from table("Loops, in mean pairwise distances", ("end to start", "off on the way"), rows)


def _spread(found: Mapping[str, Any]) -> Iterator[str]:
    names = ("effective_rank", "rank_me", "deviation", "least_deviation", "within_between")
    rows: list[Row] = [
        (label, [found[key][name] for name in names])
        for key, label in (("model", "model"), ("random", "floor: random encoder"))
    ]
    yield from table(
        f"Spread of {found['model']['dimensions']} dimensions",
        ("eff. rank", "RankMe", "std", "least std", "in/betw."),
        rows,
        digits=2,
    )


def _nuisance(found: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = [("overlay 20 %, zero-shot", _scores(found["overlay_zero_shot"]))]
    if found["night"]:
        rows += [(f"probe by day, judged by {name}", _scores(found["night"][name])) for name in ("day", "night")]
    yield from table("Nuisance, linear probe", _SCORE_NAMES, rows)
    camera = found["camera"]
    yield (
        f"whose camera (two overlays): {camera['embedding']:.2f} from the embedding, {camera['pose_subspace']:.2f} from"
    )
    yield f"what the pose probe reads; chance {camera['chance']:.2f}"


def _relative(found: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = [
        (label, [found[key][name] for name in ("pan", "tilt", "zoom")])
        for key, label in (("model", "model"), ("random", "floor: random encoder"))
    ]
    begins = "the head goes on from training" if found.get("goes_on_from_training") else "a new head is trained"
    title = f"Relative pose in {len(found['unseen'])} unseen scenes; {begins} in {len(found['fit'])} others"
    yield from table(title, _SCORE_NAMES[:3], rows)


def _overlay(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows: list[Row] = []
    for each in found:
        rows += [
            ("trained and probed clean", _scores(each["clean"])),
            ("and under the overlay", _scores(each["overlaid"])),
        ]
    yield from table("A fixed overlay on 20 % of the pixels, linear probe", _SCORE_NAMES, rows)
    yield f"R² lost: {', '.join(show(each['drop'], 4) for each in found)}"
