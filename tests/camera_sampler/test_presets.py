from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from camera_sampler.policies import own_policy
from camera_sampler.policies.presets import Preset, Presets, load_presets
from camera_sampler.settings import SamplerSettings
from shared.errors import UserError
from shared.pose import Pose, PoseLimits

LIMITS = PoseLimits()
GATE, POND = Preset(name="gate", pan=170.0, tilt=-5.0, zoom=2.0, views=3), Preset(pan=-170.0, tilt=10.0)


def written(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def tour(policy: Presets, limits: PoseLimits, views: int) -> list[tuple[float, float, float]]:
    pose, poses = policy.begin(limits), []
    for _ in range(views):
        poses.append(pose.as_tuple())
        pose = policy.choose(pose, limits).apply(pose, limits)
    return poses


def test_visits_each_as_often_as_asked_and_starts_again() -> None:
    gate, pond = (170.0, -5.0, 2.0), (-170.0, 10.0, 1.0)
    found = tour(Presets((GATE, POND)), LIMITS, 9)
    assert found == [pytest.approx(pose) for pose in (gate, gate, gate, pond, gate, gate, gate, pond, gate)]


def test_goes_the_shorter_way_round() -> None:
    policy = Presets((GATE, POND))
    for _ in range(3):
        policy.begin(LIMITS)
    move = policy.choose(Pose(pan=170.0, tilt=-5.0, zoom=2.0), LIMITS)
    assert (move.name, move.pan, move.tilt, move.zoom) == ("presets", 20.0, 15.0, -1.0)


@given(
    st.lists(st.builds(Preset, pan=st.floats(-1e4, 1e4), tilt=st.floats(-90, 90), zoom=st.floats(1, 50)), min_size=1),
    st.sampled_from([LIMITS, PoseLimits(pan_min=-90.0, pan_max=100.0, tilt_min=0.0, tilt_max=1.0, zoom_max=1.0)]),
)
def test_every_pose_is_in_reach(presets: list[Preset], limits: PoseLimits) -> None:
    for pose in tour(Presets(tuple(presets)), limits, 2 * len(presets)):
        assert limits.reach(*pose).as_tuple() == pytest.approx(pose)


def test_says_once_what_is_out_of_reach() -> None:
    limits = PoseLimits(pan_min=-90.0, pan_max=90.0)
    with capture_logs() as logs:
        found = tour(Presets((GATE, Preset(pan=1.0, tilt=2.0))), limits, 12)
    assert found[0] == (90.0, -5.0, 2.0)
    assert [(entry["event"], entry["preset"]) for entry in logs] == [("preset out of reach", "gate")]


def test_the_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "p.json", {"presets": [{"pan": 350.0, "tilt": 1.0}, {"pan": 0, "tilt": 0, "views": 2}]})
    assert load_presets(path)[0].pan == -10.0
    policy = own_policy(SamplerSettings(policy="presets", presets=path))
    assert policy.name == "presets"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("not json", "the file"),
        ({"presets": []}, "presets: "),
        ({"presets": [{"pan": 1.0}]}, "presets.0.tilt"),
        ({"presets": [{"pan": 1.0, "tilt": 95.0}]}, "presets.0.tilt"),
        ({"presets": [{"pan": 1.0, "tilt": 5.0, "dwell": 3}]}, "presets.0.dwell"),
        ('{"presets": [{"pan": NaN, "tilt": 5.0}]}', "p.json"),
        ([{"pan": 1.0, "tilt": 5.0}], "p.json"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, document: object, words: str) -> None:
    path = written(tmp_path / "p.json", document)
    with pytest.raises(UserError, match="PTZ_PRESETS") as caught:
        load_presets(path)
    assert words in str(caught.value)
    assert "p.json" in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_presets(tmp_path / "nothing.json")


@pytest.mark.parametrize("settings", [{"policy": "presets"}, {"fallback_policy": "presets"}])
def test_the_policy_needs_its_file(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match="needs PTZ_PRESETS"):
        SamplerSettings.model_validate(settings)
