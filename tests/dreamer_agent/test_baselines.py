from __future__ import annotations

import math

import pytest
import torch

from dreamer_agent.agents import Agent, Mode, RandomAgent, RasterAgent
from dreamer_agent.agents.sticky import StickyAgent
from dreamer_agent.agents.tours import NEAR, LeastRecentlyViewedAgent, PresetsAgent
from dreamer_agent.reach import action_tensor, pose_tensor
from shared.actions import DEFAULT_ACTIONS, Action, ActionTable
from shared.errors import UserError
from shared.pose import Pose, PoseLimits
from shared.viewing import Optics, tour
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


def journey(agent: Agent, pose: Pose, steps: int, limits: PoseLimits) -> list[Pose]:
    generator = torch.Generator().manual_seed(0)
    poses = [pose]
    for _ in range(steps):
        index, _ = agent.act(EMBEDDING, pose_tensor([poses[-1]]), Mode.SAMPLE, generator=generator)
        poses.append(DEFAULT_ACTIONS[int(index)].apply(poses[-1], limits))
    return poses


def test_the_tour_of_presets_gets_to_each_in_turn() -> None:
    presets = [Pose(pan=-40.0, tilt=10.0), Pose(pan=30.0, tilt=-11.0, zoom=1.4), Pose(pan=0.0, tilt=0.0)]
    agent = PresetsAgent(MOVES, LIMITS, presets)
    poses = journey(agent, ORIGIN, 120, LIMITS)
    visits = [place for pose in poses for place, preset in enumerate(presets) if pose.degrees_to(preset) <= 3.0 * NEAR]
    turns = [place for place, before in zip(visits[1:], visits, strict=False) if place != before]
    assert turns[:6] in ([0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0])


def test_a_preset_that_cannot_be_got_near_to_does_not_hold_the_tour() -> None:
    sideways = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [-10.0, 0.0, 0.0]])
    agent = PresetsAgent(sideways, LIMITS, [Pose(pan=20.0, tilt=10.0), Pose(pan=-20.0, tilt=0.0)])
    pose, places = torch.zeros(1, 3) + torch.tensor([0.0, 0.0, 1.0]), []
    for _ in range(200):
        index, _ = agent.act(EMBEDDING, pose, Mode.SAMPLE)
        pose = pose + sideways[index]
        places.append(float(pose[0, 0]))
    assert {20.0, -20.0} <= set(places[20:])


def test_the_least_recently_viewed_cells_are_seen_before_long_from_anywhere() -> None:
    limits = PoseLimits(tilt_min=-20.0, tilt_max=40.0)
    agent = LeastRecentlyViewedAgent(MOVES, limits)
    cells = tour(limits, Optics())
    poses = journey(agent, Pose(pan=100.0, tilt=0.0, zoom=2.6), 400, limits)
    for half in (poses[:200], poses[200:]):
        seen = {min(range(len(cells)), key=lambda cell: pose.degrees_to(cells[cell])) for pose in half}
        assert len(seen) >= 0.9 * len(cells)
    assert poses[50].zoom < 2.0


def test_a_batch_of_tours_is_many_tours() -> None:
    agent, alone = PresetsAgent(MOVES, LIMITS), PresetsAgent(MOVES, LIMITS)
    poses = torch.tensor([[10.0, 0.0, 1.0], [-40.0, 5.0, 2.0], [44.0, -12.0, 1.0]])
    together = agent.log_probabilities(torch.zeros(3, 4), poses)
    for row in range(3):
        alone = PresetsAgent(MOVES, LIMITS)
        assert torch.equal(alone.log_probabilities(EMBEDDING, poses[row : row + 1])[0], together[row])


def test_sticky_moves_hold_on_for_about_as_long_as_asked() -> None:
    agent = StickyAgent(21, hold=0.9)
    generator = torch.Generator().manual_seed(0)
    made = torch.stack(
        [agent.act(torch.zeros(50, 4), torch.zeros(50, 3), Mode.SAMPLE, generator=generator)[0] for _ in range(200)]
    )
    again = float((made[1:] == made[:-1]).float().mean())
    assert again == pytest.approx(0.9 + 0.1 / 21, abs=0.02)
    with pytest.raises(ValueError, match="below one"):
        StickyAgent(21, hold=1.0)
