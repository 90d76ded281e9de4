from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.renderer import FIELD_OF_VIEW, Renderer, field_of_view, focal_length
from shared.pose import Pose


def slow_reference(image: npt.NDArray[np.uint8], pose: Pose, width: int, height: int) -> npt.NDArray[np.float64]:
    """One pixel after the other, in double precision: rotate its ray, interpolate four neighbours."""
    rows, columns, _ = image.shape
    focal = width / 2 / math.tan(math.radians(60.0) / 2) * pose.zoom
    pan, tilt = math.radians(pose.pan), math.radians(pose.tilt)
    view = np.empty((height, width, 3))
    for j in range(height):
        for i in range(width):
            x, y, z = (i + 0.5 - width / 2) / focal, (height / 2 - j - 0.5) / focal, 1.0
            y, z = y * math.cos(tilt) + z * math.sin(tilt), z * math.cos(tilt) - y * math.sin(tilt)
            x, z = x * math.cos(pan) + z * math.sin(pan), z * math.cos(pan) - x * math.sin(pan)
            longitude, latitude = math.atan2(x, z), math.atan2(y, math.hypot(x, z))
            u = (longitude + math.pi) / (2 * math.pi) * columns - 0.5
            v = min(max((math.pi / 2 - latitude) / math.pi * rows - 0.5, 0.0), rows - 1.0)
            left, top = math.floor(u), math.floor(v)
            a, b = u - left, v - top
            below = min(top + 1, rows - 1)
            view[j, i] = (
                image[top, left % columns] * (1 - a) * (1 - b)
                + image[top, (left + 1) % columns] * a * (1 - b)
                + image[below, left % columns] * (1 - a) * b
                + image[below, (left + 1) % columns] * a * b
            )
    return view


def smooth(seed: int, width: int) -> npt.NDArray[np.uint8]:
    """Random colours, smooth enough that 1/256 of a pixel makes a difference of about one level."""
    coarse = np.random.default_rng(seed).integers(0, 256, (width // 8, width // 4, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, width // 2), Image.Resampling.BICUBIC))


# A small panorama keeps the renderer on the finest level, which is what the reference samples.
SMOOTH = smooth(0, 128)
RENDERER = Renderer(Panorama(SMOOTH))


@pytest.mark.parametrize(
    "pose",
    [
        (0, 0, 1), (37.3, 12.1, 1), (-180, 0, 1), (179.9, 0, 1), (-179.99, -20, 1.3), (0, 90, 1), (0, -90, 1),
        (123, 80, 1), (-60, -85, 2), (10, 45, 3), (179.5, 60, 2.2),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 17), (80, 60)])
def test_agrees_with_the_slow_reference(pose: tuple[float, float, float], width: int, height: int) -> None:
    where = Pose(pan=pose[0], tilt=pose[1], zoom=pose[2])
    difference = np.abs(RENDERER.render(where, width, height) - slow_reference(SMOOTH, where, width, height))
    assert difference.max() <= 2.0
    assert difference.mean() <= 0.5


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(1, 3))
def test_agrees_with_the_slow_reference_anywhere(pan: float, tilt: float, zoom: float) -> None:
    where = Pose(pan=pan, tilt=tilt, zoom=zoom)
    difference = np.abs(RENDERER.render(where, 24, 16) - slow_reference(SMOOTH, where, 24, 16))
    # At the very pole the longitude is undefined, so single pixels may differ there.
    assert np.quantile(difference, 0.98) <= 2.0


