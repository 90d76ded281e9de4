"""The clock that leases live by, and the boot it belongs to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from shared.leases import lease_clock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the id of the host's current boot.

    Where the system has none, every process counts as a boot: leases are then prolonged when the broker restarts,
    which is safe.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex


@dataclass(frozen=True)
class HostClock:
    """Milliseconds since boot. The wall clock jumps on nodes that ask for the time after they start; this one can't."""

    boot: str = field(default_factory=boot_id)

    def now_ms(self) -> int:
        """Return the time, in milliseconds since the host started."""
        return int(lease_clock() * 1000.0)
