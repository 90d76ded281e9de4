"""Pin versions."""

from __future__ import annotations

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.scripts.archive import Reply
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import Script

PINS_MOST = 64
_SCRIPT = Script("pin")


async def pin(line: Line, model: str, number: int, who: Principal, *, wanted: bool) -> Reply:
    """Keep a version from being forgotten, or no longer.

    Outcomes: ``done``; ``same``, it was so; ``unknown`` and ``forgotten``, there is no such version (any more);
    ``full``, too many are pinned.
    """
    places = [keys.head_key(model), keys.versions_key(model), keys.requests_key(model), keys.pins_key(model)]
    reply = await _SCRIPT(line, places, [number, int(wanted), PINS_MOST, who.name])
    return Reply(reply["outcome"], reply["lost"], reply["text"])
