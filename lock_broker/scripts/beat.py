"""Show that the active host's brokers live, or take over."""

from __future__ import annotations

from lock_broker.scripts.line import Line
from lock_broker.scripts.script import Script

_SCRIPT = Script("beat", common=False)


async def beat(line: Line, replacing: str = "") -> tuple[bool, str]:
    """Say whether this host is the active one, and its newest beat, or that of the host which is.

    ``replacing``: take over if that still is the newest beat.
    """
    reply = await _SCRIPT(line, (), [replacing])
    return reply["outcome"] == "active", reply["beat"]
