"""The scene with zones, the names of arms, and a tiny examination from end to end through the real command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.arms import arms_of, parse_mix
from ptzjepa.agent.material import Transitions
from ptzjepa.agent.plan import Plan
from ptzjepa.agent.probes import clear_of_tv
from ptzjepa.agent.protocol import LIMITS, MOVES, PLACES, VIEW, ZOOM, Camera, pose_array
from ptzjepa.agent.zoned import ZonedScene
from ptzjepa.cli import main
from shared.errors import UserError
from shared.pose import Pose

ONSET = 50


@pytest.fixture(scope="module")
def picture() -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((512, 256), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def scene(picture: npt.NDArray[np.uint8]) -> ZonedScene:
    return ZonedScene(picture, ZoneLayout.drawn(1), onset=ONSET, seed=1)


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    error: str


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ptzjepa", "agent", "examine", *arguments])
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("MPLBACKEND", "agg")
        return Said(main(), *capsys.readouterr())

    return run


def view(scene: ZonedScene, zone: Zone, frame: int) -> npt.NDArray[np.uint8]:
    return scene.render(Pose(pan=scene.layout.middle(zone), tilt=5.0, zoom=ZOOM), VIEW, VIEW, float(frame))


def test_each_zone_shows_what_it_is_for(scene: ZonedScene) -> None:
    contrast = {zone: float(view(scene, zone, 0).std()) for zone in (Zone.BORING, Zone.HARD, Zone.NEW)}
    assert contrast[Zone.HARD] > 4.0 * contrast[Zone.BORING]
    assert contrast[Zone.HARD] > 4.0 * contrast[Zone.NEW]
    assert float(view(scene, Zone.NEW, ONSET).std()) > 4.0 * contrast[Zone.BORING], "the new zone is hard, too"
    assert (view(scene, Zone.NEW, 0) == view(scene, Zone.NEW, ONSET - 1)).all()
    for zone in (Zone.BORING, Zone.HARD):
        assert (view(scene, zone, 0) == view(scene, zone, ONSET + 9)).all(), "still"
    first, second = view(scene, Zone.TV, 7), view(scene, Zone.TV, 8)
    assert float(np.abs(first.astype(int) - second).mean()) > 20.0, "another picture in every frame"
    assert (first == view(scene, Zone.TV, 7)).all(), "and always the same one in the same frame"
    # Blocks, not grains: most neighbouring pixels are alike.
    inside = first[8:24, 8:24].astype(int)
    assert float((np.abs(np.diff(inside, axis=1)).max(axis=2) == 0).mean()) > 0.6


@pytest.mark.parametrize("zone", [Zone.HARD, Zone.NEW])
def test_detail_begins_without_a_border(scene: ZonedScene, zone: Zone) -> None:
    """Columns half a degree apart differ no more at a zone's borders than they do inside."""
    drawn = scene.equirectangular(720)[120:240].astype(float)
    steps = np.abs(drawn - np.roll(drawn, 1, axis=1)).mean(axis=(0, 2))
    begin, end = (round((edge + 180.0) * 2.0) % 720 for edge in scene.layout.edges(zone))
    inside = [steps[(begin + degrees * 2) % 720] for degrees in range(15, 30)]
    for border in (begin, end):
        assert max(steps[(border + aside) % 720] for aside in (-1, 0, 1)) < np.mean(inside)


def test_poses_that_show_some_of_the_tv_are_told_from_those_that_show_none(scene: ZonedScene) -> None:
    """The tilt that widens a view most is among them: what is called clear shows the same in every frame."""
    poses = [Pose(pan=pan - 180.0, tilt=tilt, zoom=ZOOM) for pan in range(0, 360, 3) for tilt in (-30.0, 0.0, 30.0)]
    where = torch.from_numpy(pose_array(poses))
    nothing = torch.zeros(len(poses), 1)
    clear = clear_of_tv(scene.layout, Transitions(nothing, where, nothing, where, nothing))
    changes = [
        bool((scene.render(pose, VIEW, VIEW, ONSET + 1.0) != scene.render(pose, VIEW, VIEW, ONSET + 2.0)).any())
        for pose in poses
    ]
    assert not any(change for change, told in zip(changes, clear.tolist(), strict=True) if told)
    assert float(clear.float().mean()) > 0.7


def test_what_is_drawn_for_people_has_the_zones_where_they_are(scene: ZonedScene) -> None:
    drawn = scene.equirectangular(720).astype(float)
    row = drawn[170:190].std(axis=(0, 2))
    zones = scene.layout.zone_at((np.arange(720) + 0.5) / 2.0 - 180.0)
    assert row[zones == Zone.TV].mean() > 3.0 * row[zones == Zone.BORING].mean()


