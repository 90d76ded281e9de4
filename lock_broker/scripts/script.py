"""How a script is sent, and the answer that those about leases give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lock_broker import keys
from lock_broker.problems import Refused
from lock_broker.scripts.line import Line
from shared.leases import Lease

_FOLDER = Path(__file__).parent
STANDBY_RETRY_MS = 2000


class Script:
    """One ``.lua`` file after the common part. Sent by its hash; whole, when the server does not know it."""

    def __init__(self, name: str, *, common: bool = True) -> None:
        names = ("common", name) if common else (name,)
        self.text = "\n".join((_FOLDER / f"{part}.lua").read_text(encoding="utf-8") for part in names)
        self.sha1 = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self._keys = (keys.HOST, keys.EVENTS, keys.LIVE) if common else (keys.HOST,)

    async def __call__(self, line: Line, places: Sequence[str], arguments: Sequence[str | int]) -> dict[str, Any]:
        """Run the script; the keys and arguments that all have go before.

        Raises ``Refused`` while another host's brokers are the active ones.
        """
        reply: dict[str, Any] = json.loads(await line.run(self, (*self._keys, *places), arguments))
        if reply["outcome"] == "standby":
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "another broker host is active",
                retry_after_ms=STANDBY_RETRY_MS,
            )
        return reply


@dataclass(frozen=True)
class Busy:
    """A resource that could not be had, and who has it or is first in line."""

    resource: str
    holder: str
    waiting: int
    expires_in_ms: int
    """Of the lease that ends first; 0 where there is none, and others are in line."""


@dataclass(frozen=True)
class LeaseReply:
    """What a script did about a lease."""

    outcome: str
    lost: int
    """How many leases this script was the first to see run out."""
    lease: Lease | None = None
    how: str = ""
    """How the lease ended that this request had."""
    queued: bool = False
    busy: list[Busy] = field(default_factory=list)
    """Soonest to end first."""

    @classmethod
    def of(cls, reply: dict[str, Any]) -> LeaseReply:
        """Read a script's answer."""
        lease = reply.get("lease")
        return cls(
            outcome=reply["outcome"],
            lost=reply["lost"],
            lease=None if lease is None else Lease.model_validate(lease),
            how=reply.get("how", ""),
            queued=reply.get("queued", False),
            busy=[Busy(**busy) for busy in reply.get("busy", ())],
        )
