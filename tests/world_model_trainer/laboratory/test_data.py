"""The dots as defined: where they begin, how they move, what is added to them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import UserError
from world_model_trainer.laboratory.moving_dots.backgrounds import Backgrounds, from_folder, textures
from world_model_trainer.laboratory.moving_dots.data import (
    ACTION_SCALE,
    CONCENTRATION,
    MAX_STEP,
    SIDE,
    DotsConfig,
    MovingDots,
    heading_quantiles,
)

CLEAN = DotsConfig(normalize=False)


def test_a_dot_is_the_gaussian_of_the_definition() -> None:
    batch = MovingDots(CLEAN, 0).draw(3)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for trajectory in range(3):
        for frame in (0, 7, 16):
            x, y = batch.locations[trajectory, frame, 0].double()
            expected = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.3**2)) / (2 * math.pi * 1.3**2)
            torch.testing.assert_close(batch.states[trajectory, frame, 0].double(), expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("structured", [False, True])
def test_three_dots_are_a_channel_each_or_their_sum(channels: int, structured: bool) -> None:
    """Fixed noise cancels out between frames, and what is left is the difference of the dots' Gaussians."""
    config = DotsConfig(dots=3, channels=channels, static_noise=2.0, structured_noise=structured, normalize=False)  # type: ignore[arg-type]
    batch = MovingDots(config, 3, backgrounds=textures(20)).draw(4)
    pixels = torch.arange(SIDE, dtype=torch.float64)
    bells = torch.exp(-((pixels - batch.locations.double().unsqueeze(-1)) ** 2) / (2 * 1.3**2))
    dots = bells[:, :, :, 1].unsqueeze(-1) * bells[:, :, :, 0].unsqueeze(-2) / (2 * math.pi * 1.3**2)
    shown = dots if channels == 3 else dots.sum(dim=2, keepdim=True)
    noise = (batch.states.double() - shown) / config.peak
    torch.testing.assert_close(noise, noise[:, :1].expand_as(noise), atol=1e-5, rtol=0)
    together = 3 // channels
    assert -1e-4 <= float(noise.min()) < 0.6
    assert 1.5 * together < float(noise.max()) <= 2.0 * together + 1e-4
    assert float((noise[0] - noise[1]).abs().mean()) > 0.2
    if channels == 3:
        assert float((noise[:, :, 0] - noise[:, :, 1]).abs().mean()) > 0.2, "each has its own"


def test_noise_of_three_dots_in_one_picture_adds_up() -> None:
    """Each dot brings an overlay: the mean is three times one's, and so is the variance."""
    one, three = (
        MovingDots(DotsConfig(dots=dots, noise=4.0, normalize=False), 0).draw(40).states / CLEAN.peak for dots in (1, 3)
    )
    assert float(three.mean() / one.mean()) == pytest.approx(3.0, abs=0.05)
    assert float(three.var() / one.var()) == pytest.approx(3.0, abs=0.1)


@given(seed=st.integers(0, 2**31), dots=st.sampled_from([1, 3]), steps=st.integers(2, 20))
@settings(max_examples=20, deadline=None)
def test_dots_follow_their_actions_and_stop_at_the_box(seed: int, dots: int, steps: int) -> None:
    batch = MovingDots(DotsConfig(dots=dots, steps=steps, normalize=False), seed).draw(4)
    low, high = 2.6, SIDE - 1 - 2.6
    assert batch.locations.shape == (4, steps, dots, 2)
    assert float(batch.locations.min()) >= low - 1e-4
    assert float(batch.locations.max()) <= high + 1e-4
    moved = (batch.locations[:, :-1] + batch.actions * ACTION_SCALE).clamp(low, high)
    torch.testing.assert_close(batch.locations[:, 1:], moved, atol=1e-4, rtol=0)
    assert float(batch.actions.norm(dim=-1).max()) * ACTION_SCALE <= MAX_STEP + 1e-4
    if dots == 3:
        assert bool((batch.actions[:, :, 2] == 0).all())
        assert not torch.equal(batch.actions[:, :, 0], batch.actions[:, :, 1])


