"""The spool by itself: order, bounds, crashes, damage, a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from camera_sampler.spool import Spool, SpoolError, cost
from shared.errors import UserError
from tests.camera_sampler.spooling import Harness, a_view

JPEG = b"\xff\xd8" + b"x" * 3000 + b"\xff\xd9"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "camera-0.sqlite3")
    yield made
    made.spool.close()


def test_gives_back_what_it_was_given_in_order(harness: Harness) -> None:
    views = [a_view(episode, step) for episode in "ab" for step in range(3)]
    assert all(harness.spool.append(view, JPEG) for view in views)
    assert harness.spool.append(views[-1], JPEG), "the same view again is no other view"
    assert [item.view for item in harness.spool.oldest(4)] == views[:4]
    assert harness.spool.oldest(1)[0].jpeg == JPEG
    harness.spool.remove(harness.spool.oldest(4))
    assert harness.ids() == [view.id for view in views[4:]]
    assert harness.spool.views == 2


def test_the_file_keeps_to_its_bound_and_gives_space_back(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "camera-0.sqlite3", most_bytes=2 * 2**20)
    for number in range(1500):
        harness.spool.append(a_view(f"episode-{number // 7}", number % 7), os.urandom(1000 + 37 * (number % 200)))
    log = 2 * 2**20
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= harness.most_bytes + log
    assert harness.episodes_dropped["bytes"] > 0
    assert harness.views_dropped["bytes"] + harness.spool.views == 1500
    harness.spool.remove(harness.spool.oldest(1500))
    assert (harness.spool.views, harness.spool.size) == (0, 0)
    harness.spool.close()
    assert (tmp_path / "camera-0.sqlite3").stat().st_size < 2**16


def test_an_episode_too_large_by_itself_is_given_up_whole(tmp_path: Path) -> None:
    one = cost(len(JPEG) + 700)
    harness = Harness(tmp_path / "camera-0.sqlite3", most_bytes=3 * one)
    assert [harness.spool.append(a_view("a", step), JPEG) for step in range(5)] == [True, True, True, False, False]
    assert harness.spool.lost("a")
    assert harness.ids() == []
    assert harness.spool.append(a_view("b"), JPEG)
    assert not harness.spool.lost("b")
    harness.spool.close()


def test_what_arrived_late_takes_no_newer_view_along(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "camera-0.sqlite3", most_bytes=cost(len(JPEG) + 700))
    harness.spool.append(a_view("a"), JPEG)
    on_its_way = harness.spool.oldest(1)
    newer = a_view("b")
    assert harness.spool.append(newer, JPEG), "in place of the first"
    harness.spool.remove(on_its_way)
    assert harness.ids() == [newer.id]
    assert (harness.spool.views, harness.spool.size) == (1, on_its_way[0].cost)
    harness.spool.close()


def test_what_is_too_old_goes(harness: Harness) -> None:
    harness.spool.append(a_view("a"), JPEG)
    harness.now += 60.0
    harness.spool.append(a_view("a", 1), JPEG)
    fresh = a_view("b")
    harness.spool.append(fresh, JPEG)
    harness.spool.append(a_view("c"), JPEG)
    harness.now -= 500.0  # a clock set back makes nothing older
    assert len(harness.ids()) == 4
    harness.now += 500.0 + 99.0
    assert len(harness.ids()) == 4
    harness.now += 2.0
    assert harness.ids() == []
    assert (harness.episodes_dropped["age"], harness.views_dropped["age"]) == (3, 4)


@pytest.mark.parametrize("damage", ["garbage", "cut", "foreign", "other version"])
def test_a_damaged_file_is_set_aside_with_one_line(tmp_path: Path, damage: str) -> None:
    harness = Harness(tmp_path / "camera-0.sqlite3")
    for step in range(50):
        harness.spool.append(a_view("a", step), JPEG)
    harness.spool.close()
    file = harness.file
    if damage == "garbage":
        file.write_bytes(os.urandom(10_000))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[: 20 * 4096])
    else:
        file.unlink()
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE other (x)")
            database.execute("PRAGMA user_version=7")
        database.close()
    with structlog.testing.capture_logs() as lines:
        harness.open()
    assert [line["event"] for line in lines] == ["spool damaged; set aside"]
    assert file.with_suffix(".damaged").exists()
    view = a_view("b")
    assert harness.spool.append(view, JPEG)
    assert harness.ids() == [view.id]
    harness.spool.close()


def test_damage_met_at_work_ends_the_episode(harness: Harness) -> None:
    for step in range(50):
        harness.spool.append(a_view("a", step), JPEG)
    harness.spool.close()
    harness.open()
    assert harness.spool._database is not None
    harness.spool._database.execute("PRAGMA shrink_memory").fetchall()
    content = bytearray(harness.file.read_bytes())
    content[4096 * 2 :] = b"\x5a" * (len(content) - 4096 * 2)
    harness.file.write_bytes(content)
    with structlog.testing.capture_logs() as lines, pytest.raises(SpoolError):
        harness.spool.oldest(50)
    assert [line["event"] for line in lines] == ["spool damaged; set aside"]
    assert harness.spool.lost("a")
    assert harness.views_dropped["damaged"] == 50
    assert not harness.spool.append(a_view("a", 50), JPEG)
    assert harness.spool.append(a_view("b"), JPEG)


def test_a_damaged_view_takes_the_rest_of_its_episode_along(harness: Harness) -> None:
    views = [a_view(episode, step) for episode in "ab" for step in range(4)]
    for view in views:
        harness.spool.append(view, JPEG)
    with sqlite3.connect(harness.file) as other:
        other.execute("UPDATE views SET jpeg = ? WHERE id = ?", (JPEG[:-1] + b"!", views[2].id))
    other.close()
    first = harness.spool.oldest(8)
    assert [item.view for item in first] == views[:2]
    harness.spool.remove(first)
    assert harness.ids() == [view.id for view in views[4:]]
    assert harness.views_dropped["damaged"] == 2


def test_a_full_disk_refuses_and_recovers(harness: Harness) -> None:
    first = a_view("a")
    harness.spool.append(first, JPEG)
    database = harness.spool._database
    assert database is not None
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}").fetchall()
    with pytest.raises(SpoolError, match="full"):
        harness.spool.append(a_view("a", 1), JPEG * 4)
    assert harness.ids() == [first.id]
    assert harness.spool.views == 1
    database.execute("PRAGMA max_page_count=1000000").fetchall()
    assert harness.spool.append(a_view("b"), JPEG)
    assert harness.spool.views == 2


def test_one_process_at_a_time(harness: Harness) -> None:
    with pytest.raises(UserError, match="another sampler"):
        Spool(harness.file, most_bytes=10**6, most_seconds=1.0, dropped=lambda *_: None)


@dataclass
class Waiting:
    id: str
    episode: str
    cost: int
    at: float


class SpoolMachine(RuleBasedStateMachine):
    """The spool against a list. A crash is a copy of its files as they lie on the disk, opened afresh."""

    @initialize(room=st.integers(3, 12))
    def begin(self, room: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ptz-spool-"))
        self.generation = 0
        self.harness = Harness(self.directory / "0" / "camera-0.sqlite3", most_bytes=room * 8704, most_seconds=50.0)
        self.model: list[Waiting] = []
        self.episode, self.step, self.dropped = 0, 0, 0
        self.last_dropped: str | None = None

    @rule(size=st.integers(1, 9000), anew=st.booleans())
    def append(self, size: int, anew: bool) -> None:
        if anew or self.harness.spool.lost(f"episode-{self.episode}"):
            self.episode, self.step = self.episode + 1, 0
        view = a_view(f"episode-{self.episode}", self.step)
        self.step += 1
        price = cost(size + len(view.model_dump_json()))
        self._age()
        kept = self.last_dropped != view.episode
        while kept and self.model and sum(item.cost for item in self.model) + price > self.harness.most_bytes:
            self._drop(self.model[0].episode)
        kept = kept and price <= self.harness.most_bytes and self.last_dropped != view.episode
        if kept:
            self.model.append(Waiting(view.id, view.episode, price, self.harness.now))
        assert self.harness.spool.append(view, b"j" * size) == kept
        assert self.harness.spool.lost(view.episode) == (not kept)

    @rule(count=st.integers(1, 5), arrived=st.integers(0, 5))
    def replay(self, count: int, arrived: int) -> None:
        self._age()
        batch = self.harness.spool.oldest(count)
        assert [item.view.id for item in batch] == [item.id for item in self.model[:count]]
        self.harness.spool.remove(batch[:arrived])
        del self.model[: min(arrived, len(batch))]

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.harness.now += seconds

    @rule()
    def crash(self) -> None:
        self.generation += 1
        old, new = self.harness.file.parent, self.directory / str(self.generation)
        shutil.copytree(old, new)
        self.harness.spool.close()
        self.harness.file = new / "camera-0.sqlite3"
        self.harness.open()
        # A sampler that starts again begins an episode.
        self.episode, self.step, self.last_dropped = self.episode + 1, 0, None

    @precondition(lambda self: hasattr(self, "harness"))
    @invariant()
    def counts_agree(self) -> None:
        assert self.harness.spool.views == len(self.model)
        assert self.harness.spool.size == sum(item.cost for item in self.model) <= self.harness.most_bytes
        assert self.harness.views_dropped.total() == self.dropped

    def _age(self) -> None:
        newest: dict[str, float] = {}
        for item in self.model:
            newest[item.episode] = max(item.at, newest.get(item.episode, 0.0))
        for episode, at in newest.items():
            if self.harness.now - at > 50.0:
                self._drop(episode)

    def _drop(self, episode: str) -> None:
        if episode == self.model[-1].episode:
            self.last_dropped = episode
        before = len(self.model)
        self.model = [item for item in self.model if item.episode != episode]
        self.dropped += before - len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.harness.spool.close()
            shutil.rmtree(self.directory)


SpoolMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestSpoolAgainstAList = SpoolMachine.TestCase
