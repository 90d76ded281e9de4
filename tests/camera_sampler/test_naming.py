from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_sampler.naming import (
    from_microseconds,
    is_own_name,
    own_name,
    ptzjepa_name,
    read_ptzjepa_name,
    taken_microseconds,
    to_microseconds,
)
from shared.pose import Pose

poses = st.builds(
    Pose, pan=st.floats(-180.0, 180.0), tilt=st.floats(-90.0, 90.0), zoom=st.floats(1.0, 100.0, allow_subnormal=False)
)
moments = st.datetimes(
    min_value=datetime(1971, 1, 1), max_value=datetime(9000, 1, 1),  # noqa: DTZ001 - hypothesis wants them so
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9, minutes=30))]),
)  # fmt: skip


@given(poses, moments)
def test_a_name_of_ptzjepas_reads_back_as_the_very_same(pose: Pose, moment: datetime) -> None:
    name = ptzjepa_name(pose, moment)
    label = read_ptzjepa_name(name)
    assert label is not None
    assert Pose(pan=label.pan, tilt=label.tilt, zoom=label.zoom) == pose
    assert from_microseconds(label.microseconds) == moment
    assert taken_microseconds(name) == label.microseconds
    assert len(name) < 128
    assert "/" not in name


@given(poses, moments)
def test_ptzjepas_own_reader_understands_the_name(pose: Pose, moment: datetime) -> None:
    """As its dataset does: cut at the first underscore, split at commas, parse the time, UTC."""
    position, _, time = ptzjepa_name(pose, moment).removesuffix(".jpg").partition("_")
    assert tuple(map(float, position.split(","))) == pose.as_tuple()
    assert datetime.strptime(time, "%Y-%m-%d_%H:%M:%S.%f").replace(tzinfo=UTC) == moment


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("99.99,-92.39,232.0_2024-06-21_04:51:47.291323.jpg", (99.99, -92.39, 232.0, 291_323)),
        ("99.99,-2.39,232.0 2024-06-21 04:51:47.291323.jpg", (99.99, -2.39, 232.0, 291_323)),
        ("359.97,0.0,1.0_2024-06-21_04:51:47.jpg", (359.97, 0.0, 1.0, 0)),
        ("-0.0,1e-05,1.0 2024-06-21_04:51:47.jpg", (-0.0, 1e-05, 1.0, 0)),
        ("178,-67,163_2024-06-21_04:51:47.5.JPG", (178.0, -67.0, 163.0, 500_000)),
    ],
)
def test_every_form_that_ptzjepa_wrote(name: str, expected: tuple[float, float, float, int]) -> None:
    label = read_ptzjepa_name(name)
    assert label is not None
    assert label[:3] == expected[:3]
    when = from_microseconds(label.microseconds)
    assert when == datetime(2024, 6, 21, 4, 51, 47, expected[3], tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        "2024-06-21_04:51:47.291323.jpg",
        "1.0,2.0_2024-06-21_04:51:47.291323.jpg",
        "nan,2.0,1.0_2024-06-21_04:51:47.291323.jpg",
        "1.0,2.0,1.0_2024-02-31_04:51:47.291323.jpg",
        "1.0,2.0,1.0_2024-06-21_24:51:47.291323.jpg",
        "1.0,2.0,1.0_2024-06-21_04:51:47.291323.jpg.json",
        "x1.0,2.0,1.0_2024-06-21_04:51:47.291323.jpg",
        "1.0,2.0,1.0_2024-06-21_04:51:47.jpg\n",
        "١.0,2.0,1.0_2024-06-21_04:51:47.jpg",
        "",
    ],
)
def test_what_is_no_such_name(name: str) -> None:
    assert read_ptzjepa_name(name) is None
    assert taken_microseconds(name) is None


@given(st.text(max_size=60))
def test_no_name_surprises_the_reader(name: str) -> None:
    assert read_ptzjepa_name(name) is None or "," in name


@given(st.lists(moments, min_size=2, max_size=6, unique_by=to_microseconds), st.uuids())
def test_our_own_names_sort_by_time_and_tell_it(found: list[datetime], view: object) -> None:
    view_id = str(view).replace("-", "")
    names = [own_name(view_id, moment) for moment in sorted(found)]
    assert names == sorted(names)
    assert all(is_own_name(name) for name in names)
    assert [taken_microseconds(name) for name in names] == [to_microseconds(moment) for moment in sorted(found)]
    assert taken_microseconds(names[0].replace("Z-", "Z+")) is None
