from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.actions import DEFAULT_ACTIONS, Action, ActionTable
from shared.errors import UserError
from shared.pose import Pose, PoseLimits

# PTZJEPA's table in its own words: pan and tilt triples times two, zoom as it is.
PTZJEPA = [
    (0, 0, 0),
    (-0.1, 0, 0), (0.1, 0, 0), (-0.1, 0.1, 0), (0.1, 0.1, 0), (-0.1, -0.1, 0), (0.1, -0.1, 0),
    (0, 0.1, 0), (0, -0.1, 0),
    (0, 0, 0.1), (0, 0, -0.1),
    (-1, 0, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 0.2), (0, 0, -0.2),
    (-5, 0, 0), (5, 0, 0), (0, 3, 0), (0, -3, 0),
]  # fmt: skip


def test_default_table_is_ptzjepas() -> None:
    assert len(DEFAULT_ACTIONS) == 21
    for ours, (pan, tilt, zoom) in zip(DEFAULT_ACTIONS.deltas(), PTZJEPA, strict=True):
        assert ours == pytest.approx((2 * pan, 2 * tilt, zoom))


@given(st.integers(0, 20), st.floats(-180, 180), st.floats(-30, 60), st.floats(1, 3))
def test_moves_land_within_the_limits(index: int, pan: float, tilt: float, zoom: float) -> None:
    limits, action = PoseLimits(), DEFAULT_ACTIONS[index]
    after = action.apply(Pose(pan=pan, tilt=tilt, zoom=zoom), limits)
    assert limits.tilt_min <= after.tilt <= limits.tilt_max
    assert 1.0 <= after.zoom <= limits.zoom_max
    turned = (after.pan - pan - action.pan + 180.0) % 360.0 - 180.0
    assert turned == pytest.approx(0.0, abs=1e-9)


@given(st.integers(0, 20), st.floats(-160, 160), st.floats(-15, 45), st.floats(1.3, 2.7))
def test_opposite_moves_lead_back_where_nothing_clamps(index: int, pan: float, tilt: float, zoom: float) -> None:
    limits, action = PoseLimits(), DEFAULT_ACTIONS[index]
    there = action.apply(Pose(pan=pan, tilt=tilt, zoom=zoom), limits)
    back = Action(name="back", pan=-action.pan, tilt=-action.tilt, zoom=-action.zoom).apply(there, limits)
    assert back.as_tuple() == pytest.approx((pan, tilt, zoom), abs=1e-9)


def test_pan_wraps_and_tilt_and_zoom_clamp() -> None:
    limits = PoseLimits()
    jump = DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("jump_right")]
    assert jump.apply(Pose(pan=175.0, tilt=0.0), limits).pan == pytest.approx(-175.0)
    up = DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("jump_up")]
    assert up.apply(Pose(pan=0.0, tilt=58.0), limits).tilt == 60.0
    out = DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("long_zoom_out")]
    assert out.apply(Pose(pan=0.0, tilt=0.0, zoom=1.1), limits).zoom == 1.0


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "actions.json"
    path.write_text(DEFAULT_ACTIONS.dump())
    assert ActionTable.load(path) == DEFAULT_ACTIONS
    assert ActionTable.load(path).digest == DEFAULT_ACTIONS.digest


def test_the_digest_names_the_table() -> None:
    other = ActionTable(actions=(*DEFAULT_ACTIONS.actions[:-1], Action(name="jump_down", tilt=-6.5)))
    swapped = ActionTable(actions=DEFAULT_ACTIONS.actions[::-1])
    assert len({DEFAULT_ACTIONS.digest, other.digest, swapped.digest}) == 3


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(KeyError):
        DEFAULT_ACTIONS.index("somersault")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("no json", "JSON"),
        ('{"actions": []}', "empty"),
        ('{"actions": [{"name": "a"}, {"name": "a"}]}', "share a name"),
        ('{"actions": [{"name": "a", "pan": "far"}]}', "pan"),
        ('{"actions": [{"name": "a", "speed": 1}]}', "speed"),
    ],
)
def test_bad_tables_are_the_users_errors(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "actions.json"
    path.write_text(text)
    with pytest.raises(UserError, match=word) as error:
        ActionTable.load(path)
    assert str(path) in str(error.value)


def test_a_missing_table_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        ActionTable.load(tmp_path / "nowhere.json")


def test_infinite_moves_are_refused() -> None:
    with pytest.raises(ValidationError):
        Action(name="off", pan=float("inf"))


def test_a_table_spans_what_is_no_larger_than_its_largest_move_on_any_axis() -> None:
    assert all(DEFAULT_ACTIONS.spans(action) for action in DEFAULT_ACTIONS.actions)
    assert DEFAULT_ACTIONS.spans(Action(name="free", pan=-10.0, tilt=6.0, zoom=0.2000001))
    for change in ({"pan": 10.1}, {"tilt": -6.1}, {"zoom": 0.3}):
        assert not DEFAULT_ACTIONS.spans(Action(name="free", **change))
    assert DEFAULT_ACTIONS.still() == DEFAULT_ACTIONS[0]
    assert ActionTable(actions=DEFAULT_ACTIONS.actions[1:]).still() is None
