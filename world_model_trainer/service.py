"""The service: holds the lease of a world model, trains it on one camera's views, commits new versions.

Every view is measured before it is learnt from, so the surprise it publishes is about a view the model has never seen.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from shared.broker_client import BrokerAway, BrokerClient, CommitRefused, HeldLease, LeaseHeld, LeaseLost
from shared.leases import CommitRequest, ModelVersion, Parent
from shared.lineage import TrainingRun
from shared.messages import Checkpoint, StreamName, Surprise, TrainingProgress, View
from shared.model_store import CorruptObject, MissingObject, ModelStore, StoreAway
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.retention import Keep, sweep
from shared.service import Service
from shared.streams import Consumer, Received, look_back, publish
from shared.whole import whole
from shared.world_model import (
    WorldModel,
    WorldModelConfig,
    decode_images,
    load_checkpoint,
    pick_device,
    save_checkpoint,
)
from world_model_trainer.progress import Progress
from world_model_trainer.replay import Replay
from world_model_trainer.settings import TrainerSettings
from world_model_trainer.training import FreshErrors, Trainer, TrainingConfig, seed_everything

SURPRISE_LENGTH = 8192
PROGRESS_LENGTH = 4096
CHUNK_SECONDS = 0.4
"""Training between two looks at the streams: long enough to be efficient, short enough to see views soon."""


class WorldModelTrainer(Service[TrainerSettings]):
    """Trains one world model on one camera's views."""

    name: ClassVar[str] = "world-model-trainer"

    def __init__(self, settings: TrainerSettings) -> None:
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        self._generator = seed_everything(settings.seed)
        self._device = pick_device(settings.device)
        self._config = TrainingConfig()
        self._store = ModelStore.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._replay = Replay(settings.replay_views, settings.image_size)
        self._progress = Progress(self.metrics)
        self._keep = Keep(last=settings.keep_last, best=settings.keep_best, metric="error_ratio")
        self._run = TrainingRun(settings.world_model, None)
        self._steered_by = 0
        """The newest version of the agent that moved the camera to a view; 0 for none."""
        self._unsent: deque[Surprise] = deque(maxlen=SURPRISE_LENGTH)
        """Measured while Redis was away: a view is measured only once, so its surprise must not get lost."""
        self._consumer_name = f"{self.name}-{settings.node}"

    async def run(self) -> None:
        """Take the lease, train under it, and take it again whenever it is lost."""
        try:
            async with self.redis_clients() as clients:
                consumer = Consumer(
                    clients,
                    StreamName.views(self.settings.camera),
                    View,
                    group=f"{self.name}.{self.settings.world_model}",
                    name=self._consumer_name,
                )
                await self.redis(lambda: self._remember(consumer, clients))
                while not self.stopping.is_set():
                    await self._work_under_lease(consumer, clients)
        finally:
            await self._broker.aclose()

    async def _remember(self, consumer: Consumer[View], clients: RedisClients) -> None:
        """Fill the replay with views that were handled before: after a crash nothing has to be seen again."""
        stream, until = StreamName.views(self.settings.camera), await consumer.delivered_until()
        views = await look_back(clients.commands, stream, View, self.settings.replay_views, until=until)
        if views:
            await asyncio.to_thread(self._add, views)
            self.log.info("remembered views", views=len(self._replay))

    async def _work_under_lease(self, consumer: Consumer[View], clients: RedisClients) -> None:
        resource = f"world-model/{self.settings.world_model}"
        try:
            async with self._broker.lease(
                resource, holder=self._consumer_name, ttl_ms=self.settings.lease_ttl_ms
            ) as lease:
                self.set_ready("lease")
                self.log.info("lease taken", resource=resource, fencing_token=lease.token)
                await self._train_under(lease, consumer, clients)
        except (LeaseHeld, BrokerAway) as error:
            self.set_ready("lease", f"{resource}: {error}")
            await self.pause(1.0)
        except StoreAway as error:
            self.set_ready("model-store", str(error))
            await self.pause(1.0)
        except LeaseLost as error:
            self.log.warning("lease lost; starting again from the head", reason=str(error))
        except CommitRefused as error:
            self.log.warning("commit refused; starting again from the head", reason=str(error))

    async def _train_under(self, lease: HeldLease, consumer: Consumer[View], clients: RedisClients) -> None:
        head = await self._broker.head(self.settings.world_model)
        trainer = await asyncio.to_thread(self._trainer_from, head)
        self.set_ready("model-store")
        self._run = TrainingRun(self.settings.world_model, head)
        if span := self._replay.span():
            self._run.took(self.settings.camera, *span, len(self._replay))
        last_commit = time.monotonic()
        while not self.stopping.is_set():
            lease.check()
            busy = await whole(self._learn_for_a_while(trainer))
            await whole(self._take_views(trainer, consumer, clients, block_ms=1 if busy else 500))
            if time.monotonic() - last_commit >= self.settings.commit_seconds and self._progress.worth_a_commit:
                head = await self._commit(trainer, lease, head)
                last_commit = time.monotonic()
        if self._progress.worth_a_commit:
            await self._commit(trainer, lease, head)

    def _trainer_from(self, head: ModelVersion | None) -> Trainer:
        """Build the trainer on the head's weights; only a world model without any head starts from random ones."""
        if head is None:
            model = WorldModel(WorldModelConfig(image_size=self.settings.image_size))
            self.log.info("new world model", world_model=self.settings.world_model)
        else:
            try:
                model, _ = load_checkpoint(self._store.get(head.checkpoint))
            except (MissingObject, CorruptObject, ValueError) as error:
                # Never fall back to random weights: they would overwrite the model's history at the next commit.
                raise RuntimeError(
                    f"{head.model} version {head.version} cannot be loaded ({error}); mend the model store"
                ) from error
            self._progress.resume(head)
            self.log.info("world model loaded", world_model=head.model, version=head.version)
        return Trainer(model, self._config, device=self._device)

    async def _learn_for_a_while(self, trainer: Trainer) -> bool:
        """Train for one chunk; False when there is nothing to learn from or enough was learnt from what came."""
        if len(self._replay) < self.settings.min_views:
            return False
        before = self._progress.steps
        await asyncio.to_thread(self._steps, trainer)
        return self._progress.steps > before

    def _steps(self, trainer: Trainer) -> None:
        per_step = self._config.batch * (self._config.length + 1)
        allowed = self.settings.replay_ratio * self._replay.added
        until = time.monotonic() + CHUNK_SECONDS
        while time.monotonic() < until and self._progress.views_trained + per_step <= allowed:
            batch = self._replay.sample(self._config.batch, self._config.length, self._generator)
            if batch is None:
                return
            self._progress.stepped(trainer.step(batch), per_step)

    async def _take_views(
        self, trainer: Trainer, consumer: Consumer[View], clients: RedisClients, *, block_ms: int
    ) -> None:
        try:
            received = await consumer.read(count=256, block_ms=block_ms)
            if received:
                self._unsent.extend(await asyncio.to_thread(self._learn_of, trainer, received))
            await self._publish_surprise(clients)
            await consumer.done(received)
            progress = self._progress.report(self.settings.world_model, source=self._consumer_name)
            if progress is not None:
                await self._publish_progress(clients, progress)
            self.set_ready("redis")
        except REDIS_AWAY as error:
            # What was read and not acknowledged comes again; learning goes on meanwhile.
            self.set_ready("redis", f"{type(error).__name__}")
            await self.pause(0.5)

    async def _publish_surprise(self, clients: RedisClients) -> None:
        stream = StreamName.surprise(self.settings.camera)
        while self._unsent:
            await publish(clients.commands, stream, self._unsent[0], max_length=SURPRISE_LENGTH)
            self._unsent.popleft()

    async def _publish_progress(self, clients: RedisClients, progress: TrainingProgress) -> None:
        await publish(clients.commands, StreamName.PROGRESS, progress, max_length=PROGRESS_LENGTH)

    def _learn_of(self, trainer: Trainer, received: Sequence[Received[View]]) -> list[Surprise]:
        """Take views into the replay and measure how wrong the model was about those that follow another."""
        fresh = self._add(received)
        if not fresh:
            return []
        ends = np.asarray([slot for _, slot in fresh], np.intp)
        errors = trainer.measure(self._replay.trajectories(ends, 1))
        self._progress.measured(errors)
        return [self._surprise(view, errors, index) for index, (view, _) in enumerate(fresh)]

    def _add(self, received: Sequence[Received[View]]) -> list[tuple[View, int]]:
        """Add views to the replay; return those that one action led to, with their slots."""
        fresh = []
        for item in received:
            try:
                image = decode_images([item.blobs[View.JPEG]], self.settings.image_size)[0].numpy()
            except (KeyError, ValueError) as error:
                self._progress.rejected.inc()
                self.log.warning("view cannot be used", view=item.message.id, reason=str(error))
                continue
            if item.message.id not in self._replay:
                self._run.took(item.message.camera, item.message.captured_at, item.message.captured_at, 1)
            if item.message.policy == "agent":
                self._steered_by = max(self._steered_by, item.message.policy_version or 0)
            before = self._replay.add(item.message, image)
            if before is not None:
                fresh.append((item.message, (before + 1) % self._replay.capacity))
        self._progress.views_seen = self._replay.added
        return fresh

    def _surprise(self, view: View, errors: FreshErrors, index: int) -> Surprise:
        return Surprise(
            # The same view gives the same id, so that a view measured twice after a crash counts once.
            id=f"surprise-{view.id}"[:64],
            source=self._consumer_name,
            camera=view.camera,
            view=view.id,
            world_model=self.settings.world_model,
            world_model_version=self._progress.version,
            error=float(errors.error[index]),
            copy_last_error=float(errors.copy_last_error[index]),
            predicted=float(errors.predicted[index]),
        )

    async def _commit(self, trainer: Trainer, lease: HeldLease, head: ModelVersion | None) -> ModelVersion:
        """Store the weights under a new name, then ask the broker to move the head. Returns the new head."""
        card = self._progress.card(self.settings, head)
        folder = f"world-models/{self.settings.world_model}"
        data = await asyncio.to_thread(save_checkpoint, trainer.model, card)
        checkpoint = await self._put(folder, data, lease)
        pilots = [Parent(model=self.settings.agent, version=self._steered_by)] if self._steered_by else []
        request = CommitRequest(
            lease_id=lease.lease_id,
            token=lease.token,
            expected_head=head.version if head else 0,
            checkpoint=checkpoint,
            card=card,
            lineage=self._run.lineage(Parent(model=head.model, version=head.version) if head else None, *pilots),
        )
        while True:
            lease.check()
            try:
                committed = await self._broker.commit(self.settings.world_model, request)
                break
            except BrokerAway as error:
                # The request carries its id: asking again cannot commit twice.
                self.set_ready("broker", str(error))
                await asyncio.sleep(0.5)  # also while stopping: until it is committed or the lease is lost
        self.set_ready("broker")
        self._progress.committed(committed)
        self.log.info(
            "checkpoint committed",
            version=committed.version,
            one_step_error=card["one_step_error"],
            copy_last_error=card["copy_last_error"],
        )
        await self._sweep(folder)
        return committed

    async def _put(self, folder: str, data: bytes, lease: HeldLease) -> Checkpoint:
        """Store the weights, waiting through the store's absences; ``StoreAway`` when told to stop meanwhile."""
        while True:
            lease.check()
            try:
                checkpoint = await asyncio.to_thread(self._store.put, folder, data)
            except StoreAway as error:
                self.set_ready("model-store", str(error))
                if await self.pause(1.0):
                    raise
            else:
                self.set_ready("model-store")
                return checkpoint

    async def _sweep(self, folder: str) -> None:
        try:
            gone = await sweep(self._store, folder, self._broker, self.settings.world_model, self._keep)
        except (BrokerAway, StoreAway) as error:
            self.log.warning("old versions not deleted; after the next commit, then", reason=str(error))
        else:
            if gone:
                self.log.info("old versions deleted", files=gone)
