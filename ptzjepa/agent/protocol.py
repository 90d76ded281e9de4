"""What every arm of an examination has in common: the camera, the sizes, and how often who learns.

Fit for one core: with these sizes a frame costs about a hundredth of a second.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.renderer import FIELD_OF_VIEW, field_of_view
from shared.actions import Action, ActionTable
from shared.pose import Pose, PoseLimits
from shared.viewing import Optics
from shared.world_model import WorldModelConfig

VIEW = 32
ZOOM = 1.9
"""Never changed: a view is 34° wide then, less than a zone, and wide enough to count as a look at a place."""
FINE, COARSE, COARSE_TILT = 7.5, 22.5, 15.0
"""Degrees of the moves. They keep the camera on 48 × 9 places, if it were exact."""
JITTER = 1.0
"""Degrees, at most, that the camera stops beside where it was sent: no view is ever had twice."""
LIMITS = PoseLimits(tilt_min=-30.0, tilt_max=30.0, zoom_max=ZOOM)
OPTICS = Optics(across=FIELD_OF_VIEW, upright=FIELD_OF_VIEW)
"""At zoom 1."""
VIEW_ANGLE = field_of_view(ZOOM)
"""Degrees that a view spans, both ways."""
MOVES = ActionTable(
    actions=(
        Action(name="noop"),
        *(Action(name=f"pan_{change:g}", pan=change) for change in (-COARSE, -FINE, FINE, COARSE)),
        *(Action(name=f"tilt_{change:g}", tilt=change) for change in (-COARSE_TILT, -FINE, FINE, COARSE_TILT)),
    )
)
STILL = 0
"""The number of the move that changes nothing."""
PRESETS = tuple(Pose(pan=pan, tilt=tilt, zoom=ZOOM) for tilt in (15.0, -15.0) for pan in (-135.0, -45.0, 45.0, 135.0))
"""What the arm ``presets`` goes round."""
PLACES = [
    (pan * FINE - 180.0, tilt * FINE + LIMITS.tilt_min)
    for pan in range(round(360.0 / FINE))
    for tilt in range(round((LIMITS.tilt_max - LIMITS.tilt_min) / FINE) + 1)
]
"""All places, pan and tilt in degrees."""


@dataclass(frozen=True)
class Protocol:
    """How long an arm is examined, and how often it learns; the same for all arms."""

    frames: int
    onset: int
    """The frame at which the new zone shows what it has."""
    warm_up: int = 100
    """Frames at random before anybody learns, the same for every arm of a seed."""
    batch: int = 64
    train_every: int = 4
    """Frames from one update of the world model to the next."""
    dream_every: int = 8
    """Frames from one batch of dreams to the next."""
    number_of_dreams: int = 48
    dream_length: int = 10
    updates_per_batch: int = 6
    greedy_share: float = 0.5
    dwell: float = 1.1
    """Both as the pilot's settings of those names."""
    exam_every: int = 250
    """Frames from one look of the grader into the world model to the next."""
    fresh_steps: int = 1500
    """Updates of a fresh world model on what an arm has seen: enough to learn what is to be learnt of it."""
    eyes_steps: int = 200
    """Updates that the shared encoder learns in."""
    fresh_points: int = 6
    """Beginnings of an arm's data on which fresh world models learn."""

    @classmethod
    def of(cls, frames: int) -> Protocol:
        """Return the protocol of so many frames: the new zone appears after a third of them."""
        return cls(
            frames,
            onset=frames // 3,
            fresh_steps=max(100, min(1500, frames // 4)),
            fresh_points=3 if frames < SHORT_FRAMES else 6,
            eyes_steps=max(50, min(200, frames // 6)),
        )

    @property
    def shuffled_at(self) -> range:
        """The frames at which the policy is tried with other cameras' views: three from the onset to the end."""
        apart = max(1, (self.frames - self.onset) // 4)
        return range(self.onset + apart, self.onset + 3 * apart + 1, apart)

    def as_dict(self) -> dict[str, Any]:
        """Return what decides results, for cells' files."""
        return asdict(self)


SHORT_FRAMES = 2500
"""Fewer frames are for a first look, and the costly measures are then made coarser."""


def networks(surprise: str) -> WorldModelConfig:
    """Return the sizes of the examined world models."""
    return WorldModelConfig.from_preset(
        "tiny",
        image_size=VIEW,
        widths=(16, 32, 64),
        summary_hidden=64,
        embedding_size=32,
        hidden_size=128,
        pan_harmonics=16,
        tilt_harmonics=8,
        zoom_harmonics=1,
        surprise=surprise,
    )


class Camera:
    """The examined camera: exact in what it is told to keep, a little off where it stops."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng((seed, 3))
        pan, tilt = PLACES[int(self._generator.integers(len(PLACES)))]
        self._sent = Pose(pan=pan, tilt=tilt, zoom=ZOOM)

    def move(self, action: Action) -> Pose:
        """Make a move and return where the camera stands then."""
        self._sent = action.apply(self._sent, LIMITS)
        return self.stand()

    def stand(self) -> Pose:
        """Return where the camera stands."""
        off = self._generator.uniform(-JITTER, JITTER, 2)
        return LIMITS.reach(self._sent.pan + float(off[0]), self._sent.tilt + float(off[1]), ZOOM)


def pose_array(poses: list[Pose]) -> npt.NDArray[np.float32]:
    """Return ``[N, 3]``."""
    return np.array([pose.as_tuple() for pose in poses], np.float32)
