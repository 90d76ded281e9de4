from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor, reach, wrap_pan
from shared.actions import DEFAULT_ACTIONS, Action
from shared.pose import Pose, PoseLimits

angles = st.floats(-180, 179.875, width=32)


@st.composite
def limits(draw: st.DrawFn) -> PoseLimits:
    if draw(st.booleans()):
        pan = (-180.0, 180.0)
    else:
        low, high = sorted(draw(st.lists(st.integers(-180, 180), min_size=2, max_size=2, unique=True)))
        pan = (float(low), float(high))
    low, high = sorted(draw(st.lists(st.integers(-90, 90), min_size=2, max_size=2, unique=True)))
    zoom = draw(st.floats(1.0, 40.0, width=32))
    return PoseLimits(pan_min=pan[0], pan_max=pan[1], tilt_min=low, tilt_max=high, zoom_max=zoom)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    return Pose(pan=draw(angles), tilt=draw(st.floats(-90, 90, width=32)), zoom=draw(st.floats(1, 40, width=32)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(poses(), limits(), st.integers(0, len(DEFAULT_ACTIONS) - 1)), min_size=1, max_size=8))
def test_moves_lead_where_the_contract_says(cases: list[tuple[Pose, PoseLimits, int]]) -> None:
    starts, bounds, moves = zip(*cases, strict=True)
    wanted = pose_tensor(starts) + action_tensor(DEFAULT_ACTIONS)[torch.tensor(moves)]
    reached = reach(wanted, limits_tensor(bounds))
    for (pose, limit, move), found in zip(cases, reached.tolist(), strict=True):
        expected = DEFAULT_ACTIONS[move].apply(pose, limit)
        # Single precision may fall on the other end of the seam, which is the same direction.
        around = abs((found[0] - expected.pan + 180.0) % 360.0 - 180.0)
        assert around < 1e-3
        assert found[1:] == pytest.approx([expected.tilt, expected.zoom], abs=1e-4)
        assert -180.0 <= found[0] < 180.0


def test_a_full_circle_wraps_and_a_part_of_one_stops() -> None:
    right = Action(name="right", pan=10.0)
    for limit, expected in ((PoseLimits(), -175.0), (PoseLimits(pan_min=-179.0, pan_max=179.0), 179.0)):
        wanted = torch.tensor([[175.0 + right.pan, 0.0, 1.0]])
        assert reach(wanted, limits_tensor([limit]))[0, 0].item() == pytest.approx(expected)


def test_a_hair_below_the_seam_stays_in_the_half_open_interval() -> None:
    values = torch.tensor([-180.0, 180.0, 540.0, -180.00001, torch.nextafter(torch.tensor(180.0), torch.tensor(0.0))])
    wrapped = wrap_pan(values)
    assert bool(((wrapped >= -180.0) & (wrapped < 180.0)).all())
    assert wrapped[1].item() == -180.0
