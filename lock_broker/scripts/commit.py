"""Move a model's head."""

from __future__ import annotations

from dataclasses import dataclass

from lock_broker import keys
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


async def commit(
    line: Line,
    model: str,
    *,
    lease_id: str,
    lease: keys.LeaseId,
    token: int,
    expected_head: int,
    request_id: str,
    document: str,
    history: int,
) -> CommitReply:
    """Make ``document`` the model's version ``expected_head + 1`` and its head.

    Outcomes: ``committed``; ``same``, this request did it before; ``stale``, the lease is not held exclusively or the
    token not the newest; ``moved``, the head is not the expected one.
    """
    places = [*keys.pairs([lease.resource]), keys.head_key(model), keys.versions_key(model)]
    places += [keys.requests_key(model), keys.MODELS]
    arguments: list[str | int] = [lease_id, token, expected_head, model, lease.resource]
    arguments += [request_id, document, history]
    reply = await _SCRIPT(line, places, arguments)
    return CommitReply(reply["outcome"], reply["lost"], reply["text"], reply["version"])
