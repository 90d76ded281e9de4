"""What the sampler asks of a policy of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from shared.actions import Action
from shared.pose import Pose, PoseLimits
from shared.viewing import pan_between


class Policy(ABC):
    """Chooses where an episode begins and how it goes on."""

    name: ClassVar[str]
    """What views and metrics call it."""

    @abstractmethod
    def begin(self, limits: PoseLimits) -> Pose:
        """Return the pose at which a new episode begins."""

    @abstractmethod
    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """Return the next move of a camera that stands at ``pose``."""

    def saw(self, pose: Pose, limits: PoseLimits) -> None:  # noqa: B027 - most policies need not know
        """Take note of a view that was published, whoever chose its pose."""

    def move(self, pose: Pose, target: Pose, limits: PoseLimits) -> Action:
        """Return the move that leads from one pose to another within the limits, the shorter way round."""
        return Action(
            name=self.name,
            pan=pan_between(pose, target, limits),
            tilt=target.tilt - pose.tilt,
            zoom=target.zoom - pose.zoom,
        )
