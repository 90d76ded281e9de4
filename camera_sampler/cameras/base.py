"""What the sampler needs of a camera. One file a brand implements it; vendors' units never leave that file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, get_args

from shared.actions import Action
from shared.pose import Pose, PoseLimits

ErrorKind = Literal[
    "unauthorized", "locked-out", "refused", "initiating", "unparsable", "reset", "unreachable", "timeout", "too-large",
    "other",
]  # fmt: skip
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)


class CameraError(Exception):
    """The camera did not do what it was asked, or did not answer; asking again may help.

    ``kind`` is for the metric, the text for people; neither ever holds a credential.
    """

    def __init__(self, text: str, kind: ErrorKind = "other") -> None:
        super().__init__(text)
        self.kind: ErrorKind = kind


Origin = Literal["camera", "stream", "recording"]
"""``camera``: the picture is the camera's own file. ``stream``: a frame of its video, made a JPEG by the sampler, once.
``recording``: a picture taken long ago, so that its age tells nothing and its pose is where it was taken."""


@dataclass(frozen=True)
class Snapshot:
    """An encoded image as it came, unverified, and when it was taken (aware of its zone)."""

    data: bytes = field(repr=False)
    taken_at: datetime
    origin: Origin = "camera"


class Camera(Protocol):
    """One pan-tilt-zoom camera. Every method may raise ``CameraError``.

    Moves return when the camera has accepted them; it may still be moving then. Whoever needs it to stand still polls
    ``pose``.
    """

    async def pose(self) -> Pose:
        """Return where the camera looks now."""

    async def move_to(self, pose: Pose) -> None:
        """Begin to move to a pose, or to the reachable one nearest to it."""

    async def move_by(self, action: Action) -> None:
        """Begin to change the pose by an action, as far as the limits allow."""

    async def limits(self) -> PoseLimits:
        """Return what the camera can reach."""

    async def snapshot(self) -> Snapshot:
        """Take a picture."""

    async def aclose(self) -> None:
        """Let go of the camera."""
