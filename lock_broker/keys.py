"""Names: where the broker's things lie in Redis, and how a lease is called.

All keys share the hash tag ``{lk}``, so that a script may touch several of them on a clustered server, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

HOST = "{lk}:host"
"""Hash: the boot whose brokers are active, their ``beat``, the epoch that leases are counted in, and how many were."""
EVENTS = "{lk}:ev"
"""Stream, bounded: who got, lost, gave back and committed what."""
LIVE = "{lk}:live"
"""Set: every resource that is leased or waited for."""
RESOURCES = "{lk}:resources"
"""Set: every resource that was ever leased. Bounded by the broker's settings; never shrinks, like the fences."""
ORDER = "{lk}:order"
"""Integer: how many exclusive leases were granted; says which resource's was longest ago."""
CURSORS = "{lk}:rr"
"""Hash: by kind, the resource that was last chosen by turns."""
MODELS = "{lk}:models"
"""Set: every model that has a head."""
FREE = "{lk}:free"
"""Channel: the requests of those in line who may go now. The scripts know it by this name, too."""

_LEASE_ID = re.compile(
    r"(?P<kind>[a-z][a-z-]{0,30})~(?P<name>[a-z0-9][a-z0-9._-]{0,62})~(?P<token>[1-9][0-9]{0,14})~[0-9a-f]{16}"
)


def resource_key(resource: str) -> str:
    """Hash: a resource's ``document``, its leases and who waits, as JSON; and the newest leases that ``ended``."""
    return f"{{lk}}:r:{resource}"


def fence_key(resource: str) -> str:
    """Integer: the newest fencing token of a resource; never goes down, never expires."""
    return f"{{lk}}:f:{resource}"


def pairs(resources: Iterable[str]) -> list[str]:
    """Return the keys of each resource's document and fence."""
    return [key for resource in resources for key in (resource_key(resource), fence_key(resource))]


def head_key(model: str) -> str:
    """Hash: version and token of a model's head, the oldest version kept without a pin, the resource it is written
    under, and the request that archived it."""
    return f"{{lk}}:head:{model}"


def versions_key(model: str) -> str:
    """Hash: a model's versions by number, as JSON, and the request each came by."""
    return f"{{lk}}:v:{model}"


def requests_key(model: str) -> str:
    """Hash: version by request, for as long as the version is kept."""
    return f"{{lk}}:vr:{model}"


def pins_key(model: str) -> str:
    """Set: the versions that are not to be forgotten."""
    return f"{{lk}}:pin:{model}"


@dataclass(frozen=True)
class LeaseId:
    """What a lease's id says: ``world-model~wm_00_00~17~<nonce>``.

    It names its resource and token, so no table from ids to leases has to be kept and cleaned, and the broker can tell
    for ever which leases have been. The nonce, from the request, keeps two leases apart even if Redis lost its data.
    """

    resource: str
    name: str
    token: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an id; None for what this broker can't have given out."""
        match = _LEASE_ID.fullmatch(text)
        if match is None:
            return None
        return cls(f"{match['kind']}/{match['name']}", match["name"], int(match["token"]))

    @staticmethod
    def nonce(request_id: str) -> str:
        """Return what a lease id ends with."""
        return hashlib.sha256(request_id.encode()).hexdigest()[:16]
