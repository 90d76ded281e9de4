"""The Lua scripts: each beside a typed function. Atomic, on an injected clock, safe to send twice."""

from __future__ import annotations

from lock_broker.scripts.acquire import Asking, Order, acquire, withdraw
from lock_broker.scripts.beat import beat
from lock_broker.scripts.commit import CommitReply, commit
from lock_broker.scripts.line import Clock, Line
from lock_broker.scripts.observe import Seen, observe
from lock_broker.scripts.release import force, release
from lock_broker.scripts.renew import renew
from lock_broker.scripts.script import Busy, LeaseReply

__all__ = [
    "Asking",
    "Busy",
    "Clock",
    "CommitReply",
    "LeaseReply",
    "Line",
    "Order",
    "Seen",
    "acquire",
    "beat",
    "commit",
    "force",
    "observe",
    "release",
    "renew",
    "withdraw",
]
