"""How views get into the replay: measured first, so that surprise is about a view the model has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog
import torch

from shared.errors import UserError
from shared.messages import Surprise, View
from shared.streams import Received
from shared.world_model import decode_images
from world_model_trainer.objectives import Trajectories
from world_model_trainer.progress import Progress
from world_model_trainer.replay import Measured, Replay
from world_model_trainer.settings import TrainerSettings
from world_model_trainer.training import Trainer


@dataclass
class _Arrived:
    view: View
    image: npt.NDArray[np.uint8]
    measured: Measured | None = None


class Intake:
    """Takes views of one camera into the replay and says how much they surprised."""

    def __init__(self, settings: TrainerSettings, replay: Replay, progress: Progress, *, source: str) -> None:
        self._settings, self._replay, self._progress, self._source = settings, replay, progress, source
        self.steered_by = 0
        """The newest version of the agent that moved the camera to a view; 0 for none."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    def remember(self, received: Sequence[Received[View]]) -> list[View]:
        """Take views that were handled before; returns those that are new here."""
        return self._keep(self._decoded(received))

    def learn_of(self, trainer: Trainer, received: Sequence[Received[View]]) -> tuple[list[Surprise], list[View]]:
        """Measure and keep views. Returns what to publish, in order, and the views that are new here.

        A view that comes again, since nobody knows whether its surprise was published, has the same surprise again.
        """
        arrived = self._decoded(received)
        surprises = [
            self._surprise(item.message, measured)
            for item in received
            if (measured := self._replay.measured(item.message.id)) is not None
        ]
        self._measure(trainer, arrived)
        surprises += [self._surprise(each.view, each.measured) for each in arrived if each.measured is not None]
        return surprises, self._keep(arrived)

    def _decoded(self, received: Sequence[Received[View]]) -> list[_Arrived]:
        arrived = []
        for item in received:
            if item.message.policy == "agent":
                self.steered_by = max(self.steered_by, item.message.policy_version or 0)
            if item.message.id in self._replay:
                continue
            try:
                image = decode_images([item.blobs[View.JPEG]], self._replay.image_size)[0].numpy()
            except (KeyError, ValueError) as error:
                self._progress.rejected.inc()
                self._log.warning("view cannot be used", view=item.message.id, reason=str(error))
                continue
            arrived.append(_Arrived(item.message, image))
        return arrived

    def _measure(self, trainer: Trainer, arrived: Sequence[_Arrived]) -> None:
        """Measure those views that a move led to from a view that is here."""
        here = {each.view.id: each for each in arrived}
        images, poses, actions, fresh = [], [], [], []
        for each in arrived:
            view, before = each.view, self._before(each.view, here)
            if before is None or view.action is None:
                continue
            images.append(np.stack([before[0], each.image]))
            poses.append([before[1], view.pose.as_tuple()])
            actions.append([(view.action.pan, view.action.tilt, view.action.zoom)])
            fresh.append(each)
        if not fresh:
            return
        errors = trainer.measure(
            Trajectories(
                torch.from_numpy(np.stack(images)),
                torch.tensor(poses, dtype=torch.float32),
                torch.tensor(actions, dtype=torch.float32),
            )
        )
        self._progress.measured(errors)
        columns = zip(errors.error.tolist(), errors.copy_last_error.tolist(), errors.predicted.tolist(), strict=True)
        for each, numbers in zip(fresh, columns, strict=True):
            each.measured = Measured(*numbers)

    def _before(
        self, view: View, here: dict[str, _Arrived]
    ) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float]] | None:
        if view.previous is None:
            return None
        if (arrived := here.get(view.previous)) is not None:
            return arrived.image, arrived.view.pose.as_tuple()
        return self._replay.look_up(view.previous)

    def _keep(self, arrived: Sequence[_Arrived]) -> list[View]:
        try:
            for each in arrived:
                self._replay.add(each.view, each.image, each.measured)
            if arrived:
                self._replay.sync()
        except OSError as error:
            # The views stay unacknowledged in the stream.
            raise UserError(
                f"replay: {error.strerror or error}; make room on its disk, or lower PTZ_REPLAY_BYTES there"
            ) from error
        self._progress.views_seen = self._replay.added
        return [each.view for each in arrived]

    def _surprise(self, view: View, measured: Measured) -> Surprise:
        return Surprise(
            # The same view gives the same id, so that a view measured twice after a crash counts once.
            id=f"surprise-{view.id}"[:64],
            source=self._source,
            camera=view.camera,
            view=view.id,
            world_model=self._settings.world_model,
            world_model_version=self._progress.version,
            error=measured.error,
            copy_last_error=measured.copy_last_error,
            predicted=measured.predicted,
        )
