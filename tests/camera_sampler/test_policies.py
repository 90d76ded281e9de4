from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from camera_sampler.policies import own_policy
from camera_sampler.policies.random_walk import PAN_TILT_MOVES, ZOOM_MOVES, RandomWalk
from camera_sampler.policies.raster import Raster
from camera_sampler.settings import SamplerSettings
from shared.pose import Pose, PoseLimits

LIMITS = PoseLimits()
HOME = Pose(pan=0.0, tilt=0.0)


def test_random_moves_are_ptzjepas() -> None:
    """Pan and tilt from {±10, ±2, ±0.2, 0}, zoom from {±0.2, ±0.1, 0}: each as likely, each on its own."""
    walk, count = RandomWalk(random.Random(1)), 21_000
    moves = [walk.choose(HOME, LIMITS) for _ in range(count)]
    for values, drawn in (
        (PAN_TILT_MOVES, [move.pan for move in moves]),
        (PAN_TILT_MOVES, [move.tilt for move in moves]),
        (ZOOM_MOVES, [move.zoom for move in moves]),
    ):
        seen = Counter(drawn)
        assert set(seen) == set(values)
        expected = count / len(values)
        chi_square = sum((times - expected) ** 2 / expected for times in seen.values())
        assert chi_square < 30.0  # seven values: p < 0.0001 beyond that
    together = Counter((move.pan, move.tilt) for move in moves)
    assert len(together) == 49
    assert min(together.values()) > 0.6 * count / 49


def test_episodes_begin_anywhere_zoomed_out() -> None:
    walk = RandomWalk(random.Random(2))
    limits = PoseLimits(pan_min=-90.0, pan_max=120.0, tilt_min=-20.0, tilt_max=30.0)
    starts = [walk.begin(limits) for _ in range(4000)]
    assert {start.zoom for start in starts} == {1.0}
    pans, tilts = sorted(start.pan for start in starts), sorted(start.tilt for start in starts)
    for values, low, high in ((pans, -90.0, 120.0), (tilts, -20.0, 30.0)):
        assert low <= values[0] < low + 1.0
        assert high - 1.0 < values[-1] <= high
        worst = max(abs((value - low) / (high - low) - rank / len(values)) for rank, value in enumerate(values))
        assert worst < 0.03  # Kolmogorov-Smirnov


def test_seeds_name_walks() -> None:
    def walk(seed: int) -> list[tuple[float, float, float]]:
        policy = own_policy(SamplerSettings(seed=seed))
        moves = [policy.choose(HOME, LIMITS) for _ in range(20)]
        return [policy.begin(LIMITS).as_tuple(), *((move.pan, move.tilt, move.zoom) for move in moves)]

    assert walk(3) == walk(3) != walk(4)


def sweep(limits: PoseLimits, steps: int) -> list[Pose]:
    policy = Raster()
    pose = policy.begin(limits)
    poses = [pose]
    for _ in range(steps - 1):
        pose = policy.choose(pose, limits).apply(pose, limits)
        poses.append(pose)
    return poses


@pytest.mark.parametrize(
    "limits",
    [
        LIMITS,
        PoseLimits(pan_min=-100.0, pan_max=100.0),
        PoseLimits(pan_min=-5.0, pan_max=5.0, tilt_min=0.0, tilt_max=1.0),
    ],
)
def test_the_sweep_sees_everything_once_and_starts_again(limits: PoseLimits) -> None:
    poses = sweep(limits, 500)
    first = [(round(pose.pan, 6), round(pose.tilt, 6)) for pose in poses]
    period = first.index(first[0], 1)
    assert len(set(first[:period])) == period
    assert first[period:] == first[: len(first) - period]
    assert {pose.zoom for pose in poses} == {1.0}
    for wanted in (
        Pose(pan=limits.pan_min, tilt=limits.tilt_max),
        Pose(pan=limits.pan_max - 0.01, tilt=limits.tilt_min),
    ):
        assert min(pose.degrees_to(wanted) for pose in poses[:period]) < 0.1 or limits.full_circle
    for pan in range(int(limits.pan_min), int(limits.pan_max), 7):
        for tilt in range(int(limits.tilt_min), int(limits.tilt_max), 7):
            assert min(pose.degrees_to(Pose(pan=pan, tilt=tilt)) for pose in poses[:period]) < 13.0


@pytest.mark.parametrize("limits", [LIMITS, PoseLimits(pan_min=-100.0, pan_max=100.0)])
def test_the_sweep_turns_back_at_the_end_of_a_row(limits: PoseLimits) -> None:
    poses = sweep(limits, 30)
    steps = [a.degrees_to(b) for a, b in itertools.pairwise(poses)]
    assert max(steps) < 21.0


def test_the_sweep_goes_on_over_episodes() -> None:
    limits, policy = LIMITS, Raster()
    seen = set()
    for _ in range(200):
        pose = policy.begin(limits)
        seen.add((round(pose.pan), round(pose.tilt)))
        pose = policy.choose(pose, limits).apply(pose, limits)
        seen.add((round(pose.pan), round(pose.tilt)))
    assert len(seen) == 18 * 7


def test_the_sweep_finds_back_when_the_camera_stands_elsewhere() -> None:
    policy = Raster()
    policy.begin(LIMITS)
    move = policy.choose(Pose(pan=33.0, tilt=-7.0, zoom=2.5), LIMITS)
    assert move.apply(Pose(pan=33.0, tilt=-7.0, zoom=2.5), LIMITS).as_tuple() == pytest.approx((-160.0, 60.0, 1.0))
