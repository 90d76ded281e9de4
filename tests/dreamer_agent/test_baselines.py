from __future__ import annotations

import math

import pytest
import torch

from dreamer_agent.agents import Mode, RandomAgent, RasterAgent
from dreamer_agent.reach import action_tensor
from shared.actions import DEFAULT_ACTIONS, Action, ActionTable
from shared.errors import UserError
from shared.pose import Pose, PoseLimits
from tests.dreamer_agent.worlds import ORIGIN

LIMITS = PoseLimits(pan_min=-45.0, pan_max=45.0, tilt_min=-12.0, tilt_max=12.0)
MOVES = action_tensor(DEFAULT_ACTIONS)
EMBEDDING = torch.zeros(1, 4)


def walk(agent: RasterAgent, pose: Pose, steps: int) -> list[Pose]:
    poses = [pose]
    for _ in range(steps):
        index, log_prob = agent.act(EMBEDDING, torch.zeros(1, 3), Mode.SAMPLE)
        assert log_prob.item() == 0.0
        poses.append(DEFAULT_ACTIONS[int(index)].apply(poses[-1], LIMITS))
    return poses


def test_the_raster_sees_the_whole_range_again_and_again() -> None:
    agent = RasterAgent(MOVES, LIMITS)
    poses = walk(agent, ORIGIN, 600)
    for part in (poses[:300], poses[300:]):
        seen = {(round(pose.pan / 15.0), round(pose.tilt / 6.0)) for pose in part}
        assert seen >= {(pan, tilt) for pan in range(-3, 4) for tilt in range(-2, 3)}


def test_a_raster_that_cannot_turn_both_ways_is_refused() -> None:
    table = ActionTable(actions=(Action(name="noop"), Action(name="right", pan=5.0), Action(name="up", tilt=5.0)))
    with pytest.raises(UserError, match="changes pan alone"):
        RasterAgent(action_tensor(table), LIMITS)


def test_chance_draws_every_move_alike() -> None:
    agent = RandomAgent(21)
    generator = torch.Generator().manual_seed(0)
    index, log_prob = agent.act(
        torch.zeros(4200, 4), torch.zeros(4200, 3), Mode.SAMPLE, random_share=0.3, generator=generator
    )
    assert log_prob.tolist() == pytest.approx([-math.log(21)] * 4200, rel=1e-5)
    counts = torch.bincount(index, minlength=21)
    assert counts.min() > 140
    assert counts.max() < 260


def test_baselines_learn_nothing_and_keep_nothing() -> None:
    agent = RandomAgent(3)
    assert agent.state() == {}
    agent.load_state({})
    with pytest.raises(ValueError, match="keeps no state"):
        agent.load_state({"x": torch.zeros(1)})
