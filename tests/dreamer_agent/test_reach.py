from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor, reach, wrap_pan
from shared.actions import DEFAULT_ACTIONS, Action
from shared.pose import Pose, PoseLimits

angles = st.floats(-180, 179.875, width=32)
ends = st.integers(-180, 180) | st.sampled_from([-180.0, -179.5, 179.5, 180.0]) | st.floats(-180, 180, width=32)


@st.composite
def limits(draw: st.DrawFn) -> PoseLimits:
    pan = sorted(draw(st.just([-180.0, 180.0]) | st.lists(ends, min_size=2, max_size=2, unique=True)))
    tilt = sorted(draw(st.lists(st.integers(-90, 90), min_size=2, max_size=2, unique=True)))
    zoom = draw(st.floats(1.0, 40.0, width=32))
    return PoseLimits(pan_min=pan[0], pan_max=pan[1], tilt_min=tilt[0], tilt_max=tilt[1], zoom_max=zoom)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Pose, PoseLimits, int]:
    """A start anywhere, at a limit as often as not, with the camera's limits and a move."""
    bounds = draw(limits())
    pan = draw(angles | st.sampled_from([bounds.pan_min, bounds.pan_max]))
    start = Pose(pan=pan, tilt=draw(st.floats(-90, 90, width=32)), zoom=draw(st.floats(1, 40, width=32)))
    return start, bounds, draw(st.integers(0, len(DEFAULT_ACTIONS) - 1))


def nearer_to_one_limit(pose: Pose, bounds: PoseLimits) -> bool:
    """Whether single precision can tell which limit is nearer, if the pose is out of reach."""
    away = abs(pose.pan - (bounds.pan_min + bounds.pan_max) / 2.0)
    return bounds.full_circle or abs(away - 180.0) > 1e-3


@settings(max_examples=400, deadline=None)
@given(st.lists(cases().filter(lambda case: nearer_to_one_limit(case[0], case[1])), min_size=1, max_size=8))
def test_moves_lead_where_the_contract_says(cases: list[tuple[Pose, PoseLimits, int]]) -> None:
    starts, bounds, moves = zip(*cases, strict=True)
    changes = action_tensor(DEFAULT_ACTIONS)[torch.tensor(moves)]
    reached = reach(pose_tensor(starts), changes, limits_tensor(bounds))
    for (pose, limit, move), found in zip(cases, reached.tolist(), strict=True):
        expected = DEFAULT_ACTIONS[move].apply(pose, limit)
        # Single precision may fall on the other end of the seam, which is the same direction.
        around = abs((found[0] - expected.pan + 180.0) % 360.0 - 180.0)
        assert around < 1e-3
        assert found[1:] == pytest.approx([expected.tilt, expected.zoom], abs=1e-4)
        assert -180.0 <= found[0] < 180.0
        if move == 0 and expected == pose:
            assert found == list(pose.as_tuple()), "a move of zero stays, to the last bit"


@pytest.mark.parametrize(
    ("low", "high", "start", "move", "expected"),
    [
        (-180.0, 180.0, 175.0, 10.0, -175.0),
        (-180.0, 180.0, -180.0, -10.0, 170.0),
        (-179.0, 179.0, 175.0, 10.0, 179.0),
        (0.0, 180.0, 175.0, 10.0, -180.0),
        (0.0, 180.0, -180.0, 10.0, -180.0),
        (0.0, 180.0, -180.0, -10.0, 170.0),
        (0.0, 180.0, -179.5, -10.0, 170.5),
        (-180.0, 0.0, -180.0, -10.0, -180.0),
        (-180.0, 0.0, -180.0, 10.0, -170.0),
    ],
)
def test_a_full_circle_wraps_and_a_part_of_one_stops(
    low: float, high: float, start: float, move: float, expected: float
) -> None:
    pose, limit, action = Pose(pan=start, tilt=0.0), PoseLimits(pan_min=low, pan_max=high), Action(name="m", pan=move)
    assert action.apply(pose, limit).pan == pytest.approx(expected)
    found = reach(pose_tensor([pose]), torch.tensor([[move, 0.0, 0.0]]), limits_tensor([limit]))
    assert found[0, 0].item() == pytest.approx(expected)


def test_a_hair_below_the_seam_stays_in_the_half_open_interval() -> None:
    values = torch.tensor([-180.0, 180.0, 540.0, -180.00001, torch.nextafter(torch.tensor(180.0), torch.tensor(0.0))])
    wrapped = wrap_pan(values)
    assert bool(((wrapped >= -180.0) & (wrapped < 180.0)).all())
    assert wrapped[1].item() == -180.0
