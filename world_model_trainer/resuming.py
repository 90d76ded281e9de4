"""Where training starts: from the training state on this disk, or from the head, and from nothing only where both lack.

Random weights never take the place of weights that cannot be read: they would overwrite what was learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import torch

from shared.errors import UserError
from shared.leases import ModelVersion
from shared.store.model_store import CorruptObject, MissingObject, ModelStore
from shared.world_model import WorldModel, load_checkpoint
from world_model_trainer.choices import networks, objective_config, objective_for
from world_model_trainer.plateau import PlateauState
from world_model_trainer.progress import Counts
from world_model_trainer.settings import TrainerSettings
from world_model_trainer.state import StateFile, restore
from world_model_trainer.team import Team
from world_model_trainer.training import Trainer, TrainingConfig, seed_everything


@dataclass(frozen=True)
class Start:
    """A trainer, and what else it goes on with."""

    trainer: Trainer
    counts: Counts | None = None
    plateau: PlateauState | None = None


class Starter:
    """Finds the place to go on from."""

    def __init__(
        self,
        settings: TrainerSettings,
        config: TrainingConfig,
        store: ModelStore,
        state: StateFile,
        *,
        device: torch.device,
        team: Team | None = None,
    ) -> None:
        self._settings, self._config, self._store, self._state = settings, config, store, state
        self._device, self._team = device, team
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    def start(self, head: ModelVersion | None) -> Start:
        """Return the trainer for this head. ``RuntimeError`` where the head cannot be loaded."""
        start = self._from_state(head) or Start(self._from_head(head))
        found, wanted = start.trainer.model.config.image_size, networks(self._settings).image_size
        if found != wanted:
            raise UserError(
                f"{self._settings.world_model} reads views of {found} pixels, the replay is of {wanted}: "
                f"set PTZ_IMAGE_SIZE={found}"
            )
        return start

    def _from_state(self, head: ModelVersion | None) -> Start | None:
        try:
            found = self._state.read()
            if found is None:
                return None
            tensors, card = found
            if head is None and card.head is not None:
                raise UserError(
                    f"the registry knows no version of {self._settings.world_model}, but {self._state.path} goes on "
                    "from one: bring the registry back, or move that file away to start from nothing"
                )
            if not card.belongs_to(self._settings.world_model, head):
                self._log.warning(
                    "training state discarded: the head was moved by somebody else", file=str(self._state.path)
                )
                self._state.discard()
                return None
            if card.objective != objective_config(self._settings).model_dump(mode="json"):
                self._log.warning("training state discarded: the objective has changed", file=str(self._state.path))
                self._state.discard()
                return None
            trainer = restore(tensors, card, device=self._device, config=self._config, team=self._team)
        except ValueError as error:
            if head is None:
                raise UserError(
                    f"training state {self._state.path} cannot be used ({error}), and {self._settings.world_model} has "
                    "no version yet; move the file away to start from nothing"
                ) from error
            self._log.warning(
                "training state cannot be used; going on from the head", file=str(self._state.path), reason=str(error)
            )
            return None
        self._log.info("training state loaded", world_model=self._settings.world_model, step=trainer.steps)
        return Start(trainer, card.counts, card.plateau)

    def _from_head(self, head: ModelVersion | None) -> Trainer:
        if head is None:
            # Here and not only when the process starts: this may be a second try, after a lease was lost.
            seed_everything(self._settings.seed)
            model = WorldModel(networks(self._settings))
            self._log.info("new world model", world_model=self._settings.world_model)
            return self._trainer(model)
        try:
            model, _ = load_checkpoint(self._store.get(head.checkpoint))
        except (MissingObject, CorruptObject, ValueError) as error:
            # Never fall back to random weights: they would overwrite the model's history at the next commit.
            raise RuntimeError(
                f"{head.model} version {head.version} cannot be loaded ({error}); mend the model store"
            ) from error
        trainer = self._trainer(model)
        trainer.continue_from(int(head.card.get("training_steps", 0)))
        self._log.info("world model loaded", world_model=head.model, version=head.version)
        return trainer

    def _trainer(self, model: WorldModel) -> Trainer:
        objective = objective_for(model, self._settings)
        return Trainer(model, self._config, device=self._device, objective=objective, team=self._team)
