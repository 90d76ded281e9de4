"""Ask for a lease, or give up asking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lock_broker import keys
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import LeaseReply, Script
from shared.leases import Mode

Order = Literal["as-given", "least-recently-trained", "round-robin"]
_ACQUIRE, _WITHDRAW = Script("acquire"), Script("withdraw")


@dataclass(frozen=True)
class Asking:
    """Somebody asks for the lease of one of some resources."""

    resources: Sequence[str]
    request_id: str
    holder: str
    principal: str
    mode: Mode
    ttl_ms: int
    order: Order = "as-given"


async def acquire(line: Line, asking: Asking, *, wait: bool, most_resources: int) -> LeaseReply:
    """Grant the lease of the first resource that is free. If none is and ``wait``, stand in line for all of them.

    A place in line lasts 3 s from when it was last asked for; asking without ``wait`` gives it up.
    Outcomes: ``granted``; ``same``, this request has it already; ``held``, see ``busy`` and ``queued``; ``ended``, this
    request had it, see ``how``; ``foreign``, the request is another principal's; ``other``, it asked for the other
    mode; ``full``, too many resources.
    """
    arguments: list[str | int] = [asking.request_id, keys.LeaseId.nonce(asking.request_id)]
    arguments += [asking.holder, asking.principal, asking.ttl_ms, asking.mode, int(wait)]
    arguments += [most_resources, asking.order, *asking.resources]
    places = [keys.RESOURCES, keys.ORDER, keys.CURSORS, *keys.pairs(asking.resources)]
    return LeaseReply.of(await _ACQUIRE(line, places, arguments))


async def withdraw(line: Line, resources: Iterable[str], request_id: str) -> None:
    """Give up a request's places in line."""
    await _WITHDRAW(line, keys.pairs(resources), [request_id])
