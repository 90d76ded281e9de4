"""Tracking files: whole or absent, bounded, rotated, and never in the way of who fills them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared import tracking
from shared.errors import UserError
from shared.telemetry import Metrics
from shared.tracking import Table, Tracker, TrackSettings
from tests.support import REPOSITORY, until


def lines(rows: Sequence[str]) -> list[bytes]:
    return ["".join(f"{row}\n" for row in rows).encode()]


def table(rows: int = 4) -> Table:
    return Table("words", ".txt", rows, lines)


def settings(directory: Path | None, **changes: object) -> TrackSettings:
    return TrackSettings.model_validate({"track": directory, "track_seconds": 3600.0, **changes})


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"ptz_test_track_{name}", labels) or 0.0


def files(directory: Path) -> list[Path]:
    return sorted((directory / "camera-0" / "words").glob("*.txt"))


async def test_a_file_is_full_rows_long_and_the_rest_is_written_at_the_end(tmp_path: Path) -> None:
    metrics = Metrics("test")
    tracker = Tracker(settings(tmp_path), metrics, [table()])
    async with tracker.open():
        for number in range(10):
            tracker.add("words", str(number))
        until(lambda: len(files(tmp_path)) == 2)
    texts = [path.read_text().split() for path in files(tmp_path)]
    assert texts == [list("0123"), list("4567"), list("89")]
    assert count(metrics, "rows_total", table="words") == 10.0
    assert count(metrics, "bytes") == 20.0


async def test_a_row_waits_for_its_file_only_so_long(tmp_path: Path) -> None:
    tracker = Tracker(settings(tmp_path, track_seconds=0.05), Metrics("test"), [table(rows=1000)])
    async with tracker.open():
        tracker.add("words", "a")
        until(lambda: files(tmp_path))


async def test_the_oldest_files_go_first_those_of_an_earlier_run_too(tmp_path: Path) -> None:
    folder = tmp_path / "camera-0" / "words"
    folder.mkdir(parents=True)
    (folder / "20200101T000000.000000Z.txt").write_bytes(b"x" * 2**15)
    (folder / "20210101T000000.000000Z.txt").write_bytes(b"x" * 2**15)
    (folder / ".part").write_bytes(b"torn")
    metrics = Metrics("test")
    tracker = Tracker(settings(tmp_path, track_bytes=2**16), metrics, [table(rows=1)])
    async with tracker.open():
        assert count(metrics, "bytes") == 2**16
        tracker.add("words", "a")
        until(lambda: count(metrics, "rows_total", table="words") == 1.0)
    assert files(tmp_path)[0].name[:4] == "2021"
    assert sum(path.stat().st_size for path in files(tmp_path)) == count(metrics, "bytes") <= 2**16
    assert not (folder / ".part").exists()


async def test_who_adds_never_waits_for_a_disk_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "QUEUE_ROWS", 8)
    entered, stalled = threading.Event(), threading.Event()

    def stall(rows: Sequence[str]) -> list[bytes]:
        entered.set()
        stalled.wait(20.0)
        return lines(rows)

    metrics = Metrics("test")
    tracker = Tracker(settings(tmp_path), metrics, [Table("words", ".txt", 1, stall)])
    async with tracker.open():
        tracker.add("words", "first")
        entered.wait(20.0)
        for number in range(100):
            tracker.add("words", str(number))
        assert count(metrics, "dropped_total", reason="full") == 92.0
        stalled.set()
    assert len(files(tmp_path)) == 9


async def test_a_disk_that_fails_costs_the_batch_alone(tmp_path: Path) -> None:
    metrics = Metrics("test")
    tracker = Tracker(settings(tmp_path), metrics, [table(rows=2)])
    async with tracker.open():
        folder = tmp_path / "camera-0" / "words"
        (folder / ".part").mkdir()  # nothing can be written under that name now
        tracker.add("words", "a")
        tracker.add("words", "b")
        until(lambda: count(metrics, "dropped_total", reason="disk") == 2.0)
        (folder / ".part").rmdir()
        tracker.add("words", "c")
        tracker.add("words", "d")
        until(lambda: files(tmp_path))
    assert [path.read_text() for path in files(tmp_path)] == ["c\nd\n"]


async def test_off_it_does_nothing(tmp_path: Path) -> None:
    tracker = Tracker(settings(None), Metrics("test"), [table()])
    async with tracker.open():
        tracker.add("words", "a")
        assert not tracker.on
    assert files(tmp_path) == []


async def test_a_place_that_cannot_be_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="PTZ_TRACK"):
        async with Tracker(settings(tmp_path / "file"), Metrics("test"), [table()]).open():
            pass


def test_a_killed_writer_leaves_whole_files(tmp_path: Path) -> None:
    """The kill comes when the third file is written and not yet on the disk."""
    code = f"""
import asyncio, os, pathlib, time
from shared.telemetry import Metrics
from shared.tracking import Table, Tracker, TrackSettings
place, sync, calls = pathlib.Path({str(tmp_path)!r}), os.fsync, []
def fsync(number):
    calls.append(number)
    if len(calls) == 5:  # the third file's; each is synced, and then its folder
        (place / "now").touch()
        time.sleep(60)
    sync(number)
os.fsync = fsync
tracker = Tracker(TrackSettings(track=place), Metrics("test"), [Table("words", ".txt", 1, lambda rows: [b"whole"])])
async def main():
    async with tracker.open():
        while True:
            tracker.add("words", "a")
            await asyncio.sleep(0.01)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    try:
        until((tmp_path / "now").exists)
    finally:
        process.kill()
        process.wait()
    assert [path.read_bytes() for path in files(tmp_path)] == [b"whole"] * 2
