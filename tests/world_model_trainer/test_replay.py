"""The replay: bounded, idempotent, and never a trajectory across a gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world_model_trainer.views import SIZE, picture, walk
from world_model_trainer.replay import Replay


def filled(count: int, *, capacity: int = 512, moves: int = 10) -> Replay:
    replay = Replay(capacity, SIZE)
    for view in walk(count, moves=moves):
        replay.add(view, picture(view.pose))
    return replay


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 120), capacity=st.integers(8, 60), moves=st.integers(1, 12), length=st.integers(1, 6))
def test_trajectories_follow_one_action_after_the_other(count: int, capacity: int, moves: int, length: int) -> None:
    replay = filled(count, capacity=capacity, moves=moves)
    assert len(replay) == min(count, capacity)
    batch = replay.sample(16, length, np.random.default_rng(0))
    if batch is None:
        assert length > moves or count <= length or capacity <= length + moves
        return
    poses, actions = batch.poses.numpy(), batch.actions.numpy()
    step = poses[:, 1:] - poses[:, :-1]
    step[..., 0] = (step[..., 0] + 180.0) % 360.0 - 180.0
    pan_follows = np.isclose(step[..., 0], actions[..., 0], atol=1e-3)
    assert pan_follows.all(), "pan never clamps, so every pose is the one before plus the action"
    assert (np.abs(step[..., 1]) <= np.abs(actions[..., 1]) + 1e-3).all()


def test_the_pictures_are_those_of_the_poses() -> None:
    replay = Replay(64, SIZE)
    views = walk(40)
    for view in views:
        replay.add(view, picture(view.pose))
    batch = replay.sample(8, 3, np.random.default_rng(1))
    assert batch is not None
    by_pose = {tuple(np.float32(view.pose.as_tuple())): picture(view.pose) for view in views}
    for trajectory, poses in zip(batch.images.numpy(), batch.poses.numpy(), strict=True):
        for image, pose in zip(trajectory, poses, strict=True):
            assert np.array_equal(image, by_pose[tuple(pose)])


def test_the_same_view_counts_once() -> None:
    replay = Replay(64, SIZE)
    views = walk(5)
    linked = [replay.add(view, picture(view.pose)) for view in [*views, *views]]
    assert len(replay) == 5
    assert linked == [None, 0, 1, 2, 3, None, None, None, None, None]
    assert views[0].id in replay


def test_a_lost_view_breaks_the_chain() -> None:
    replay = Replay(64, SIZE)
    views = walk(6)
    for view in views[:2] + views[3:]:
        replay.add(view, picture(view.pose))
    assert replay.sample(4, 3, np.random.default_rng(0)) is None
    batch = replay.sample(64, 2, np.random.default_rng(0))
    assert batch is not None
    assert {round(float(p), 3) for p in batch.poses[:, 0, 0]} == {round(views[3].pose.pan, 3)}


def test_recent_views_are_drawn_more_often() -> None:
    replay = filled(400)
    batch = replay.sample(400, 1, np.random.default_rng(0), recent_share=0.5)
    assert batch is not None
    newest = {tuple(np.float32(view.pose.as_tuple())) for view in walk(400)[-50:]}
    share = np.mean([tuple(pose) in newest for pose in batch.poses[:, 1].numpy()])
    assert 0.45 < share < 0.75


def test_nothing_to_draw_yet() -> None:
    assert filled(1).sample(4, 1, np.random.default_rng(0)) is None
    assert Replay(8, SIZE).sample(4, 1, np.random.default_rng(0)) is None


@pytest.mark.parametrize("length", [1, 4])
def test_the_seed_decides_what_is_drawn(length: int) -> None:
    replay = filled(100)
    batches = [replay.sample(8, length, np.random.default_rng(7)) for _ in range(2)]
    assert all(batch is not None for batch in batches)
    assert np.array_equal(batches[0].poses, batches[1].poses)  # type: ignore[union-attr]
