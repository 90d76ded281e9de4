"""``PanoramaPTZ-v0``: the simulated camera as a Gymnasium environment, for experiments without the services.

It pays no reward: what is worth looking at is the agent's own business. Given the same seed and the same actions, it
returns the same observations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from camera_sampler.simulation.motion import Motion, Speeds
from camera_sampler.simulation.scenes import Scene, open_scene
from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.pose import PoseLimits

ENVIRONMENT_ID = "PanoramaPTZ-v0"
EPISODE_STEPS = 200

Observation = dict[str, npt.NDArray[Any]]


class PanoramaPTZ(gymnasium.Env[Observation, np.int64]):
    """A pan-tilt-zoom camera in a scene. An action is an index into the action table.

    Observations: ``image`` uint8 [view_size, view_size, 3] and ``pose`` float32 [3] (pan and tilt in degrees, zoom).
    ``info`` has the ``action``'s name and the scene's time in ``seconds``, which passes as long as the moves take.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - as declared by Gymnasium

    def __init__(
        self,
        *,
        panorama: str | Path | None = None,
        scene: Scene | None = None,
        scene_seed: int = 0,
        view_size: int = 64,
        actions: ActionTable = DEFAULT_ACTIONS,
        limits: PoseLimits | None = None,
        speeds: Speeds | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode {render_mode!r} is none of {self.metadata['render_modes']}")
        self.render_mode = render_mode
        self._scene = scene or open_scene(Path(panorama) if panorama else None, seed=scene_seed)
        self._view_size, self._actions = view_size, actions
        self._limits, self._speeds = limits or PoseLimits(), speeds or Speeds()
        self._motion = Motion(self._limits, self._speeds, self._limits.reach(0.0, 0.0, 1.0))
        self._now = 0.0
        # The limit at +180° is kept as −180°.
        pan_min = -180.0 if self._limits.pan_max >= 180.0 else self._limits.pan_min
        low = (pan_min, self._limits.tilt_min, 1.0)
        high = (self._limits.pan_max, self._limits.tilt_max, self._limits.zoom_max)
        self.action_space = spaces.Discrete(len(actions))
        space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (view_size, view_size, 3), np.uint8),
                "pose": spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32),
            }
        )
        self.observation_space = cast("spaces.Space[Observation]", space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode at a random pose, zoomed out, or at ``options["pose"]`` (pan, tilt, zoom)."""
        super().reset(seed=seed)
        limits = self._limits
        pose = (
            float(self.np_random.uniform(limits.pan_min, limits.pan_max)),
            float(self.np_random.uniform(limits.tilt_min, limits.tilt_max)),
            1.0,
        )
        self._now = 0.0
        start = limits.reach(*(options or {}).get("pose", pose))
        self._motion = Motion(limits, self._speeds, start)
        return self._observe(), {"action": None, "seconds": self._now}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Make a move, wait until the camera stands still, and look. The reward is 0, and nothing ends the episode."""
        move = self._actions[int(action)]
        self._motion.move_to(move.apply(self._motion.target, self._limits), self._now)
        self._now = self._motion.still_at()
        return self._observe(), 0.0, False, False, {"action": move.name, "seconds": self._now}

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Return the current view when ``render_mode`` is ``rgb_array``."""
        return self._image() if self.render_mode == "rgb_array" else None

    def _image(self) -> npt.NDArray[np.uint8]:
        return self._scene.render(self._motion.target, self._view_size, self._view_size, self._now)

    def _observe(self) -> Observation:
        return {"image": self._image(), "pose": np.array(self._motion.target.as_tuple(), np.float32)}


def register_environment() -> None:
    """Make ``gymnasium.make("PanoramaPTZ-v0")`` work; calling it again changes nothing."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            ENVIRONMENT_ID,
            entry_point="camera_sampler.simulation.environment:PanoramaPTZ",
            max_episode_steps=EPISODE_STEPS,
        )


register_environment()
