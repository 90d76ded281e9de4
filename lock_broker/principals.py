"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["reader", "worker", "admin"]
"""``reader`` looks; ``worker`` leases and commits, too; ``admin`` also ends others' leases."""

_RANKS: dict[str, int] = {role: rank for rank, role in enumerate(get_args(Role))}


@dataclass(frozen=True)
class Principal:
    """Somebody with a bearer token: a name for the audit stream, and a role."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Say whether this one may do what ``role`` may."""
        return _RANKS[self.role] >= _RANKS[role]


ANONYMOUS = Principal("anonymous", "admin")
"""Everybody, where the broker asks for no tokens."""
DEFAULT = Principal("default", "admin")
"""Whoever bears ``PTZ_BROKER_TOKEN``, the one token that all may share."""

_ADMINS = ("/force-release", "/restore")
_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})


def needed(method: str, path: str) -> Role:
    """Return the role that a request needs."""
    if method in _LOOKS:
        return "reader"
    return "admin" if path.endswith(_ADMINS) else "worker"
