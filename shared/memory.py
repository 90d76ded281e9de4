"""Memory of a process that shares a small node: what it frees goes back to the operating system."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Above what rendering a view takes: asking the system for that each time makes it a third slower at 640 × 360.
_LARGE_BYTES, _SPARE_BYTES = 4 << 20, 8 << 20


def hold_little_memory() -> None:
    """Have glibc hold back less: one heap for all threads, and large arrays from the system and back to it.

    To be called before threads start. Other C libraries have no such settings, and nothing happens there.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        set_option(_M_TRIM_THRESHOLD, _SPARE_BYTES)


def return_freed_memory() -> None:
    """Give back at once what has been freed, where the C library can. For the end of heavy work that is done once."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
