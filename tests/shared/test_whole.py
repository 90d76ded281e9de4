from __future__ import annotations

import asyncio

import pytest

from shared.whole import whole


async def test_it_returns_and_raises_as_the_work_does() -> None:
    async def fine() -> int:
        return 3

    async def broken() -> None:
        raise ValueError("no")

    assert await whole(fine()) == 3
    with pytest.raises(ValueError, match="no"):
        await whole(broken())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end(fails: bool) -> None:
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        ended.set()
        if fails:
            raise ValueError("nobody asks any more")

    caller = asyncio.create_task(whole(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
