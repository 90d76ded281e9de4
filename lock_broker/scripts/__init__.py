"""The Lua scripts: each beside a typed function. Atomic, on an injected clock, safe to send twice."""

from __future__ import annotations

from lock_broker.scripts.acquire import Asking, Order, acquire, withdraw
from lock_broker.scripts.archive import Reply, archive, restore
from lock_broker.scripts.beat import beat
from lock_broker.scripts.commit import Claim, CommitReply, commit
from lock_broker.scripts.line import Clock, Line
from lock_broker.scripts.observe import Seen, observe
from lock_broker.scripts.pin import pin
from lock_broker.scripts.release import force, release
from lock_broker.scripts.renew import renew
from lock_broker.scripts.script import Busy, LeaseReply

__all__ = [
    "Asking",
    "Busy",
    "Claim",
    "Clock",
    "CommitReply",
    "LeaseReply",
    "Line",
    "Order",
    "Reply",
    "Seen",
    "acquire",
    "archive",
    "beat",
    "commit",
    "force",
    "observe",
    "pin",
    "release",
    "renew",
    "restore",
    "withdraw",
]
