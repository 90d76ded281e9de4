"""What stays in the store: the rule against its promises on random histories, and the sweep on real files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.leases import Lineage, ModelState, ModelVersion, Parent
from shared.messages import Checkpoint
from shared.store.model_store import ModelStore, StoredFile
from shared.store.retention import Keep, doomed, kept, sweep

BEGIN = datetime(2026, 5, 4, tzinfo=UTC)
MODEL = "wm_00_00"


def version(number: int, *, minutes: float | None = None, data: bytes | None = None, **changes: Any) -> ModelVersion:
    described = Checkpoint.of("x", data if data is not None else b"%d" % number)
    return ModelVersion(
        model=MODEL,
        version=number,
        token=1,
        committed_at=BEGIN + timedelta(minutes=number * 60 if minutes is None else minutes),
        checkpoint=described.model_copy(update={"address": f"models/{described.sha256}.safetensors"}),
        **{"card": {}, **changes},
    )


def test_the_best_the_newest_and_the_pinned_stay() -> None:
    errors = [None, 0.2, 0.9, float("nan"), 0.1, 0.5, 0.4, 0.6]
    versions = [version(n + 1, card={"losses": {"e": error}}) for n, error in enumerate(errors)]
    versions[2] = versions[2].model_copy(update={"pinned": True})
    assert kept(versions, Keep(last=2), reading_seconds=0) == {3, 7, 8}
    assert kept(versions, Keep(2, 2, "losses.e"), reading_seconds=0) == {2, 3, 5, 7, 8}
    assert kept(versions, Keep(2, 1, "losses.e", highest=True), reading_seconds=0) == {3, 7, 8}
    assert kept(versions, Keep(2, 3, "losses.nothing"), leaned_on={1}, reading_seconds=0) == {1, 3, 7, 8}
    assert kept([], Keep(last=2)) == set()


def test_what_was_the_head_a_moment_ago_may_still_be_read() -> None:
    versions = [version(1, minutes=0), version(2, minutes=50), version(3, minutes=55), version(4, minutes=60)]
    assert kept(versions, Keep(last=1), reading_seconds=600) == {2, 3, 4}, "2 was the head until minute 55"
    assert kept(versions, Keep(last=1), reading_seconds=601) == {1, 2, 3, 4}, "and 1 until minute 50"


@given(
    cards=st.lists(st.one_of(st.none(), st.floats(), st.booleans(), st.text(max_size=2)), max_size=20),
    pins=st.sets(st.integers(1, 20)),
    last=st.integers(1, 5),
    best=st.integers(0, 5),
    seconds=st.floats(0, 1e6),
)
def test_whatever_comes_the_promises_hold(
    cards: list[Any], pins: set[int], last: int, best: int, seconds: float
) -> None:
    versions = [version(n + 1, card={"m": value}, pinned=n + 1 in pins) for n, value in enumerate(cards)]
    stay = kept(versions, Keep(last, best, "m"), reading_seconds=seconds)
    numbers = {item.version for item in versions}
    assert stay <= numbers
    assert pins & numbers <= stay
    assert set(sorted(numbers)[-last:]) <= stay
    tight = kept(versions, Keep(last, best, "m"), reading_seconds=0)
    assert len(tight) <= last + best + len(pins)
    assert tight <= stay


def test_young_uploads_and_files_of_kept_versions_are_spared() -> None:
    versions = [version(1, data=b"a"), version(2, data=b"b"), version(3, data=b"a", restores=1)]
    files = [StoredFile(item.checkpoint.address, 1, 1000.0) for item in versions[:2]]
    files += [StoredFile("models/orphan", 1, 1000.0), StoredFile("models/upload", 1, 9000.0)]
    gone = doomed(files, versions, {3}, now=10_000.0, upload_seconds=3600.0)
    assert gone == [versions[1].checkpoint.address, "models/orphan"], "version 3 has the file of version 1"


class Registry:
    """Stands for the broker: what it would say, and no more."""

    def __init__(self, states: list[ModelState], versions: list[ModelVersion]) -> None:
        self._states, self._versions = states, versions

    async def models(self) -> list[ModelState]:
        return self._states

    async def versions(self, _: str) -> list[ModelVersion]:
        return self._versions


async def test_a_sweep_leaves_what_an_agents_head_learnt_with(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path))
    versions = []
    for number in range(1, 6):
        stored = store.put("world-models/wm_00_00", b"%d" % number)
        versions.append(version(number).model_copy(update={"checkpoint": stored}))
    orphan = store.put("world-models/wm_00_00", b"never committed")
    young = store.put("world-models/wm_00_00", b"on its way")
    for item in [*(each.checkpoint for each in versions), orphan]:
        os.utime(tmp_path / item.address, (1000, 1000))
    lineage = Lineage(generation=0, restart=0, parents=[Parent(model=MODEL, version=2)])
    agent = version(9, lineage=lineage).model_copy(update={"model": "ag_00_00"})
    states = [ModelState(model="ag_00_00", kind="agent", state="active", head=agent)]
    registry: Any = Registry(states, versions)
    assert await sweep(store, "world-models/wm_00_00", registry, MODEL, Keep(last=1)) == 3
    left = {file.address for file in store.files("world-models/wm_00_00")}
    spared = {version.checkpoint.address for version in versions if version.version in (2, 4, 5)}
    assert left == {*spared, young.address}, "4 was the head until this moment"
