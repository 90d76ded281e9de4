"""How a version gets into the world: weights into the model store, then the broker is asked to move the head."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shared.broker.client import BrokerAway, BrokerClient, HeldLease
from shared.broker.lineage import TrainingRun
from shared.leases import CommitRequest, ModelVersion, Parent
from shared.messages import Checkpoint
from shared.service import Service
from shared.store.model_store import ModelStore, StoreAway
from shared.store.retention import Keep, sweep
from shared.world_model import WorldModel, save_checkpoint
from world_model_trainer.settings import TrainerSettings


class Committer:
    """Commits versions of one world model."""

    def __init__(self, service: Service[TrainerSettings], store: ModelStore, broker: BrokerClient) -> None:
        self._service, self._settings, self._log = service, service.settings, service.log
        self._store, self._broker = store, broker
        self._keep = Keep(last=self._settings.keep_last, best=self._settings.keep_best, metric="error_ratio")
        self._folder = f"world-models/{self._settings.world_model}"

    async def commit(
        self,
        model: WorldModel,
        card: dict[str, Any],
        lease: HeldLease,
        head: ModelVersion | None,
        run: TrainingRun,
        *,
        steered_by: int,
        announce: Callable[[Checkpoint], Awaitable[None]],
    ) -> ModelVersion:
        """Store the weights under a new name, then ask the broker to move the head. Returns the new head.

        ``announce`` is told what is about to become the head, so that a kill in between leaves no doubt whose it was.
        """
        data = await asyncio.to_thread(save_checkpoint, model, card)
        checkpoint = await self._put(data, lease)
        await announce(checkpoint)
        pilots = [Parent(model=self._settings.agent, version=steered_by)] if steered_by else []
        request = CommitRequest(
            lease_id=lease.lease_id,
            token=lease.token,
            expected_head=head.version if head else 0,
            checkpoint=checkpoint,
            card=card,
            lineage=run.lineage(Parent(model=head.model, version=head.version) if head else None, *pilots),
        )
        while True:
            lease.check()
            try:
                committed = await self._broker.commit(self._settings.world_model, request)
                break
            except BrokerAway as error:
                # The request carries its id: asking again cannot commit twice.
                self._service.set_ready("broker", str(error))
                # Also while stopping: until it is committed or the lease is lost.
                await asyncio.sleep(max(0.5, error.after))
        self._service.set_ready("broker")
        return committed

    async def sweep(self) -> None:
        """Delete the files of versions that need not stay."""
        try:
            gone = await sweep(self._store, self._folder, self._broker, self._settings.world_model, self._keep)
        except (BrokerAway, StoreAway) as error:
            self._log.warning("old versions not deleted; after the next commit, then", reason=str(error))
        else:
            if gone:
                self._log.info("old versions deleted", files=gone)

    async def _put(self, data: bytes, lease: HeldLease) -> Checkpoint:
        """Store the weights, waiting through the store's absences; ``StoreAway`` when told to stop meanwhile."""
        while True:
            lease.check()
            try:
                checkpoint = await asyncio.to_thread(self._store.put, self._folder, data)
            except StoreAway as error:
                self._service.set_ready("model-store", str(error))
                if await self._service.pause(1.0):
                    raise
            else:
                self._service.set_ready("model-store")
                return checkpoint
