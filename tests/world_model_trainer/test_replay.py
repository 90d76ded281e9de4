"""The replay: bounded, idempotent, never a trajectory across a gap, and whole again after whatever happened to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.errors import UserError
from shared.messages import View
from tests.world_model_trainer.views import SIZE, picture, walk
from world_model_trainer.objectives import Trajectories
from world_model_trainer.replay import Measured, Mix, Replay
from world_model_trainer.replay.keeping import Blocks, leaves_next
from world_model_trainer.replay.records import HEADER_BYTES, record_type

RECORD = record_type(SIZE).itemsize


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replay" / "views"


def opened(path: Path, *, views: int = 512, block: int = 8, seed: int = 0) -> Replay:
    return Replay(path, SIZE, views=views, block=block, seed=seed)


def fill(replay: Replay, views: Sequence[View], measured: Measured | None = None) -> Replay:
    for view in views:
        replay.add(view, picture(view.pose), measured)
    return replay


def poses_of(batch: Trajectories | None) -> set[tuple[float, ...]]:
    assert batch is not None
    return {tuple(pose) for pose in batch.poses.reshape(-1, 3).numpy()}


def everything(replay: Replay, length: int = 1) -> tuple[np.ndarray, ...]:
    """What can be drawn, training and held-out, in full."""
    batches = [replay.trajectories(replay.ends(length, held_out=side), length) for side in (False, True)]
    columns = [getattr(batch, name).numpy() for batch in batches for name in ("images", "poses", "actions", "cameras")]
    return (replay.ends(length), *columns)


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 300),
    capacity=st.integers(64, 160),
    moves=st.integers(1, 12),
    length=st.integers(1, 6),
    cameras=st.integers(1, 3),
)
def test_trajectories_follow_one_action_after_the_other(
    count: int, capacity: int, moves: int, length: int, cameras: int
) -> None:
    walks = [walk(count, moves=moves, seed=index, camera=f"camera-{index}") for index in range(cameras)]
    views = [view for together in zip(*walks, strict=True) for view in together][:count]
    camera_at = {tuple(np.float32(view.pose.as_tuple())): view.camera for view in views}
    with tempfile.TemporaryDirectory() as directory:
        replay = fill(opened(Path(directory) / "views", views=capacity), views)
        assert len(replay) <= capacity
        assert len(replay) == min(count, len(replay)) > 0
        batch = replay.sample(16, length, np.random.default_rng(0))
        replay.close()
    if batch is None:
        return
    poses, actions = batch.poses.numpy(), batch.actions.numpy()
    step = poses[:, 1:] - poses[:, :-1]
    step[..., 0] = (step[..., 0] + 180.0) % 360.0 - 180.0
    pan_follows = np.isclose(step[..., 0], actions[..., 0], atol=1e-3)
    assert pan_follows.all(), "pan never clamps, so every pose is the one before plus the action"
    assert (np.abs(step[..., 1]) <= np.abs(actions[..., 1]) + 1e-3).all()
    assert batch.cameras is not None
    of_cameras = [{camera_at[tuple(pose)] for pose in trajectory} for trajectory in poses]
    assert all(len(names) == 1 for names in of_cameras)
    named = {(int(number), *names) for number, names in zip(batch.cameras, of_cameras, strict=True)}
    assert len(named) == len({number for number, _ in named}) == len({name for _, name in named})


def test_a_trajectory_is_found_wherever_one_is(path: Path) -> None:
    replay = fill(opened(path), walk(110, moves=10))
    # Ten episodes of eleven views; block 4 of 8 views is held out: views 32 to 39.
    both = [len(replay.ends(4, held_out=side)) for side in (False, True)]
    held = set(range(32, 40))
    ends = [i for i in range(110) if i % 11 >= 4]
    free = [i for i in ends if not held & set(range(i - 4, i + 1))]
    inside = [i for i in ends if set(range(i - 4, i + 1)) <= held]
    assert both == [len(free), len(inside)]


def test_the_pictures_are_those_of_the_poses(path: Path) -> None:
    views = walk(40)
    batch = fill(opened(path), views).sample(8, 3, np.random.default_rng(1))
    assert batch is not None
    by_pose = {tuple(np.float32(view.pose.as_tuple())): picture(view.pose) for view in views}
    for trajectory, poses in zip(batch.images.numpy(), batch.poses.numpy(), strict=True):
        for image, pose in zip(trajectory, poses, strict=True):
            assert np.array_equal(image, by_pose[tuple(pose)])


def test_the_same_view_counts_once_and_keeps_what_was_measured(path: Path) -> None:
    replay, views = opened(path), walk(5)
    fill(replay, views, Measured(0.5, 1.0, 0.25))
    fill(replay, views, Measured(9.0, 9.0, 9.0))
    assert (len(replay), replay.added) == (5, 5)
    assert views[0].id in replay
    assert replay.measured(views[2].id) == Measured(0.5, 1.0, 0.25)
    assert replay.measured("never seen") is None


def test_a_lost_view_breaks_the_chain(path: Path) -> None:
    views = walk(6)
    replay = fill(opened(path), views[:2] + views[3:])
    assert replay.sample(4, 3, np.random.default_rng(0)) is None
    batch = replay.sample(64, 2, np.random.default_rng(0))
    assert batch is not None
    assert {round(float(p), 3) for p in batch.poses[:, 0, 0]} == {round(views[3].pose.pan, 3)}


def test_batches_are_mixed_as_they_say(path: Path) -> None:
    views = walk(400)
    replay = opened(path)
    for index, view in enumerate(views):
        surprising = 100 <= index < 140
        replay.add(view, picture(view.pose), Measured(5.0 if surprising else 1.0, 1.0, 1.0))
    newest = {tuple(np.float32(view.pose.as_tuple())) for view in views[-50:]}
    hard = {tuple(np.float32(view.pose.as_tuple())) for view in views[100:140]}

    def share(of: set[tuple[float, ...]], mix: Mix) -> float:
        batch = replay.sample(2000, 1, np.random.default_rng(0), mix)
        assert batch is not None
        return float(np.mean([tuple(pose) in of for pose in batch.poses[:, 1].numpy()]))

    assert share(newest, Mix(recent=0.0, surprising=0.0)) == pytest.approx(0.125, abs=0.04)
    assert share(newest, Mix(recent=0.5, surprising=0.0)) == pytest.approx(0.5 + 0.0625, abs=0.04)
    even, weighted = share(hard, Mix(0.0, 0.0)), share(hard, Mix(0.0, 1.0))
    assert weighted > 2.0 * even


def test_nothing_is_forgotten_when_the_camera_moves_on(path: Path) -> None:
    first, second = walk(400, camera="north"), walk(2000, seed=1, camera="south")
    replay = fill(opened(path, views=256), [*first, *second])
    kept = {each.camera: each.views for each in replay.kept()}
    assert sum(kept.values()) == len(replay) <= 256
    # A sixth of all views ever were north's; half of the room is a sample of all.
    assert 8 <= kept["north"] <= 80
    newest = replay.sample(64, 1, np.random.default_rng(0), Mix(recent=1.0, surprising=0.0))
    assert poses_of(newest) <= {tuple(np.float32(view.pose.as_tuple())) for view in second[-64:]}


def test_the_reservoir_is_fair_over_time() -> None:
    """Whatever came when, its chance to stay is the same once it has left the recent window."""
    counts = np.zeros(200)
    for seed in range(150):
        kept = np.empty(0, np.int64)
        for number in range(200):
            kept = np.append(kept, number)
            while len(kept) > 32:
                blocks = Blocks(kept, np.full(len(kept), 8), np.ones(len(kept)))
                kept = kept[kept != leaves_next(blocks, room=256, seed=seed)]
        counts[kept] += 1
    assert (counts[192:] == 150).all(), "the recent window"
    decades = counts[:180].reshape(9, 20).mean(axis=1)
    assert decades.min() > 0.75 * decades.mean()
    assert decades.max() < 1.25 * decades.mean()


def test_what_surprised_stays_longer(path: Path) -> None:
    replay = opened(path, views=256, block=8)
    views = walk(3000)
    for index, view in enumerate(views):
        replay.add(view, picture(view.pose), Measured(10.0 if 400 <= index < 600 else 1.0, 1.0, 1.0))
    place = {tuple(np.float32(view.pose.as_tuple())): index for index, view in enumerate(views)}
    kept = np.array([place[pose] for pose in poses_of(replay.trajectories(replay.ends(1), 1))])
    hard, before = np.sum((kept >= 400) & (kept < 600)), np.sum((kept >= 600) & (kept < 800))
    assert hard > 1.5 * max(1, before)


def test_held_out_views_are_never_drawn_and_stay_few(path: Path) -> None:
    views = walk(2000, moves=10)
    replay = fill(opened(path, views=512, block=8), views)
    held = poses_of(replay.trajectories(replay.ends(1, held_out=True), 1))
    assert 0 < replay.held_out <= 512 // 16 + 8
    drawn = set()
    for seed in range(30):
        drawn |= poses_of(replay.sample(64, 2, np.random.default_rng(seed)))
    assert not held & drawn
    stretches = {index // 8 for index, view in enumerate(views) if tuple(np.float32(view.pose.as_tuple())) in held}
    assert all(stretch % 16 == 4 for stretch in stretches), "whole stretches of time, one in sixteen"


def test_nothing_to_draw_yet(path: Path) -> None:
    replay = opened(path)
    assert replay.sample(4, 1, np.random.default_rng(0)) is None
    assert fill(replay, walk(1)).sample(4, 1, np.random.default_rng(0)) is None


def test_the_generator_decides_what_is_drawn(path: Path) -> None:
    replay = fill(opened(path), walk(100))
    batches = [replay.sample(8, 2, np.random.default_rng(7)) for _ in range(2)]
    assert all(batch is not None for batch in batches)
    assert np.array_equal(batches[0].poses, batches[1].poses)  # type: ignore[union-attr]


def test_two_processes_never_share_a_replay(path: Path) -> None:
    replay = opened(path)
    with pytest.raises(UserError, match="in use by another process"):
        opened(path)
    replay.close()
    opened(path).close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is no replay of this program"),
        (b"PNG" * 5000, "is no replay of this program"),
        (b'{"format": "ptzjepa-replay-2", "image_size": 32}'.ljust(HEADER_BYTES), "is no replay of this program"),
        (b'{"format": "ptzjepa-replay-1", "image_size": 96}'.ljust(HEADER_BYTES), "holds views of 96 pixels, not 32"),
        (b"[1, 2]".ljust(HEADER_BYTES), "is no replay of this program"),
    ],
)
def test_another_file_is_refused_and_left_alone(path: Path, content: bytes, complaint: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as error:
        opened(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_too_little_room_is_refused(path: Path) -> None:
    with pytest.raises(UserError, match="PTZ_REPLAY_BYTES"):
        Replay(path, SIZE, views=4096, most_bytes=64 * RECORD)
    with pytest.raises(UserError, match="PTZ_REPLAY"):
        Replay(Path("/dev/null/replay"), SIZE, views=4096)


@pytest.mark.parametrize("lost", [1, RECORD - 1, RECORD, 5 * RECORD + 7])
def test_a_tail_cut_off_loses_the_tail_alone(path: Path, lost: int) -> None:
    views = walk(60)
    fill(opened(path), views).close()
    size = HEADER_BYTES + 60 * RECORD
    assert path.stat().st_size == size
    os.truncate(path, size - lost)
    replay = opened(path)
    gone = -(-lost // RECORD)
    assert len(replay) == 60 - gone
    assert replay.damaged == (1 if lost % RECORD else 0)
    assert all((view.id in replay) == (index < 60 - gone) for index, view in enumerate(views))
    fill(replay, views)
    assert len(replay) == 60


@settings(max_examples=25, deadline=None)
@given(place=st.integers(HEADER_BYTES, HEADER_BYTES + 60 * RECORD - 1), noise=st.binary(min_size=1, max_size=300))
def test_damage_loses_what_it_hits_alone(place: int, noise: bytes) -> None:
    views = walk(60)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "views"
        fill(opened(path), views).close()
        before = path.read_bytes()
        noise = noise[: len(before) - place]
        path.write_bytes(before[:place] + noise + before[place + len(noise) :])
        hit = {
            index
            for index in range(60)
            if (span := slice(HEADER_BYTES + index * RECORD, HEADER_BYTES + (index + 1) * RECORD))
            and path.read_bytes()[span] != before[span]
        }
        replay = opened(path)
        assert {index for index, view in enumerate(views) if view.id not in replay} == hit
        intact = [i for i in range(60) if i % 11 and not {i, i - 1} & (hit | set(range(32, 40)))]
        assert len(replay.ends(1)) == len(intact)
        replay.close()


def test_smaller_bounds_take_hold_of_a_larger_file(path: Path) -> None:
    views = walk(800)
    large = fill(opened(path, views=512), views, Measured(1.0, 2.0, 3.0))
    large.close()
    small = opened(path, views=128)
    assert len(small) <= 128
    assert path.stat().st_size <= HEADER_BYTES + 128 * RECORD
    assert views[-1].id in small
    before = everything(small)
    small.close()
    assert same(before, everything(opened(path, views=128)))
    by_pose = {tuple(np.float32(view.pose.as_tuple())): picture(view.pose) for view in views}
    for pose, image in zip(before[2][:, 1], before[1][:, 1], strict=True):
        assert np.array_equal(image, by_pose[tuple(pose)])


class Life(RuleBasedStateMachine):
    """Views come, the process ends, bytes get lost: what is left is always what a fresh look at the file finds."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name) / "views"
        self._capacity = 96
        self._replay = opened(self._path, views=self._capacity)
        self._coming = self._source()
        self._seen: list[View] = []

    def _source(self) -> Iterator[View]:
        seed = 0
        while True:
            yield from walk(200, seed=seed, moves=5 + seed % 7, camera=f"camera-{seed % 3}")
            seed += 1

    @rule(count=st.integers(1, 40), error=st.floats(0.0, 100.0))
    def views_come(self, count: int, error: float) -> None:
        for _ in range(count):
            view = next(self._coming)
            self._seen.append(view)
            self._replay.add(view, picture(view.pose), Measured(error, 1.0, 1.0))

    @rule()
    def it_starts_again(self) -> None:
        before, added = everything(self._replay, 3), self._replay.added
        self._replay.close()
        self._replay = opened(self._path, views=self._capacity)
        assert same(before, everything(self._replay, 3))
        assert self._replay.added == added
        assert self._replay.damaged == 0

    @rule(part=st.floats(0.0, 1.0))
    def it_dies_in_the_middle_of_a_view(self, part: float) -> None:
        view = next(self._coming)
        kept = {each.id for each in self._seen if each.id in self._replay}
        written = self._path.read_bytes()
        self._replay.add(view, picture(view.pose))
        after = self._path.read_bytes()
        gone = kept - {each.id for each in self._seen if each.id in self._replay}
        self._replay.close()
        place = next(i for i in range(0, len(after), RECORD) if written[i : i + RECORD] != after[i : i + RECORD])
        slot = max(0, (place - HEADER_BYTES)) // RECORD
        start = HEADER_BYTES + slot * RECORD
        if not gone and start + RECORD <= len(after):
            cut = start + int(part * (RECORD - 1))
            self._path.write_bytes(after[:cut] + written[cut : start + RECORD].ljust(0) + after[start + RECORD :])
        self._replay = opened(self._path, views=self._capacity)
        assert {each.id for each in self._seen if each.id in self._replay} == kept - gone
        self._seen.append(view)

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self._replay) <= self._capacity
        assert self._replay.size <= HEADER_BYTES + self._capacity * RECORD
        if self._seen and self._replay.added:
            assert sum(each.views for each in self._replay.kept()) == len(self._replay)

    def teardown(self) -> None:
        self._replay.close()
        self._directory.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
