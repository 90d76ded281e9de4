"""Memory of a process that shares a small node: what it frees goes back to the operating system."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 1 << 20
"""Above the arrays of an ordinary view, so that those are still served without asking the system each time."""
_SPARE_BYTES = 4 << 20


def return_freed_memory() -> None:
    """Have glibc hold back less: one heap for all threads, and large arrays from the system and back to it.

    To be called before threads start. Other C libraries have no such settings, and nothing happens there.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        # Without some to spare, the heap's end would be given back and fetched again with every view.
        set_option(_M_TRIM_THRESHOLD, _SPARE_BYTES)
