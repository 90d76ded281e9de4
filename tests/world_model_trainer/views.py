"""Views of a tiny world that tests can reason about: a smooth picture of the pose itself."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.actions import Action
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits

SIZE = 32


def picture(pose: Pose) -> npt.NDArray[np.uint8]:
    """Draw ``[3, S, S]``: stripes and blobs whose place follows pan, tilt and zoom."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    pan, tilt = np.radians(pose.pan + 60.0 * x / pose.zoom), np.radians(pose.tilt - 40.0 * y / pose.zoom)
    channels = [np.sin(pan), np.cos(pan + 2.0 * tilt), np.sin(3.0 * pan) * np.cos(3.0 * tilt)]
    return np.stack([(127 + 120 * channel).astype(np.uint8) for channel in channels])


def jpeg(pose: Pose) -> bytes:
    """Encode the picture of a pose."""
    buffer = io.BytesIO()
    Image.fromarray(picture(pose).transpose(1, 2, 0)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _move(generator: np.random.Generator) -> Action:
    """Draw a move as PTZJEPA's random walk does: each axis by itself."""
    pan, tilt = generator.choice([-10.0, -2.0, -0.2, 0.0, 0.2, 2.0, 10.0], 2)
    return Action(name="walk", pan=pan, tilt=tilt, zoom=generator.choice([-0.2, -0.1, 0.0, 0.1, 0.2]))


def walk(count: int, *, moves: int = 10, seed: int = 0, camera: str = "camera-0") -> list[View]:
    """Walk at random: episodes of ``moves`` moves, chained as the sampler chains them."""
    generator = np.random.default_rng(seed)
    limits = PoseLimits()
    views: list[View] = []
    for index in range(count):
        step = index % (moves + 1)
        action = None if step == 0 else _move(generator)
        if action is None:
            pose = Pose(pan=generator.uniform(-180, 180), tilt=generator.uniform(-30, 60), zoom=1.0)
        else:
            pose = action.apply(views[-1].pose, limits)
        views.append(
            View(
                camera=camera,
                pose=pose,
                pose_before=pose,
                captured_at=utc_now(),
                episode=f"episode-{index // (moves + 1)}",
                step=step,
                previous=views[-1].id if action else None,
                action=action,
                limits=limits,
                policy="random-walk",
                width=SIZE,
                height=SIZE,
            )
        )
    return views
