"""Following a model's head."""

from __future__ import annotations

from dreamer_agent.heads import Head
from shared.leases import ModelVersion
from shared.store.model_store import MissingObject, StoreAway
from tests.dreamer_agent.conftest import System


async def test_an_absent_model_store_is_told_from_a_missing_file(system: System) -> None:
    await system.commit_world_model()
    troubles: list[Exception] = [StoreAway("no route to host"), MissingObject("world-models/x")]

    async def load(version: ModelVersion) -> int:
        if troubles:
            raise troubles.pop(0)
        return version.version

    head = Head(system.broker, "wm_00_00", load)
    await head.look()
    assert head.store_away == "no route to host"
    assert head.current is None
    await head.look()
    assert head.store_away is None, "it answered"
    assert "MissingObject" in head.missing
    await head.look()
    assert (head.store_away, head.missing) == (None, "")
    assert head.current is not None
