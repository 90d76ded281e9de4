"""Move a model's head."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from lock_broker import keys
from lock_broker.scripts.script import Clock, Script

_SCRIPT = Script("commit")


@dataclass(frozen=True)
class CommitReply:
    """What came of a commit."""

    outcome: str
    newly_lost: bool
    text: str
    """The version's document where there is one, else the reason."""
    version: int
    """The version, or the model's head where that is not the expected one."""


async def commit(
    redis: Redis,
    clock: Clock,
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

    Outcomes: ``committed``; ``same``, this request did it before; ``stale``, the lease is not held or the token not the
    newest; ``moved``, the head is not the expected one.
    """
    places = [
        keys.lease_key(lease.resource),
        keys.fence_key(lease.resource),
        keys.head_key(model),
        keys.versions_key(model),
        keys.requests_key(model),
        keys.MODELS,
        keys.EVENTS,
    ]
    arguments: list[str | int] = [clock.now_ms(), clock.boot, lease_id, token, expected_head, model, lease.resource]
    arguments += [request_id, document, history]
    outcome, lost, text, version = await _SCRIPT(redis, places, arguments)
    return CommitReply(outcome.decode(), bool(lost), text.decode(), int(version))