def test_headings_are_von_mises() -> None:
    quantiles = heading_quantiles().double()
    length = float(torch.exp(1j * (quantiles[1:] + quantiles[:-1]) / 2.0).mean().abs())
    kappa = torch.tensor(CONCENTRATION, dtype=torch.float64)
    assert length == pytest.approx(float(torch.special.i1(kappa) / torch.special.i0(kappa)), abs=1e-4)
    assert float(quantiles[len(quantiles) // 2]) == pytest.approx(0.0, abs=1e-5)
    assert bool((quantiles.diff() > 0).all())


def test_a_trajectory_has_one_heading() -> None:
    actions = MovingDots(DotsConfig(steps=256), 0).draw(400).actions[:, :, 0]
    drift = actions.mean(dim=1)
    # Mean length 2 pixels, mean resultant .0995: about .2 pixels along the heading, and headings cancel out.
    assert float(drift.norm(dim=-1).mean()) * ACTION_SCALE == pytest.approx(0.2, abs=0.06)
    assert float(drift.mean(dim=0).norm()) * ACTION_SCALE < 0.05


@pytest.mark.parametrize("options", [{}, {"noise": 1.0}, {"static_noise": 2.0}, {"dots": 3, "channels": 3}])
def test_pictures_are_normalised(options: dict[str, float]) -> None:
    states = MovingDots(DotsConfig(**options), 1).draw(500).states  # type: ignore[arg-type]
    assert float(states.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(states.std()) == pytest.approx(1.0, abs=0.03)


def overlay(config: DotsConfig, seed: int = 0, backgrounds: Backgrounds | None = None) -> torch.Tensor:
    """Return what is added to the dots, in peaks: ``[B, T, 28, 28]``."""
    batch = MovingDots(config, seed, backgrounds=backgrounds).draw(6)
    pixels = torch.arange(SIDE)
    bells = torch.exp(-((pixels - batch.locations[..., 0, :, None]) ** 2) / (2 * config.dot_std**2))
    dots = config.peak * bells[:, :, 1, :, None] * bells[:, :, 0, None, :]
    return (batch.states[:, :, 0] - dots) / config.peak


def test_fixed_noise_stays_and_changing_noise_changes() -> None:
    fixed = overlay(DotsConfig(static_noise=1.5, normalize=False))
    torch.testing.assert_close(fixed, fixed[:, :1].expand_as(fixed), atol=1e-5, rtol=0)
    changing = overlay(DotsConfig(noise=1.5, normalize=False))
    assert float((changing[:, 1:] - changing[:, :-1]).abs().mean()) == pytest.approx(0.5, abs=0.02)
    for noise in (fixed, changing):
        assert -1e-4 <= float(noise.min()) < 0.02
        assert 1.48 < float(noise.max()) <= 1.5 + 1e-4
        assert float(noise.mean()) == pytest.approx(0.75, abs=0.03)
        assert float((noise[0] - noise[1]).abs().mean()) > 0.3, "each trajectory has its own"


def test_fixed_noise_rolls_at_its_speed() -> None:
    noise = overlay(DotsConfig(static_noise=1.0, static_noise_speed=0.5, normalize=False))
    for frame in range(17):
        torch.testing.assert_close(noise[:, frame], noise[:, 0].roll(frame // 2, dims=-1), atol=1e-5, rtol=0)


def test_both_kinds_of_noise_add_up() -> None:
    both = overlay(DotsConfig(static_noise=1.0, noise=1.0, normalize=False))
    assert float(both.mean()) == pytest.approx(1.0, abs=0.04)
    assert float(both.max()) > 1.7


def test_structured_noise_is_pictures() -> None:
    pictures = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
    noise = overlay(DotsConfig(static_noise=1.0, structured_noise=True, normalize=False), 0, Backgrounds(pictures))
    for trajectory in noise[:, 5]:
        assert min(float((trajectory - each.float() / 255.0).abs().max()) for each in pictures) < 1e-4
    with pytest.raises(ValueError, match="needs pictures"):
        MovingDots(DotsConfig(structured_noise=True), 0)


def test_one_seed_gives_the_same_dots() -> None:
    config = DotsConfig(noise=1.0)
    first, again, other = (MovingDots(config, seed).draw(2).states for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(pairs=st.integers(0, 7), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_chosen_frames_are_the_first_and_pairs_of_neighbours(pairs: int, seed: int) -> None:
    batch = MovingDots(CLEAN, seed).draw(2, pairs)
    frames = batch.frames.tolist()
    assert frames == sorted(set(frames))
    assert len(frames) == 2 * pairs + 1
    assert frames[0] == 0
    assert frames[-1] <= 16
    assert all(second - first == 1 for first, second in zip(frames[1::2], frames[2::2], strict=True))
    assert batch.states.shape[1] == len(frames)
    brightest = batch.states[:, -1, 0].flatten(1).argmax(dim=1)
    found = torch.stack([brightest % SIDE, brightest // SIDE], dim=-1)
    assert float((found - batch.locations[:, frames[-1], 0]).abs().max()) <= 0.51


def test_all_frames_are_drawn_unless_asked() -> None:
    assert MovingDots(CLEAN, 0).draw(2).states.shape == (2, 17, 1, SIDE, SIDE)
    three = MovingDots(DotsConfig(dots=3), 0).draw(2).states
    assert three.shape == (2, 17, 1, SIDE, SIDE), "summed"
    with pytest.raises(ValueError, match="one channel"):
        MovingDots(DotsConfig(channels=3), 0)


def test_textures_have_spectra_like_natural_pictures() -> None:
    made = textures(300, seed=1)
    assert torch.equal(made.pictures, textures(300, seed=1).pictures)
    pictures = made.pictures.float() / 255.0
    power = torch.fft.rfft2(pictures - pictures.mean(dim=(1, 2), keepdim=True)).abs().square().mean(dim=0)
    near, far = float(power[1:3, 1:3].mean()), float(power[8:12, 8:12].mean())
    assert near / far > 30.0, "white noise has 1"
    assert 0.1 < float(pictures.std(dim=(1, 2)).mean()) < 0.3


def test_a_folder_gives_grey_corners_and_a_split(tmp_path: Path) -> None:
    for number in range(7):
        picture = np.full((64, 96, 3), 30 * number, np.uint8)
        picture[:8, :8] = 255
        (tmp_path / "deep").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "deep" / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = from_folder(tmp_path)
    assert found.pictures.shape == (7, SIDE, SIDE)
    assert found.pictures[3, 0, 0] == 255
    assert found.pictures[3, 20, 20] == 90
    learnt, judged = found.split()
    assert (len(learnt), len(judged)) == (6, 1)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        from_folder(tmp_path / "missing")
    with pytest.raises(UserError, match="has 0 pictures"):
        from_folder(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"a\.png: can't be read"):
        from_folder(tmp_path)
