from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.pose import Pose, PoseLimits, wrap_pan

ANGLES = st.floats(-1e6, 1e6)
POSES = st.builds(Pose, pan=st.floats(-180, 180), tilt=st.floats(-90, 90), zoom=st.floats(1, 10))


@st.composite
def limits(draw: st.DrawFn) -> PoseLimits:
    ends = st.integers(-180, 180) | st.sampled_from([-180.0, -179.999, 179.999, 180.0]) | st.floats(-180.0, 180.0)
    pan_min, pan_max = sorted(draw(st.lists(ends, min_size=2, max_size=2, unique=True)))
    tilt_min, tilt_max = sorted(draw(st.lists(st.integers(-90, 90), min_size=2, max_size=2, unique=True)))
    zoom_max = draw(st.floats(1, 40))
    return PoseLimits(pan_min=pan_min, pan_max=pan_max, tilt_min=tilt_min, tilt_max=tilt_max, zoom_max=zoom_max)


@given(ANGLES)
def test_wrapped_pan_is_canonical_and_the_same_direction(degrees: float) -> None:
    wrapped = wrap_pan(degrees)
    assert -180.0 <= wrapped < 180.0
    assert math.cos(math.radians(wrapped - degrees)) == pytest.approx(1.0, abs=1e-6)


@given(st.floats(-179.9, 179.9), st.integers(-50, 50))
def test_whole_turns_change_nothing(degrees: float, turns: int) -> None:
    assert wrap_pan(degrees + 360.0 * turns) == pytest.approx(degrees, abs=1e-9)


@pytest.mark.parametrize(
    ("degrees", "wrapped"), [(180.0, -180.0), (-180.0, -180.0), (540.0, -180.0), (-1e-14, -1e-14), (359.5, -0.5)]
)
def test_ends_of_the_half_open_interval(degrees: float, wrapped: float) -> None:
    assert wrap_pan(degrees) == pytest.approx(wrapped, abs=1e-12)
    assert wrap_pan(degrees) < 180.0


def test_a_hair_below_the_seam_does_not_round_to_the_far_end() -> None:
    assert wrap_pan(math.nextafter(-180.0, -181.0)) < 180.0


@pytest.mark.parametrize(
    "wrong", [{"pan": math.nan}, {"tilt": 91.0}, {"zoom": 0.5}, {"pan": math.inf}, {"tilt": -90.1}]
)
def test_poses_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Pose(**{"pan": 0.0, "tilt": 0.0, **wrong})


@given(POSES, POSES)
def test_angle_is_symmetric_bounded_and_zero_for_itself(a: Pose, b: Pose) -> None:
    assert a.degrees_to(b) == pytest.approx(b.degrees_to(a), abs=1e-9)
    assert 0.0 <= a.degrees_to(b) <= 180.0
    assert a.degrees_to(a) == 0.0


@given(POSES, POSES, POSES)
def test_angle_obeys_the_triangle_inequality(a: Pose, b: Pose, c: Pose) -> None:
    assert a.degrees_to(c) <= a.degrees_to(b) + b.degrees_to(c) + 1e-6


@given(POSES, POSES)
def test_angle_agrees_with_the_vectors(a: Pose, b: Pose) -> None:
    def vector(pose: Pose) -> tuple[float, float, float]:
        pan, tilt = math.radians(pose.pan), math.radians(pose.tilt)
        return math.cos(tilt) * math.sin(pan), math.sin(tilt), math.cos(tilt) * math.cos(pan)

    u, v = vector(a), vector(b)
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    dot = sum(p * q for p, q in zip(u, v, strict=True))
    assert a.degrees_to(b) == pytest.approx(math.degrees(math.atan2(math.hypot(*cross), dot)), abs=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "angle"),
    [
        ((0, 0), (10, 0), 10.0),
        ((175, 0), (-175, 0), 10.0),
        ((0, 60), (10, 60), 4.9952),  # the pan counts for half of itself up there
        ((0, 90), (137, 90), 0.0),
        ((0, 0), (-180, 0), 180.0),
        ((20, 5), (20.2, 5), 0.19924),
    ],
)
def test_known_angles(a: tuple[float, float], b: tuple[float, float], angle: float) -> None:
    first, second = (Pose(pan=pan, tilt=tilt) for pan, tilt in (a, b))
    assert first.degrees_to(second) == pytest.approx(angle, abs=2e-4)


@given(limits(), ANGLES, ANGLES, ANGLES)
def test_reach_stays_within_the_limits_and_is_stable(reach: PoseLimits, pan: float, tilt: float, zoom: float) -> None:
    pose = reach.reach(pan, tilt, zoom)
    assert reach.tilt_min <= pose.tilt <= reach.tilt_max
    assert 1.0 <= pose.zoom <= reach.zoom_max
    assert within(reach, pose)
    assert reach.reach(*pose.as_tuple()) == pose
    assert reach.moved(pose) == pose


def within(limits: PoseLimits, pose: Pose) -> bool:
    """Whether pan is in reach, as it is or, at the limit at half a turn, a turn more."""
    return any(limits.pan_min <= pan <= limits.pan_max for pan in (pose.pan, pose.pan + 360.0))


