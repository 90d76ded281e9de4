"""Work that a cancellation must not cut in two: a thread that goes on anyway, a message half handled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end. Whoever is cancelled meanwhile waits for that end, and is cancelled then.

    A thread can't be cancelled: to go on without waiting would leave two at work on the same model. A second
    cancellation does not wait.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: what the work says no longer counts
        raise
