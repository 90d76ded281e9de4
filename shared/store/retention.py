"""Which files of a model stay in the store: the best, the newest, the pinned, and what others still lean on.

Files that no version names go, too, once they are too old to be an upload on its way to a commit.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from shared.broker.client import BrokerClient
from shared.leases import ModelVersion
from shared.store.model_store import ModelStore, StoredFile

READING_SECONDS = 600.0
"""So long after it stopped being the head a version may still be read by somebody who asked for the head before."""
UPLOAD_SECONDS = 3600.0
"""A file younger than this may be about to be committed."""


@dataclass(frozen=True)
class Keep:
    """What is kept besides pinned versions."""

    last: int
    """Newest versions; at least 1, the head."""
    best: int = 0
    """Versions with the best number in their cards."""
    metric: str = ""
    """Which number of the card that is; dots lead into nested tables."""
    highest: bool = False
    """Whether more of it is better."""


def kept(
    versions: Sequence[ModelVersion],
    keep: Keep,
    *,
    leaned_on: Collection[int] = (),
    reading_seconds: float = READING_SECONDS,
) -> set[int]:
    """Return the numbers of the versions whose files stay. ``leaned_on``: versions that other models' heads name.

    Time is the broker's: a version has stopped being the head when the next one was committed, and now is when the
    newest was.
    """
    newest_first = sorted(versions, key=lambda version: version.version, reverse=True)
    if not newest_first:
        return set()
    now = newest_first[0].committed_at
    stay = {version.version for version in newest_first[: max(1, keep.last)]}
    stay |= {version.version for version in newest_first if version.pinned or version.version in leaned_on}
    for after, version in itertools.pairwise(newest_first):
        if (now - after.committed_at).total_seconds() < reading_seconds:
            stay.add(version.version)
    return stay | _best(newest_first, keep)


def doomed(
    files: Sequence[StoredFile],
    versions: Sequence[ModelVersion],
    stay: Collection[int],
    *,
    now: float,
    upload_seconds: float = UPLOAD_SECONDS,
) -> list[str]:
    """Return the addresses of ``files`` to delete. ``now`` is seconds since 1970.

    A file may belong to several versions, after a rollback: it stays if one of them does.
    """
    spared = {version.checkpoint.address for version in versions if version.version in stay}
    named = {version.checkpoint.address for version in versions}
    return [
        file.address
        for file in files
        if file.address not in spared and (file.address in named or file.written < now - upload_seconds)
    ]


async def sweep(store: ModelStore, folder: str, broker: BrokerClient, model: str, keep: Keep) -> int:
    """Delete the files in ``folder`` that ``model`` does not keep; returns how many. For the holder of its lease.

    Raises ``BrokerAway`` and ``StoreAway``; whoever asks again later misses nothing.
    """
    await asyncio.to_thread(store.drop_unfinished, folder)
    # The files first: what is stored and committed after this look is not among them.
    files = await asyncio.to_thread(store.files, folder)
    states, versions = await broker.models(), await broker.versions(model)
    heads = [state.head for state in states if state.head is not None and state.head.lineage is not None]
    leaned_on = {
        parent.version
        for head in heads
        for parent in (head.lineage.parents if head.lineage else ())
        if parent.model == model
    }
    stay = kept(versions, keep, leaned_on=leaned_on)
    return await asyncio.to_thread(store.remove, doomed(files, versions, stay, now=time.time()))


def _best(versions: Sequence[ModelVersion], keep: Keep) -> set[int]:
    ranked = [
        (-number if keep.highest else number, -version.version)
        for version in versions
        if (number := _number(version.card, keep.metric)) is not None
    ]
    return {-negative for _, negative in sorted(ranked)[: keep.best]}


def _number(card: dict[str, Any], metric: str) -> float | None:
    value: Any = card
    for part in metric.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