@given(limits(), st.data())
def test_reach_leaves_reachable_poses_alone(reach: PoseLimits, data: st.DataObject) -> None:
    pan = data.draw(st.floats(reach.pan_min, math.nextafter(reach.pan_max, -400.0)))
    tilt, zoom = data.draw(st.floats(reach.tilt_min, reach.tilt_max)), data.draw(st.floats(1.0, reach.zoom_max))
    assert reach.reach(pan, tilt, zoom).as_tuple() == pytest.approx((pan, tilt, zoom), abs=1e-9)


def apart(pan: float, other: float) -> float:
    """Degrees of pan between two directions."""
    return abs((pan - other + 180.0) % 360.0 - 180.0)


MOVES = st.lists(st.tuples(st.sampled_from(["by", "to"]), st.floats(-400.0, 400.0)), max_size=8)


@given(limits(), st.floats(0.0, 1.0), MOVES)
def test_moves_lead_where_a_head_that_counts_its_turns_goes(
    reach: PoseLimits, share: float, moves: list[tuple[str, float]]
) -> None:
    """The head here keeps degrees that never wrap, so nothing of it can take one limit for the other."""
    head = reach.pan_min + share * (reach.pan_max - reach.pan_min)
    pose = reach.reach(head, reach.tilt_min, 1.0)
    for kind, degrees in moves:
        if kind == "by":
            head, pose = head + degrees, reach.moved(pose, degrees)
        else:
            head = reach.pan_min + abs(degrees) / 400.0 * (reach.pan_max - reach.pan_min)
            pose = reach.reach(*Pose(pan=head, tilt=pose.tilt).as_tuple())
        if not reach.full_circle:
            head = min(max(head, reach.pan_min), reach.pan_max)
        assert within(reach, pose)
        assert apart(pose.pan, head) < 1e-9


@given(limits(), st.floats(0.0, 1.0))
def test_a_limit_holds_against_its_own_side_and_lets_go_to_the_other(reach: PoseLimits, share: float) -> None:
    assume(not reach.full_circle)
    step = share * (reach.pan_max - reach.pan_min)
    for end, outwards in ((reach.pan_max, 1.0), (reach.pan_min, -1.0)):
        limit = Pose(pan=end, tilt=reach.tilt_max)
        assert reach.reach(*limit.as_tuple()) == limit
        assert reach.moved(limit) == limit
        assert reach.moved(limit, outwards * step) == limit
        assert apart(reach.moved(limit, -outwards * step).pan, end - outwards * step) < 1e-9


@given(limits(), st.floats(0.0, 0.05))
def test_a_head_that_reads_a_little_beyond_its_stop_stands_at_it(reach: PoseLimits, beyond: float) -> None:
    assume(reach.pan_max - reach.pan_min < 359.8)
    for end, outwards in ((reach.pan_max, 1.0), (reach.pan_min, -1.0)):
        reading = Pose(pan=end + outwards * beyond, tilt=reach.tilt_max)
        assert apart(reach.moved(reading).pan, end) < 1e-9
        assert apart(reach.reach(*reading.as_tuple()).pan, end) < 1e-9


@given(limits(), POSES, POSES)
def test_the_pan_between_two_poses_leads_from_one_to_the_other(reach: PoseLimits, first: Pose, second: Pose) -> None:
    start, end = reach.reach(*first.as_tuple()), reach.reach(*second.as_tuple())
    pan = reach.pan_between(start, end)
    assert apart(reach.moved(start, pan).pan, end.pan) < 1e-9
    assert abs(pan) <= (180.0 if reach.full_circle else reach.pan_max - reach.pan_min)


def test_the_limit_at_half_a_turn_is_not_the_other_limit() -> None:
    half, edge = PoseLimits(pan_min=0.0, pan_max=180.0), Pose(pan=180.0, tilt=0.0)
    assert edge.pan == -180.0
    assert half.reach(180.0, 0.0, 1.0) == half.reach(-180.0, 0.0, 1.0) == edge
    assert half.moved(edge, 20.0) == edge
    assert half.moved(edge, -20.0).pan == 160.0
    assert PoseLimits(pan_min=-180.0, pan_max=0.0).moved(edge, 20.0).pan == -160.0
    assert PoseLimits(pan_min=-175.0, pan_max=175.0).moved(Pose(pan=170.0, tilt=0.0), 20.0).pan == 175.0


def test_pan_stops_where_the_camera_does() -> None:
    half = PoseLimits(pan_min=-90.0, pan_max=90.0)
    assert not half.full_circle
    assert half.reach(120.0, 0.0, 1.0).pan == 90.0
    assert PoseLimits().reach(190.0, 0.0, 1.0).pan == -170.0


@pytest.mark.parametrize(
    "wrong", [{"pan_min": 10.0, "pan_max": 10.0}, {"tilt_min": 5.0, "tilt_max": 0.0}, {"pan_max": 190.0}]
)
def test_limits_must_be_ordered(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PoseLimits(**wrong)
