"""Properties of the brands' units: what goes to a camera and comes back is the same place, inside its limits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_sampler.access import Settled
from camera_sampler.cameras import CameraError
from camera_sampler.cameras.axis import ZoomSteps, parse_limits
from camera_sampler.cameras.hanwha import from_camera, parse_ranges, to_camera
from camera_sampler.cameras.http import key_values
from camera_sampler.cameras.onvif_spaces import (
    DEGREES,
    GENERIC_PAN_TILT,
    GENERIC_ZOOM,
    Position,
    Spaces,
    Units,
    read_spaces,
    units,
)
from camera_sampler.safe_xml import parse_xml
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Pose, PoseLimits, wrap_pan

angles = st.floats(-1e4, 1e4)
tilts = st.floats(-90.0, 90.0)
zooms = st.floats(1.0, 40.0)
poses = st.builds(Pose, pan=angles, tilt=tilts, zoom=zooms)


@st.composite
def limits(draw: st.DrawFn) -> PoseLimits:
    pan = sorted((draw(st.integers(-180, 180)), draw(st.integers(-180, 180))))
    tilt = sorted((draw(st.integers(-90, 90)), draw(st.integers(-90, 90))))
    whole = draw(st.booleans()) or pan[0] == pan[1]
    return (
        PoseLimits(
            pan_min=-180.0 if whole else pan[0],
            pan_max=180.0 if whole else pan[1],
            tilt_min=tilt[0],
            tilt_max=tilt[1] if tilt[0] < tilt[1] else tilt[0] + 1.0 if tilt[0] < 90 else 90.0,
            zoom_max=draw(st.floats(1.0, 60.0)),
        )
        if tilt[0] < 90
        else PoseLimits()
    )


@given(poses)
def test_hanwha_there_and_back(pose: Pose) -> None:
    pan, tilt, zoom = to_camera(pose)
    assert 0.0 <= float(pan) < 360.0
    back = from_camera({"pan": pan, "tilt": tilt, "zoom": zoom})
    assert abs(wrap_pan(back.pan - pose.pan)) <= 0.005 + 1e-9
    assert abs(back.tilt - pose.tilt) <= 0.005 + 1e-9
    assert abs(back.zoom - pose.zoom) <= 0.05 + 1e-9


@given(st.floats(0.0, 360.0), tilts, zooms)
def test_hanwha_readings_are_canonical(pan: float, tilt: float, zoom: float) -> None:
    pose = from_camera({"pan": f"{pan:.2f}", "tilt": f"{tilt:.2f}", "zoom": f"{zoom:.1f}"})
    assert -180.0 <= pose.pan < 180.0
    assert abs(wrap_pan(pose.pan - pan)) <= 0.005 + 1e-9


@given(poses, st.floats(-360.0, 360.0), limits())
def test_a_move_lands_inside_the_limits(somewhere: Pose, delta: float, reach: PoseLimits) -> None:
    pose = reach.reach(*somewhere.as_tuple())
    wanted = Action(name="move", pan=delta, tilt=delta, zoom=delta).apply(pose, reach)
    assert reach.tilt_min <= wanted.tilt <= reach.tilt_max
    assert 1.0 <= wanted.zoom <= reach.zoom_max
    if reach.full_circle:
        assert abs(wrap_pan(wanted.pan - pose.pan - delta)) < 1e-6
    else:
        # The limit at half a turn is kept as −180°; it is the upper one unless −180° is in reach itself.
        stood = 180.0 if pose.pan < reach.pan_min else pose.pan
        assert abs(wrap_pan(wanted.pan - min(max(stood + delta, reach.pan_min), reach.pan_max))) < 1e-9


@given(st.floats(1.0, 100.0), st.floats(1.5, 100.0), st.integers(1, 50), st.integers(100, 20_000))
def test_axis_zoom_there_and_back(zoom: float, magnification: float, low: int, high: int) -> None:
    scale = ZoomSteps(low, high, magnification)
    steps = scale.to_steps(zoom)
    assert low <= steps <= high
    back = scale.to_zoom(steps)
    assert 1.0 <= back <= magnification + 1e-9
    assert abs(back - min(zoom, magnification)) <= 0.5 * (magnification - 1.0) / (high - low) + 1e-9


@given(st.integers(1, 9999))
def test_axis_steps_survive(steps: int) -> None:
    scale = ZoomSteps(1.0, 9999.0, 32.0)
    assert scale.to_steps(scale.to_zoom(steps)) == steps


@given(st.floats(-20_000.0, 20_000.0), st.floats(1.0, 100.0))
def test_axis_steps_outside_the_range_count_as_its_ends(steps: float, magnification: float) -> None:
    assert 1.0 <= ZoomSteps(1.0, 9999.0, magnification).to_zoom(steps) <= magnification + 1e-9


def onvif_units(reach: PoseLimits, *, degrees: bool, low: float = -1.0, high: float = 1.0) -> Units:
    pan, tilt = (reach.pan_min, reach.pan_max), (reach.tilt_min, reach.tilt_max)
    spaces = {GENERIC_PAN_TILT: ((low, high), (low, high))} | ({DEGREES: (pan, tilt)} if degrees else {})
    settled = Settled() if degrees else Settled(**reach.model_dump())
    return units(Spaces(spaces, {GENERIC_ZOOM: (0.0, high)}), Spaces(), settled, max(reach.zoom_max, 1.5))


@given(poses, limits(), st.booleans(), st.floats(-100.0, -0.5), st.floats(0.5, 100.0))
def test_onvif_there_and_back(pose: Pose, reach: PoseLimits, degrees: bool, low: float, high: float) -> None:
    scales = onvif_units(reach, degrees=degrees, low=low, high=high)
    wanted = scales.limits.reach(*pose.as_tuple())
    position = scales.to_camera(wanted)
    assert position.pan_tilt["space"] == (DEGREES if degrees else GENERIC_PAN_TILT)
    back = scales.from_camera(position)
    # Six digits of a range as narrow as 0.5.
    assert abs(wrap_pan(back.pan - wanted.pan)) <= 5e-4
    assert abs(back.tilt - wanted.tilt) <= 5e-4
    assert abs(back.zoom - wanted.zoom) <= 1e-4


@given(poses, limits(), st.booleans())
def test_onvif_positions_stay_inside_the_cameras_ranges(pose: Pose, reach: PoseLimits, degrees: bool) -> None:
    scales = onvif_units(reach, degrees=degrees)
    position = scales.to_camera(scales.limits.reach(*pose.as_tuple()))
    x, y = float(position.pan_tilt["x"]), float(position.pan_tilt["y"])
    pan, tilt = ((reach.pan_min, reach.pan_max), (reach.tilt_min, reach.tilt_max)) if degrees else ((-1, 1), (-1, 1))
    assert pan[0] - 1e-6 <= x <= pan[1] + 1e-6
    assert tilt[0] - 1e-6 <= y <= tilt[1] + 1e-6
    assert position.zoom is not None
    assert 0.0 <= float(position.zoom["x"]) <= 1.0


@given(st.floats(0.0, 360.0), tilts)
def test_onvif_degrees_may_count_from_0_to_360(pan: float, tilt: float) -> None:
    scales = units(Spaces({DEGREES: ((0.0, 360.0), (-90.0, 90.0))}), Spaces(), Settled(), None)
    assert scales.limits.full_circle
    pose = scales.from_camera(Position({"x": str(pan), "y": str(tilt), "space": DEGREES}, None))
    assert abs(wrap_pan(pose.pan - pan)) < 1e-9
    x = float(scales.to_camera(pose).pan_tilt["x"])
    assert 0.0 <= x <= 360.0
    assert abs(wrap_pan(x - pan)) < 1e-5


@given(
    st.dictionaries(st.sampled_from(["x", "y", "space"]), st.text(max_size=8) | st.just(DEGREES)),
    st.none() | st.dictionaries(st.sampled_from(["x", "space"]), st.text(max_size=8)),
)
def test_no_onvif_position_surprises(pan_tilt: dict[str, str], zoom: dict[str, str] | None) -> None:
    scales = onvif_units(PoseLimits(), degrees=True)
    try:
        pose = scales.from_camera(Position(pan_tilt, zoom))
    except CameraError:
        return
    assert 1.0 <= pose.zoom <= PoseLimits().zoom_max


@pytest.mark.parametrize(("low", "high"), [("0", "0"), ("1", "-1"), ("", "1"), ("-INF", "INF"), ("NaN", "1")])
def test_onvif_ranges_of_no_use_count_as_none(low: str, high: str) -> None:
    ends = f"<Min>{low}</Min><Max>{high}</Max>"
    node = parse_xml(
        f"<n><AbsoluteZoomPositionSpace><URI>{GENERIC_ZOOM}</URI><XRange>{ends}</XRange></AbsoluteZoomPositionSpace></n>"
    )
    assert read_spaces(node) == Spaces()


@pytest.mark.parametrize(
    "text", ['<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "<!DOCTYPE a><a/>", "<a>&b;</a>", "<a", "", "\0"]
)
def test_entities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        parse_xml(text)


@given(st.text())
def test_xml_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_xml(text).tag


@given(limits(), limits())
def test_settled_limits_only_narrow(told: PoseLimits, wanted: PoseLimits) -> None:
    settled = Settled(**{name: getattr(wanted, name) for name in PoseLimits.model_fields})
    try:
        both = settled.apply(told)
    except UserError:
        assert (
            wanted.pan_min >= told.pan_max
            or told.pan_min >= wanted.pan_max
            or (wanted.tilt_min >= told.tilt_max or told.tilt_min >= wanted.tilt_max)
        )
        return
    assert both.pan_min >= told.pan_min
    assert both.pan_max <= told.pan_max
    assert both.tilt_min >= told.tilt_min
    assert both.tilt_max <= told.tilt_max
    assert both.zoom_max <= told.zoom_max


@given(st.dictionaries(st.sampled_from(["pan", "tilt", "zoom", "focus"]), st.text(max_size=8)))
def test_no_answer_surprises_the_parser(values: dict[str, str]) -> None:
    try:
        pose = from_camera(values)
    except CameraError:
        return
    assert pose.zoom >= 1.0


@given(st.permutations(["Pan=1.5", "Tilt=-2", "Zoom=3", "ZoomPulse=200"]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_the_order_of_lines_does_not_matter(lines: list[str], end: str) -> None:
    assert from_camera(key_values(end.join(lines) + end)) == Pose(pan=1.5, tilt=-2.0, zoom=3.0)


def test_a_documented_axis_answer() -> None:
    answer = (
        "MinPan=-170\r\nMaxPan=170\r\nMinTilt=-20\r\nMaxTilt=90\r\nMinZoom=1\r\nMaxZoom=9999\r\nMinIris=1\r\n"
        "MaxIris=9999\r\nMinFieldAngle=22\r\nMaxFieldAngle=623\r\n"
    )
    reach = parse_limits(key_values(answer), None)
    assert (reach.limits.pan_min, reach.limits.pan_max) == (-170.0, 170.0)
    assert (reach.limits.tilt_min, reach.limits.tilt_max) == (-20.0, 90.0)
    assert reach.limits.zoom_max == pytest.approx(31.5, abs=0.1)
    assert parse_limits({}, None).limits == PoseLimits(tilt_min=-90.0, tilt_max=90.0, zoom_max=32.0)


@pytest.mark.parametrize(
    "text", ["", "<cgis", "<cgis/>", '<!DOCTYPE x [<!ENTITY a "b">]><cgis/>', "NG\r\nError Code: 608"]
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_ranges(text)
    assert caught.value.kind == "unparsable"
