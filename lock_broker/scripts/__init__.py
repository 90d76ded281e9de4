"""The Lua scripts: each beside a typed function. Atomic, on an injected clock, safe to send twice."""

from __future__ import annotations

from lock_broker.scripts.acquire import acquire
from lock_broker.scripts.commit import CommitReply, commit
from lock_broker.scripts.observe import observe
from lock_broker.scripts.release import release
from lock_broker.scripts.renew import renew
from lock_broker.scripts.script import Clock, LeaseReply

__all__ = ["Clock", "CommitReply", "LeaseReply", "acquire", "commit", "observe", "release", "renew"]
