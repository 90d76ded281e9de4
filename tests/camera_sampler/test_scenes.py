from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from camera_sampler.simulation.daylight import Daylight
from camera_sampler.simulation.scenes import GeneratedScene, StillScene, open_scene
from shared.errors import UserError
from shared.pose import Pose

DAY = 2400.0
MIDNIGHT = 0.62 * DAY  # the clock starts in the morning


@pytest.fixture(scope="module")
def scene() -> GeneratedScene:
    return GeneratedScene(3, day_seconds=DAY, panorama_width=1024)


def test_the_seed_names_the_scene(scene: GeneratedScene) -> None:
    pose = Pose(pan=40.0, tilt=0.0)
    again = GeneratedScene(3, day_seconds=DAY, panorama_width=1024)
    other = GeneratedScene(4, day_seconds=DAY, panorama_width=1024)
    view = scene.render(pose, 64, 64, 55.5)
    assert view.shape == (64, 64, 3)
    assert view.dtype == np.uint8
    assert np.array_equal(view, again.render(pose, 64, 64, 55.5))
    assert np.abs(view.astype(int) - other.render(pose, 64, 64, 55.5)).mean() > 5.0


def test_every_direction_is_distinct_and_detailed(scene: GeneratedScene) -> None:
    """Without looking different everywhere, a scene teaches nothing about where one looks."""
    views = [
        scene.render(Pose(pan=pan, tilt=tilt), 64, 64, 0.0).astype(float)
        for pan in range(-180, 180, 30)
        for tilt in (-25, 0, 25, 50)
    ]
    assert min(view.std() for view in views) > 8.0
    for index, view in enumerate(views):
        nearest = min(np.abs(view - other).mean() for place, other in enumerate(views) if place != index)
        assert nearest > 6.0


def test_nights_are_dark_and_windows_are_lit(scene: GeneratedScene) -> None:
    pose = Pose(pan=0.0, tilt=2.0)
    day, night = (scene.render(pose, 128, 72, at).astype(float) for at in (DAY * 0.12, MIDNIGHT))
    assert night.mean() < 0.6 * day.mean()
    assert night.mean() > 15.0
    red, _, blue = (night[..., channel] for channel in range(3))
    assert ((red > 150) & (red > blue + 40)).sum() > 5


def test_a_day_later_the_light_is_the_same() -> None:
    daylight = Daylight(DAY)
    for at in np.linspace(0.0, DAY, 50):
        light, later = daylight.light(float(at)), daylight.light(float(at) + DAY)
        assert np.allclose(light.gain, later.gain, atol=1e-4)
        assert np.allclose(light.glow, later.glow, atol=0.1)


def test_the_light_changes_without_jumps() -> None:
    daylight = Daylight(DAY)
    gains = np.array([daylight.light(at).gain for at in np.linspace(0.0, DAY, 2000)])
    assert np.abs(np.diff(gains, axis=0)).max() < 0.02


def test_objects_move_along_the_road(scene: GeneratedScene) -> None:
    pose = Pose(pan=90.0, tilt=-14.0)
    frames = [scene.render(pose, 96, 64, float(at)).astype(int) for at in range(0, 60, 3)]
    changed = [np.abs(frame - frames[0]).max(axis=2) > 40 for frame in frames[1:]]
    assert sum(mask.any() for mask in changed) > 5
    assert max(mask.mean() for mask in changed) < 0.4  # a car, not the light


def test_the_sun_is_up_by_day_and_the_moon_by_night() -> None:
    daylight = Daylight(DAY)
    noon = 0.12 * DAY
    assert daylight.sun(noon)[1] > 0.5 > -0.5 > daylight.moon(noon)[1]
    assert daylight.moon(MIDNIGHT)[1] > 0.5


def test_the_sun_is_seen_where_it_stands() -> None:
    scene, daylight = GeneratedScene(3, day_seconds=DAY, panorama_width=1024), Daylight(DAY)
    azimuth, elevation = np.degrees(daylight.sun(0.0))
    view = scene.render(Pose(pan=azimuth, tilt=elevation), 64, 64, 0.0).astype(int)
    assert view[31:33, 31:33].min() > 215
    assert (view[31:33, 31:33, 0] > view[31:33, 31:33, 2]).all()


def test_the_map_is_the_whole_scene(scene: GeneratedScene) -> None:
    whole = scene.equirectangular(512)
    assert whole.shape == (256, 512, 3)
    assert whole.std() > 30.0


def test_a_photograph_is_the_same_at_every_moment(panorama: Callable[[str], Path]) -> None:
    still = open_scene(panorama("park"))
    assert isinstance(still, StillScene)
    pose = Pose(pan=-100.0, tilt=10.0)
    assert np.array_equal(still.render(pose, 64, 36, 0.0), still.render(pose, 64, 36, 1e6))
    assert still.equirectangular(256).shape == (128, 256, 3)


def test_no_panorama_means_the_generated_scene(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        open_scene(tmp_path / "missing.jpg")
