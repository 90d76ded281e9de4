"""Close a model, or open it again."""

from __future__ import annotations

from dataclasses import dataclass

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.scripts.commit import Claim
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import Script

_ARCHIVE, _RESTORE = Script("archive"), Script("restore")


@dataclass(frozen=True)
class Reply:
    """What came of a change to a model."""

    outcome: str
    lost: int
    """How many leases this script was the first to see run out."""
    text: str
    """Why not, where it was not done."""


async def archive(line: Line, claim: Claim, reason: str) -> Reply:
    """Allow no more commits. Outcomes: ``archived``; ``same``, it was; ``unknown``; ``stale``; ``foreign``."""
    places = [*keys.pairs([claim.lease.resource]), keys.head_key(claim.model)]
    arguments: list[str | int] = [claim.lease_id, claim.token, claim.lease.resource]
    arguments += [claim.request_id, claim.who.name, reason]
    reply = await _ARCHIVE(line, places, arguments)
    return Reply(reply["outcome"], reply["lost"], reply["text"])


async def restore(line: Line, model: str, who: Principal) -> Reply:
    """Allow commits again. Outcomes: ``restored``; ``same``, it was not archived; ``unknown``."""
    reply = await _RESTORE(line, [keys.head_key(model)], [who.name])
    return Reply(reply["outcome"], reply["lost"], reply["text"])