@pytest.mark.parametrize("name", ["city", "venice"])
def test_agrees_with_the_slow_reference_on_photographs(name: str, panorama: Callable[[str], Path]) -> None:
    scene = Panorama.load(panorama(name))
    where = Pose(pan=178.0, tilt=8.0, zoom=1.0)
    view = Renderer(scene).render(where, 128, 72)
    difference = np.abs(view - slow_reference(scene.image, where, 128, 72))
    # Photographs have sharp edges, where 1/256 of a pixel is worth up to a level more.
    assert difference.max() <= 4.0
    assert difference.mean() <= 0.5


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 179.99), st.floats(-40, 60), st.floats(1, 3), st.floats(-0.8, 0.8), st.floats(-0.8, 0.8))
def test_a_bright_dot_appears_where_the_pinhole_model_says(
    pan: float, tilt: float, zoom: float, right: float, up: float
) -> None:
    """The inverse way: choose a pixel, compute its direction in closed form, light that direction, find the dot."""
    width, height, columns = 64, 64, 1024
    focal = focal_length(width, zoom)
    x, y = right * width / 2 / focal, up * height / 2 / focal
    t = math.radians(tilt)
    azimuth = pan + math.degrees(math.atan2(x, math.cos(t) - y * math.sin(t)))
    elevation = math.degrees(math.asin((math.sin(t) + y * math.cos(t)) / math.sqrt(1 + x * x + y * y)))
    if abs(elevation) > 75:
        return  # a dot near a pole is a streak
    image = np.zeros((columns // 2, columns, 3), np.uint8)
    rows = np.arange(columns // 2)[:, None]
    turn = (np.arange(columns)[None, :] + 0.5) * 360 / columns - 180 - azimuth
    turn = (turn + 180) % 360 - 180
    rise = 90 - (rows + 0.5) * 360 / columns - elevation
    image[np.hypot(turn * math.cos(math.radians(elevation)), rise) < 1.5] = 255
    view = Renderer(Panorama(image)).render(Pose(pan=pan, tilt=tilt, zoom=zoom), width, height)[..., 0].astype(float)
    found = np.argwhere(view > 100)
    assert len(found), "the dot is not in the view"
    row, column = found.mean(axis=0)
    assert column == pytest.approx(width / 2 - 0.5 + right * width / 2, abs=1.0)
    assert row == pytest.approx(height / 2 - 0.5 - up * height / 2, abs=1.0)


def test_pan_grows_to_the_right_and_tilt_upwards() -> None:
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, 128 + 10 : 128 + 14] = (255, 0, 0)  # to the right of pan 0
    image[40:44, :] = (0, 255, 0)  # above the horizon
    view = Renderer(Panorama(image)).render(Pose(pan=0, tilt=0), 64, 64)
    assert view[..., 0].sum(axis=0).argmax() > 32
    assert view[..., 1].sum(axis=1).argmax() < 32


def test_neighbouring_views_meet_at_the_seam() -> None:
    for pan in (-180.0, 179.999):
        seam = RENDERER.render(Pose(pan=pan, tilt=0.0), 64, 32).astype(int)
        rolled = Renderer(Panorama(np.roll(SMOOTH, 64, axis=1))).render(Pose(pan=0.0, tilt=0.0), 64, 32)
        assert np.abs(seam - rolled).max() <= 2


def test_field_of_view_follows_the_tangent() -> None:
    assert field_of_view(1.0) == pytest.approx(FIELD_OF_VIEW)
    assert field_of_view(2.0) == pytest.approx(2 * math.degrees(math.atan(math.tan(math.radians(30.0)) / 2)))


def test_zooming_in_shows_the_middle() -> None:
    """A view at zoom 2 is the middle of the view at zoom 1 that is twice as large."""
    wide = RENDERER.render(Pose(pan=20.0, tilt=5.0, zoom=1.0), 128, 128)[32:96, 32:96].astype(int)
    close = RENDERER.render(Pose(pan=20.0, tilt=5.0, zoom=2.0), 64, 64)
    assert np.abs(wide - close).max() <= 2


def test_small_views_of_fine_detail_do_not_alias() -> None:
    """Stripes finer than the view's pixels blur into their mean instead of showing a pattern that is not there."""
    image = np.zeros((1024, 2048, 3), np.uint8)
    image[:, ::2] = 255
    view = Renderer(Panorama(image)).render(Pose(pan=3.0, tilt=0.0), 32, 32)
    assert np.ptp(view.astype(int)) <= 8
    assert view.mean() == pytest.approx(127.5, abs=3.0)


def test_a_view_in_blocks_is_the_view_in_one() -> None:
    pose = Pose(pan=-77.0, tilt=21.0, zoom=1.4)
    view = RENDERER.render(pose, 200, 100)
    assert np.abs(view - slow_reference(SMOOTH, pose, 200, 100)).max() <= 2.0


def test_material_is_interpolated_like_a_colour() -> None:
    image = np.concatenate([SMOOTH, SMOOTH[..., :1]], axis=2)
    view = Renderer(Panorama(image)).render_materials(Pose(pan=50.0, tilt=3.0), 48, 48)
    assert np.array_equal(view[..., 3], view[..., 0])


def test_the_ray_cache_is_bounded() -> None:
    renderer = Renderer(Panorama(SMOOTH))
    for step in range(60):
        renderer.render(Pose(pan=0.0, tilt=0.0, zoom=1.0 + step / 100.0), 320, 180)
    assert renderer._cached_pixels <= 2_000_000
    assert renderer._cached_pixels == len(renderer._rays) * 320 * 180
