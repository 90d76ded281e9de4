"""What PTZJEPA keeps in files, from the registry: ``progress_model_names.txt`` and each model's ``model_info.yaml``.

PTZJEPA counts training runs (restarts), each with one parent; the registry keeps versions, several a run. A run here is
what was committed under one lease; ``num_epochs`` is the number of its versions. Versions that a rollback made, and
those that are forgotten, are no part of any run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from shared.leases import ModelVersion

TIME_FORMAT = "%Y-%m-%d_%H:%M:%S.%f"
_NAME = re.compile(r"(?P<type>wm|ag)_(?P<generation>[0-9]{2,4})_(?P<id>[0-9]{2,4})")


@dataclass(frozen=True)
class Run:
    """One training run of a model, by its versions, oldest first."""

    number: int
    versions: Sequence[ModelVersion]

    @property
    def begun(self) -> datetime:
        """When it began, as far as the first version's card says how long it took."""
        seconds = self.versions[0].card.get("seconds")
        known = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e7 else 0.0
        return self.versions[0].committed_at - timedelta(seconds=known)

    @property
    def ended(self) -> datetime:
        """When its last version was committed."""
        return self.versions[-1].committed_at


def exportable(model: str) -> bool:
    """Tell whether PTZJEPA can read a name: it takes it apart at the underscores."""
    return _NAME.fullmatch(model) is not None


def runs(versions: Sequence[ModelVersion]) -> list[Run]:
    """Take a model's versions, in any order, apart into its training runs, oldest first."""
    groups: dict[int, list[ModelVersion]] = {}
    for version in sorted(versions, key=lambda version: version.version):
        if version.restores is None:
            groups.setdefault(version.token, []).append(version)
    found: list[Run] = []
    for group in groups.values():
        lineage = group[-1].lineage
        least = found[-1].number + 1 if found else 0
        found.append(Run(max(least, lineage.restart if lineage else 0), group))
    return found


def progress_names(models: Mapping[str, Sequence[ModelVersion]]) -> str:
    """Return ``progress_model_names.txt``: a line a training run, by the time it ended."""
    every = [(run, name) for name, versions in models.items() if exportable(name) for run in runs(versions)]
    if not every:
        return ""
    first = min(run.begun for run, _ in every)
    lines = [f"{name} @ {_time(run.ended)}" for run, name in sorted(every, key=lambda pair: (pair[0].ended, pair[1]))]
    return "\n".join([f"Start lifelong learning @ {_time(first)}", *lines]) + "\n"


def model_info(model: str, models: Mapping[str, Sequence[ModelVersion]]) -> str:
    """Return a model's ``model_info.yaml``; its parents are looked up in ``models``. ``ValueError`` for other names."""
    name = _NAME.fullmatch(model)
    if name is None:
        raise ValueError(f"{model}: PTZJEPA knows only names like wm_00_03 and ag_00_03")
    trained = runs(models[model])
    info: dict[str, Any] = {
        "model_name": model,
        "model_type": name["type"],
        "model_gen": int(name["generation"]),
        "model_id": int(name["id"]),
        "num_restart": trained[-1].number if trained else -1,
    }
    for run in trained:
        info[f"restart_{run.number:0>2}"] = _restart(model, run, models)
    text: str = yaml.safe_dump(info)
    return text


def _restart(model: str, run: Run, models: Mapping[str, Sequence[ModelVersion]]) -> dict[str, Any]:
    last = run.versions[-1]
    spans = last.lineage.data if last.lineage else []
    images: dict[str, Any] = {}
    if spans:
        ends = min(span.first for span in spans), max(span.last for span in spans)
        images = {"start_end": [_time(end) for end in ends], "num_images": sum(span.views for span in spans)}
    parent, parent_restart = _parent(model, run, models)
    dreams = last.card.get("dreams")
    return {
        "parent_model": parent,
        "parent_model_restart": parent_restart,
        "train": {
            "start_end": [_time(run.begun), _time(run.ended)],
            "num_epochs": len(run.versions),
            "num_dreams": dreams if isinstance(dreams, int) else None,
        },
        "images": images,
    }


def _parent(model: str, run: Run, models: Mapping[str, Sequence[ModelVersion]]) -> tuple[str | None, int | None]:
    """Return the model that this run grew from and its run: PTZJEPA has one; another model goes before itself."""
    lineages = [version.lineage for version in reversed(run.versions) if version.lineage]
    parents = [parent for lineage in lineages for parent in lineage.parents if parent.model != model]
    if not parents and run.versions[0].lineage:
        parents = list(run.versions[0].lineage.parents)
    if not parents:
        return None, None
    chosen = parents[0]
    for version in models.get(chosen.model, ()):
        if version.version == chosen.version and version.lineage:
            return chosen.model, version.lineage.restart
    return chosen.model, None


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime(TIME_FORMAT)