def test_the_camera_stays_near_its_places_and_within_its_limits() -> None:
    camera, generator = Camera(4), np.random.default_rng(0)
    places = np.array(PLACES)
    for _ in range(300):
        pose = camera.move(MOVES[int(generator.integers(len(MOVES)))])
        assert LIMITS.tilt_min <= pose.tilt <= LIMITS.tilt_max
        away = np.abs((places[:, 0] - pose.pan + 180.0) % 360.0 - 180.0), np.abs(places[:, 1] - pose.tilt)
        assert (np.maximum(*away)).min() <= 1.0 + 1e-6


def test_arms_are_every_learner_with_every_reward_and_the_floor_and_the_oracle_always() -> None:
    arms = arms_of(["actor_critic", "raster", "ppo+error"], ["disagreement", "disagreement+0.3*staleness"])
    names = [arm.name for arm in arms]
    assert names == [
        "actor_critic+disagreement", "actor_critic+disagreement+0.3*staleness", "raster", "ppo+error", "random",
        "oracle",
    ]  # fmt: skip
    assert [arm.surprise for arm in arms] == ["disagreement", "disagreement", *["error"] * 4]
    assert parse_mix("gradient_sign+2*novelty") == {"gradient_sign": 1.0, "novelty": 2.0}


@pytest.mark.parametrize(
    ("agents", "rewards", "said"),
    [
        ("clever", "error", "no such agent"),
        ("actor_critic", "fame", "no reward 'fame'"),
        ("actor_critic", "x*error", "'x' is no weight"),
        ("actor_critic", "error+progress", "one kind of surprise"),
        ("actor_critic", "error+2*error", "twice"),
        ("actor_critic", "", "give some with --rewards"),
        ("raster+error", "", "learns nothing"),
    ],
)
def test_unknown_arms_are_refused_in_a_line(agents: str, rewards: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("*", r"\*")):
        arms_of([agents], [rewards] if rewards else [])


def test_wrong_input_is_refused_before_anything_is_made(tmp_path: Path, examine: Callable[..., Said]) -> None:
    for arguments, word in (
        (["--frames", "10", "--json", str(tmp_path / "a.json")], "--frames 10"),
        (["--json", str(tmp_path / "a.txt")], "must end in .json"),
        (["--panorama", str(tmp_path / "none.jpg"), "--json", str(tmp_path / "a.json")], "none.jpg"),
    ):
        said = examine(*arguments)
        assert said.code == 2, said
        assert said.error.startswith("error: ")
        assert word in said.error
        assert len(said.error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(1800)
def test_a_tiny_examination_from_end_to_end(
    tmp_path: Path, picture: npt.NDArray[np.uint8], examine: Callable[..., Said]
) -> None:
    panorama, result = tmp_path / "blots.png", tmp_path / "exam.json"
    Image.fromarray(picture).save(panorama)
    asked = ["--agents", "actor_critic", "--rewards", "disagreement", "--panorama", str(panorama), "--seeds", "1"]
    asked += ["--frames", "300", "--processes", "2", "--json", str(result)]
    said = examine(*asked)
    assert said.code == 0, said.error
    found: dict[str, Any] = json.loads(result.read_text())
    assert set(found["arms"]) == {"actor_critic+disagreement", "random", "oracle"}
    for name in ("attraction", "tv", "frames_ratio", "coverage", "calibration", "copy_last_1"):
        mark = found["arms"]["actor_critic+disagreement"][name]
        assert mark["low"] <= mark["mean"] <= mark["high"], name
    assert found["arms"]["random"]["frames_ratio"]["mean"] == pytest.approx(1.0)
    assert found["arms"]["oracle"]["attraction"]["mean"] > 1.5
    assert found["arms"]["random"]["calibration"] is None
    assert -1.0 <= found["control"]["mean"] <= 1.0
    assert set(found["explained"]["zones"]) == {"boring", "hard", "new"}
    folder = tmp_path / "exam"
    for name in ("where.png", "attraction.png"):
        with Image.open(folder / name) as drawn:
            assert drawn.width > 500
    assert "| random |" in (folder / "table.md").read_text()
    assert "| oracle |" in said.out

    # Every arm of a seed had the same camera, the same first walk, and as many updates of the world model.
    cells = {cell.arm.name: Plan.load(folder).result_of(cell) for cell in Plan.load(folder).cells()}
    known = [cell for cell in cells.values() if cell is not None]
    assert len(known) == 3
    assert len({cell["model_updates"] for cell in known}) == 1
    firsts = [cell["poses"][: found["protocol"]["warm_up"]] for cell in known]
    assert firsts[0] == firsts[1] == firsts[2]

    # Half a cell is lost with a kill, and nothing else: what is whole is not sat again.
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}
    broken = next(path for path in before if path.name.startswith("oracle"))
    broken.write_text(broken.read_text()[:-20])
    assert examine(*asked).code == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}
    assert {path for path in after if after[path] != before[path]} == {broken}
    assert json.loads(result.read_text())["arms"] == found["arms"], "the same question has the same answer"
