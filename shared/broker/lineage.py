"""Where versions come from, for whoever commits one: the same counting for world models and agents."""

from __future__ import annotations

import re
from datetime import datetime

from shared.leases import DataSpan, Lineage, ModelVersion, Parent

_NAME = re.compile(r"[a-z]+_(?P<generation>[0-9]{2,4})_[0-9]{2,4}")


class TrainingRun:
    """What one lease lets its holder do to a model: it has a number, and views that it trains on."""

    def __init__(self, model: str, head: ModelVersion | None) -> None:
        self._model = model
        self._restart = 0 if head is None else 1 + (head.lineage.restart if head.lineage else 0)
        self._spans: dict[str, DataSpan] = {}

    def took(self, camera: str, first: datetime, last: datetime, views: int) -> None:
        """Note that these views can be learnt from now."""
        before = self._spans.get(camera)
        if before is not None:
            first, last, views = min(first, before.first), max(last, before.last), views + before.views
        self._spans[camera] = DataSpan(camera=camera, first=first, last=last, views=views)

    def lineage(self, head: Parent | None, *others: Parent) -> Lineage:
        """Describe a version that grows from ``head``, and from other models' versions."""
        own = [head] if head else []
        return Lineage(
            generation=_generation(self._model),
            restart=self._restart,
            parents=[*own, *others],
            data=list(self._spans.values()),
        )


def _generation(model: str) -> int:
    """Return GG of ``wm_GG_II``; 0 for names that are not built so."""
    match = _NAME.fullmatch(model)
    return int(match["generation"]) if match else 0
