from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_sampler.simulation.motion import WOBBLE_DEGREES, Motion, Speeds
from shared.pose import Pose, PoseLimits

SPEEDS = Speeds(pan=100.0, tilt=50.0, zoom=1.0, settle=0.5)
HOME = Pose(pan=0.0, tilt=0.0)


def motion(limits: PoseLimits | None = None) -> Motion:
    return Motion(limits or PoseLimits(), SPEEDS, HOME)


def test_stands_still_before_the_first_move() -> None:
    assert motion().pose_at(0.0) == motion().pose_at(1e9) == HOME


def test_axes_move_at_their_own_speeds() -> None:
    moved = motion()
    moved.move_to(Pose(pan=50.0, tilt=50.0, zoom=3.0), 10.0)
    assert moved.pose_at(10.0) == HOME
    assert moved.pose_at(10.25).as_tuple() == pytest.approx((25.0, 12.5, 1.25))
    assert moved.pose_at(10.75).as_tuple() == pytest.approx((50.0, 37.5, 1.75))
    assert moved.arrival() == pytest.approx(12.0)  # the zoom is last
    assert moved.still_at() == pytest.approx(12.5)
    assert moved.pose_at(12.5).as_tuple() == (50.0, 50.0, 3.0)


def test_takes_the_shorter_way_round() -> None:
    moved = Motion(PoseLimits(), SPEEDS, Pose(pan=170.0, tilt=0.0))
    moved.move_to(Pose(pan=-170.0, tilt=0.0), 0.0)
    assert moved.arrival() == pytest.approx(0.2)
    assert moved.pose_at(0.05).pan == pytest.approx(175.0)
    assert moved.pose_at(0.15).pan == pytest.approx(-175.0)


def test_a_camera_with_stops_goes_the_long_way() -> None:
    limits = PoseLimits(pan_min=-175.0, pan_max=175.0)
    moved = Motion(limits, SPEEDS, Pose(pan=170.0, tilt=0.0))
    moved.move_to(Pose(pan=-170.0, tilt=0.0), 0.0)
    assert moved.arrival() == pytest.approx(3.4)
    assert moved.pose_at(1.7).pan == pytest.approx(0.0)


def test_a_stop_at_half_a_turn_is_not_the_other_stop() -> None:
    moved = Motion(PoseLimits(pan_min=0.0, pan_max=180.0), SPEEDS, Pose(pan=180.0, tilt=0.0))
    moved.move_to(Pose(pan=170.0, tilt=0.0), 0.0)
    assert moved.arrival() == pytest.approx(0.1)
    assert moved.pose_at(0.05).pan == pytest.approx(175.0)
    moved.move_to(Pose(pan=-180.0, tilt=0.0), 1.0)
    assert moved.arrival() == pytest.approx(1.1)
    assert all(abs(moved.pose_at(1.1 + 0.05 * step).pan) > 179.9 for step in range(12)), "it wobbles at its stop"


def test_wobbles_a_little_then_stands_still() -> None:
    moved = motion()
    moved.move_to(Pose(pan=10.0, tilt=0.0), 0.0)
    end = Pose(pan=10.0, tilt=0.0)
    swings = [moved.pose_at(0.1 + 0.5 * step / 50).degrees_to(end) for step in range(50)]
    assert 0.01 < max(swings) <= WOBBLE_DEGREES * 1.5
    assert max(swings[40:]) < max(swings[:10])
    assert moved.pose_at(0.6) == end


def test_a_new_move_begins_where_the_old_one_has_got_to() -> None:
    moved = motion()
    moved.move_to(Pose(pan=50.0, tilt=0.0), 0.0)
    moved.move_to(Pose(pan=0.0, tilt=0.0), 0.2)
    assert moved.pose_at(0.2).pan == pytest.approx(20.0)
    assert moved.arrival() == pytest.approx(0.4)
    assert moved.pose_at(1.0) == HOME


def test_targets_out_of_reach_are_clamped() -> None:
    assert motion().move_to(Pose(pan=0.0, tilt=-80.0, zoom=9.0), 0.0).as_tuple() == (0.0, -30.0, 3.0)


@given(
    st.lists(st.tuples(st.floats(-180, 180), st.floats(-30, 60), st.floats(1, 3), st.floats(0, 2)), max_size=6),
    st.floats(0, 10),
)
def test_never_leaves_the_limits_nor_jumps(moves: list[tuple[float, float, float, float]], later: float) -> None:
    moved, now = motion(), 0.0
    for pan, tilt, zoom, wait in moves:
        now += wait
        before = moved.pose_at(now)
        moved.move_to(Pose(pan=pan, tilt=tilt, zoom=zoom), now)
        assert moved.pose_at(now).degrees_to(before) <= 2 * WOBBLE_DEGREES
    pose, next_pose = moved.pose_at(now + later), moved.pose_at(now + later + 0.01)
    assert pose.degrees_to(next_pose) <= 0.01 * (SPEEDS.pan + SPEEDS.tilt) + 2 * WOBBLE_DEGREES
    assert moved.pose_at(moved.still_at() + 1.0) == moved.target
