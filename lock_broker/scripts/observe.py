"""Look at resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lock_broker import keys
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import Script
from shared.leases import ResourceState

_SCRIPT = Script("observe")
_BATCH = 100
"""Resources looked at in one go: other commands wait while a script runs."""


@dataclass(frozen=True)
class Seen:
    """How a resource stands."""

    state: ResourceState
    ended: Mapping[str, str]
    """How the newest ended leases ended, by their ids."""


async def observe(line: Line, resources: Sequence[str]) -> tuple[list[Seen], int]:
    """Return how each resource that ever had a lease stands, and how many leases were seen here to have run out."""
    found: list[Seen] = []
    lost = 0
    for start in range(0, len(resources), _BATCH):
        reply = await _SCRIPT(line, keys.pairs(resources[start : start + _BATCH]), [])
        lost += reply["lost"]
        for seen in reply["resources"]:
            ended = dict(entry.split(" ", 2)[:2] for entry in seen.pop("ended").split("\n")[:-1])
            # Lua has one empty table: an empty list arrives as an empty object.
            seen["leases"], seen["waiting"] = list(seen["leases"]), list(seen["waiting"])
            found.append(Seen(ResourceState.model_validate(seen), ended))
    return found, lost
