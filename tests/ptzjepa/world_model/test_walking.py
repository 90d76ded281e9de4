"""Poses, moves and scenes that training and evaluation see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_sampler.simulation.scenes import open_scene
from ptzjepa.world_model import walking
from ptzjepa.world_model.evaluate import split_scenes
from ptzjepa.world_model.fresh_walks import FreshWalks
from ptzjepa.world_model.scenes import Rendered, Sizes, Source, render
from world_model_trainer.evaluation.angles import difference
from world_model_trainer.evaluation.warp import warp

GENERATED = Source(None)
LIMITS = walking.LIMITS


@given(st.integers(0, 10_000))
def test_walks_stay_within_reach_and_actions_are_what_came_of_them(seed: int) -> None:
    poses, actions = walking.walk(np.random.default_rng(seed), 3, 20)
    assert poses[..., 0].min() >= LIMITS.pan_min
    assert poses[..., 0].max() <= LIMITS.pan_max
    assert poses[..., 1].min() >= LIMITS.tilt_min
    assert poses[..., 1].max() <= LIMITS.tilt_max
    assert poses[..., 2].min() >= 1.0
    assert poses[..., 2].max() <= LIMITS.zoom_max
    assert np.allclose(poses[..., 2] * 10.0, np.round(poses[..., 2] * 10.0), atol=1e-4), "tenths, as cameras report it"
    here, there = torch.from_numpy(poses[:, :-1]), torch.from_numpy(poses[:, 1:])
    assert np.allclose(difference(here, there).numpy(), actions, atol=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_no_pose_to_fit_at_lies_in_a_cell_that_is_held_out(seed: int) -> None:
    cells, generator = walking.PoseCells(seed), np.random.default_rng(seed)
    fit, held_out = (cells.draw(generator, 500, held_out=which) for which in (False, True))
    assert len(fit) == len(held_out) == 500
    degrees = walking.CELL_DEGREES
    names = [{(int(pan // degrees), int(tilt // degrees)) for pan, tilt, _ in poses} for poses in (fit, held_out)]
    assert not names[0] & names[1]
    share = cells.held_out(walking.poses_anywhere(generator, 5000)).mean()
    assert share == pytest.approx(walking.HELD_OUT_SHARE, abs=0.03)


def test_moves_take_as_long_as_the_slowest_axis_and_settling() -> None:
    actions = np.array([[[60.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    seconds = walking.passing(np.array([5.0]), actions)[0]
    settle = seconds[2] - seconds[1]
    assert seconds[0] == 5.0
    assert settle > 0.0
    assert seconds[1] - seconds[0] > settle


def test_the_warp_shows_what_the_turned_camera_sees() -> None:
    scene, generator = open_scene(None), np.random.default_rng(0)
    poses = walking.poses_anywhere(generator, 24)
    moved = walking.reachable(poses + generator.uniform(-1.0, 1.0, (24, 3)) * np.array([12.0, 8.0, 0.3]))
    seconds = np.full(24, 100.0)
    before, after = render(scene, poses, seconds, 64), render(scene, moved, seconds, 64)
    here, there = torch.from_numpy(poses), torch.from_numpy(moved)
    same, share = warp(before, here, here, 60.0)
    assert torch.equal(same, before)
    assert share.tolist() == [1.0] * 24
    shown, share = warp(before, here, there, 60.0)
    _, covered = warp(torch.full_like(before, 255), here, there, 60.0)
    assert torch.equal(share, covered)
    wide = share > 0.8
    assert int(wide.sum()) >= 6
    off, stood = ((each[wide].float() - after[wide].float()).abs().mean() for each in (shown, before))
    assert off < 0.35 * stood, "and a mirrored or transposed warp would be worse than none"


def test_the_warp_covers_half_a_view_after_half_a_view_and_nothing_behind() -> None:
    image, here = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.tensor([[0.0, 0.0, 1.0]])
    halfway = warp(image, here, torch.tensor([[30.0, 0.0, 1.0]]), 60.0)[1].item()
    assert halfway == pytest.approx(0.5, abs=0.12)
    assert warp(image, here, torch.tensor([[180.0, 0.0, 1.0]]), 60.0)[1].item() == 0.0
    assert warp(image, here, torch.tensor([[0.0, 0.0, 2.0]]), 60.0)[1].item() == 1.0
    assert warp(image, torch.tensor([[0.0, 0.0, 2.0]]), here, 60.0)[1].item() == pytest.approx(0.25, abs=0.03)


def test_walks_are_rendered_again_as_they_were() -> None:
    def buffer() -> FreshWalks:
        walks = FreshWalks([GENERATED], 16, 7, cameras=2)
        walks.capacity = 6
        return walks

    straight = buffer()
    straight.fill(0, lambda: False)
    while straight.rendered < 9:
        straight.refresh()
    again = buffer()
    again.fill(9, lambda: False)
    assert again.rendered == straight.rendered == 9
    assert again.walks == 6
    drawn = [each.sample(np.random.default_rng(1), 12, 4) for each in (straight, again)]
    for name in ("images", "poses", "actions"):
        assert torch.equal(getattr(drawn[0], name), getattr(drawn[1], name))
    assert torch.allclose(difference(drawn[0].poses[:, :-1], drawn[0].poses[:, 1:]), drawn[0].actions, atol=1e-4)


def test_a_stop_ends_rendering() -> None:
    walks = FreshWalks([GENERATED], 16, 7)
    walks.fill(0, lambda: True)
    assert walks.rendered == 0


def test_a_changing_place_has_day_and_night_and_the_look_up_only_knows_the_past() -> None:
    sizes = Sizes(fit=20, held_out=10, walks=4, moves=4, earlier=42, circles=1, nights=5)
    place = Rendered(GENERATED, 16, 0, sizes).place()
    assert place.kind == "changing"
    assert place.day_and_night is not None
    noon, midnight = place.day_and_night.day_held_out, place.day_and_night.night
    assert torch.equal(noon.poses, midnight.poses)
    assert noon.images.float().mean() > 1.5 * midnight.images.float().mean()
    earlier = list(place.earlier)
    assert sum(map(len, earlier)) == 42
    assert max(each.seconds.max() for each in earlier) < place.walks.seconds.min()
    assert place.hard is not None
    assert place.hard.shape == (4, 3, 3, 16, 16)


def test_what_the_model_saw_only_ever_trains_the_head() -> None:
    scenes = [Source(Path(f"{name}.jpg")) for name in "abcdefghij"]
    for scene in scenes:
        scene.__dict__["digest"] = scene.name
    fit, unseen = split_scenes(scenes, {"b", "j"}, 3)
    assert {"b", "j"} <= {scene.name for scene in fit}
    assert len(fit) == 6
    assert not {scene.name for scene in fit} & {scene.name for scene in unseen}
    fit, unseen = split_scenes(scenes, set("abcdefgh"), 3)
    assert {scene.name for scene in unseen} == {"i", "j"}


def test_a_real_panorama_is_a_static_place(panorama: Callable[[str], Path]) -> None:
    place = Rendered(Source(panorama("workshop")), 32, 0, Sizes().quick()).place()
    assert place.kind == "static"
    assert place.day_and_night is None
    assert place.fit.images.float().std() > 20.0
