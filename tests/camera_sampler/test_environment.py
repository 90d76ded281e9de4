from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image

import camera_sampler.simulation.environment
from camera_sampler.simulation.environment import ENVIRONMENT_ID, EPISODE_STEPS, PanoramaPTZ
from camera_sampler.simulation.motion import Speeds
from camera_sampler.simulation.scenes import GeneratedScene
from shared.actions import DEFAULT_ACTIONS
from shared.pose import PoseLimits

assert camera_sampler.simulation.environment  # importing it registers the environment


@pytest.fixture(scope="module")
def scene() -> GeneratedScene:
    return GeneratedScene(1, panorama_width=512)


def test_passes_gymnasiums_own_check(scene: GeneratedScene) -> None:
    environment = gymnasium.make(ENVIRONMENT_ID, scene=scene, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(environment.unwrapped)


def test_a_limit_at_half_a_turn_is_in_the_observation_space(scene: GeneratedScene) -> None:
    environment = PanoramaPTZ(scene=scene, limits=PoseLimits(pan_min=0.0, pan_max=180.0))
    observation, _ = environment.reset(seed=0, options={"pose": (175.0, 0.0, 1.0)})
    assert environment.observation_space.contains(observation)
    observation, *_ = environment.step(DEFAULT_ACTIONS.index("jump_right"))
    assert observation["pose"][0] == -180.0
    assert environment.observation_space.contains(observation)


def test_same_seed_same_everything(scene: GeneratedScene) -> None:
    def play(seed: int) -> list[tuple[bytes, bytes, float]]:
        environment = PanoramaPTZ(scene=scene)
        observation, info = environment.reset(seed=seed)
        trace = [(observation["image"].tobytes(), observation["pose"].tobytes(), info["seconds"])]
        for index in range(21):
            observation, *_, info = environment.step(index)
            trace.append((observation["image"].tobytes(), observation["pose"].tobytes(), info["seconds"]))
        return trace

    assert play(5) == play(5)
    assert play(5) != play(6)


def test_every_action_moves_as_the_table_says(scene: GeneratedScene) -> None:
    environment = PanoramaPTZ(scene=scene)
    for index, action in enumerate(DEFAULT_ACTIONS.actions):
        environment.reset(seed=0, options={"pose": (10.0, 5.0, 2.0)})
        observation, reward, terminated, truncated, info = environment.step(index)
        expected = (10.0 + action.pan, 5.0 + action.tilt, 2.0 + action.zoom)
        assert observation["pose"].tolist() == pytest.approx(expected, abs=1e-4)
        assert (reward, terminated, truncated, info["action"]) == (0.0, False, False, action.name)


def test_time_passes_as_long_as_moves_take(scene: GeneratedScene) -> None:
    environment = PanoramaPTZ(scene=scene, speeds=Speeds(pan=5.0, settle=0.25))
    environment.reset(seed=0)
    *_, info = environment.step(DEFAULT_ACTIONS.index("jump_right"))
    assert info["seconds"] == pytest.approx(2.25)


def test_the_action_table_sets_the_action_space(scene: GeneratedScene) -> None:
    environment = gymnasium.make(ENVIRONMENT_ID, scene=scene)
    assert environment.action_space == gymnasium.spaces.Discrete(21)


def test_episodes_are_truncated(scene: GeneratedScene) -> None:
    environment = gymnasium.make(ENVIRONMENT_ID, scene=scene, view_size=16)
    environment.reset(seed=0)
    ends = [environment.step(0)[3] for _ in range(EPISODE_STEPS)]
    assert ends[-1]
    assert not any(ends[:-1])


def test_a_panorama_file_and_no_rendering_by_default(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.effect_noise((128, 64), 60).save(path)
    environment = PanoramaPTZ(panorama=path, view_size=32)
    observation, _ = environment.reset(seed=0)
    assert observation["image"].shape == (32, 32, 3)
    assert environment.render() is None
    assert np.ptp(observation["image"]) > 0


def test_unknown_render_modes_are_refused(scene: GeneratedScene) -> None:
    with pytest.raises(ValueError, match="human"):
        PanoramaPTZ(scene=scene, render_mode="human")
