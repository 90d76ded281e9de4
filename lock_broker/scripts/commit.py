"""Move a model's head."""

from __future__ import annotations

from dataclasses import dataclass

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import Script

_SCRIPT = Script("commit")


@dataclass(frozen=True)
class CommitReply:
    """What came of a commit."""

    outcome: str
    lost: int
    """How many leases this script was the first to see run out."""
    text: str
    """The version's document where there is one, else the reason."""
    version: int
    """The version, or the model's head where that is not the expected one."""


@dataclass(frozen=True)
class Claim:
    """By what right somebody changes a model."""

    model: str
    lease_id: str
    lease: keys.LeaseId
    token: int
    request_id: str
    who: Principal


async def commit(
    line: Line, claim: Claim, *, expected_head: int, document: str, history: int, restores: int = 0, reason: str = ""
) -> CommitReply:
    """Make ``document`` the model's version ``expected_head + 1`` and its head.

    ``restores`` names the older version that the document repeats; 0 for none. Outcomes: ``committed``; ``same``, this
    request did it before; ``stale``, the lease is not held exclusively or the token not the newest; ``foreign``, the
    lease is another principal's; ``archived``; ``moved``, the head is not the expected one; of a rollback also
    ``unknown`` and ``forgotten``, there is no such version (any more), and ``current``, it is the head.
    """
    model = claim.model
    places = [*keys.pairs([claim.lease.resource]), keys.head_key(model), keys.versions_key(model)]
    places += [keys.requests_key(model), keys.pins_key(model), keys.MODELS]
    arguments: list[str | int] = [claim.lease_id, claim.token, expected_head, model, claim.lease.resource]
    arguments += [claim.request_id, document, history, claim.who.name, restores, reason]
    reply = await _SCRIPT(line, places, arguments)
    return CommitReply(reply["outcome"], reply["lost"], reply["text"], reply["version"])
