"""The service: holds the lease of a world model, trains it on one camera's views, commits new versions.

Every view is measured before it is learnt from, so the surprise it publishes is about a view the model has never seen.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import ClassVar

import numpy as np
import torch

from shared.broker.client import BrokerAway, BrokerClient, CommitRefused, HeldLease, LeaseHeld, LeaseLost
from shared.broker.lineage import TrainingRun
from shared.errors import UserError
from shared.leases import ModelVersion
from shared.messages import Checkpoint, StreamName, Surprise, View
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.service import Service
from shared.store.model_store import ModelStore, StoreAway
from shared.stream_metrics import StreamMetrics
from shared.streams import Consumer, look_back, publish
from shared.whole import whole
from shared.world_model import pick_device
from world_model_trainer.choices import networks
from world_model_trainer.committing import Committer
from world_model_trainer.following import Crew
from world_model_trainer.intake import Intake
from world_model_trainer.plateau import Plateau
from world_model_trainer.progress import HeldOut, Progress
from world_model_trainer.replay import Replay
from world_model_trainer.resuming import Starter
from world_model_trainer.settings import TrainerSettings
from world_model_trainer.state import StateFile, new_card, pack_state
from world_model_trainer.training import DivergedError, Trainer, TrainingConfig, seed_everything

SURPRISE_LENGTH = 8192
PROGRESS_LENGTH = 4096
CHUNK_SECONDS = 0.4
"""Training between two looks at the streams: long enough to be efficient, short enough to see views soon."""
LEAST_PART = 4
"""Trajectories that statistics can be taken of."""
HELD_OUT_MOST = 512
"""Held-out moves that are measured for a commit, spread evenly over all there are."""


class WorldModelTrainer(Service[TrainerSettings]):
    """Trains one world model on one camera's views."""

    name: ClassVar[str] = "world-model-trainer"

    def __init__(self, settings: TrainerSettings) -> None:
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        seed_everything(settings.seed)
        self._config = TrainingConfig(
            micro_batches=settings.micro_batches,
            schedule_steps=settings.schedule_steps,
            floor=settings.learning_rate_floor,
            learning_rate=settings.learning_rate,
        )
        if LEAST_PART * settings.micro_batches * settings.processes > self._config.batch:
            raise UserError(
                f"PTZ_MICRO_BATCHES × PTZ_PROCESSES: a batch of {self._config.batch} trajectories can have at most "
                f"{self._config.batch // LEAST_PART} parts, not {settings.micro_batches} × {settings.processes}"
            )
        networks(settings)  # what does not fit is said before anything is started
        self._store = ModelStore.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._consumer_name = f"{self.name}-{settings.node}"
        self._state_file = StateFile(settings.replay / settings.world_model / "state.safetensors")
        self._progress = Progress(self.metrics)
        self._committer = Committer(self, self._store, self._broker)
        self._plateau = self._new_plateau()
        self._crew = Crew(settings.processes, settings.device, settings.threads)
        self._run = TrainingRun(settings.world_model, None)
        self._unsent: deque[Surprise] = deque(maxlen=SURPRISE_LENGTH)
        """Measured while Redis was away: a view is measured only once, so its surprise must not get lost."""
        self._rested_until = 0.0
        self._replay_size = self.metrics.gauge("replay_views", "Views in the replay, by use", ("use",))
        self._replay_bytes = self.metrics.gauge("replay_bytes", "Bytes of the replay's file")
        self._damaged = self.metrics.counter("replay_damaged", "Views left out of the replay as damaged on the disk")
        self._states = self.metrics.counter("training_states", "Training states written")
        self._streams = StreamMetrics(self.metrics, "views")
        self.metrics.disks({"replay": settings.replay, "model-store": self._store.directory})

    async def run(self) -> None:
        """Take the lease, train under it, and take it again whenever it is lost."""
        try:
            await asyncio.to_thread(self._open)
            async with self.redis_clients() as clients:
                consumer = Consumer(
                    clients,
                    StreamName.views(self.settings.camera),
                    View,
                    group=f"{self.name}.{self.settings.world_model}",
                    name=self._consumer_name,
                )
                if not len(self._replay):
                    await self.redis(lambda: self._remember(consumer, clients))
                async with self._streams.watching("views", consumer):
                    while not self.stopping.is_set():
                        await self._work_under_lease(consumer, clients)
        finally:
            await asyncio.to_thread(self._crew.dismiss)
            await self._broker.aclose()

    def _open(self) -> None:
        """Open the replay and gather the processes that help; ``UserError`` where the replay cannot be used."""
        settings = self.settings
        began = time.monotonic()
        self._replay = Replay(
            settings.replay / settings.world_model / "views",
            networks(settings).image_size,
            views=settings.replay_views,
            most_bytes=settings.replay_bytes,
            seed=settings.seed,
        )
        self.log.info("replay opened", views=len(self._replay), seconds=round(time.monotonic() - began, 2))
        if self._replay.damaged:
            self._damaged.inc(self._replay.damaged)
            self.log.warning("damaged views left out of the replay", views=self._replay.damaged)
        self._intake = Intake(settings, self._replay, self._progress, source=self._consumer_name)
        self._progress.views_seen = self._replay.added
        self._crew.gather()
        device = self._crew.device if self._crew.leader else pick_device(settings.device)
        self._starter = Starter(
            settings, self._config, self._store, self._state_file, device=device, team=self._crew.leader
        )

    async def _remember(self, consumer: Consumer[View], clients: RedisClients) -> None:
        """Fill a replay that is new, or was lost, with views that were handled before."""
        stream, until = StreamName.views(self.settings.camera), await consumer.delivered_until()
        views = await look_back(clients.commands, stream, View, self.settings.replay_views, until=until)
        if views:
            await asyncio.to_thread(self._intake.remember, views)
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
        trainer = await whole(asyncio.to_thread(self._begin, head))
        self.set_ready("model-store")
        last_commit = last_state = time.monotonic()
        while not self.stopping.is_set():
            lease.check()
            busy = await whole(self._learn_for_a_while(trainer))
            await whole(self._take_views(trainer, consumer, clients, block_ms=1 if busy else 500))
            if time.monotonic() - last_commit >= self.settings.commit_seconds and self._progress.worth_a_commit:
                head = await self._commit(trainer, lease, head)
                last_commit = last_state = time.monotonic()
            elif time.monotonic() - last_state >= self.settings.state_seconds:
                await whole(asyncio.to_thread(self._save_state, trainer, head))
                last_state = time.monotonic()
        if self._progress.worth_a_commit:
            await self._commit(trainer, lease, head)

    def _begin(self, head: ModelVersion | None) -> Trainer:
        """Build the trainer for the head and count on from there."""
        start = self._starter.start(head)
        self._progress.resume(self.settings.world_model, start.trainer, head, start.counts)
        self._plateau = self._new_plateau()
        if start.plateau is not None:
            self._plateau.state = start.plateau
        self._run = TrainingRun(self.settings.world_model, head)
        for kept in self._replay.kept():
            self._run.took(kept.camera, kept.first, kept.last, kept.views)
        self._crew.share(lambda: pack_state(start.trainer, new_card(start.trainer, self.settings.world_model)))
        return start.trainer

    async def _learn_for_a_while(self, trainer: Trainer) -> bool:
        """Train for one chunk; False when there is nothing to learn from or enough was learnt from what came."""
        if len(self._replay) < self.settings.min_views or time.monotonic() < self._rested_until:
            await asyncio.to_thread(self._crew.stay_awake)
            return False
        before, began = self._progress.steps, time.monotonic()
        await asyncio.to_thread(self._steps, trainer)
        if self._plateau.reached:
            spent = time.monotonic() - began
            self._rested_until = time.monotonic() + spent * (1.0 / self.settings.plateau_pace - 1.0)
        return self._progress.steps > before and not self._plateau.reached

    def _steps(self, trainer: Trainer) -> None:
        config = self._config
        allowed = self.settings.replay_ratio * self._replay.added
        until = time.monotonic() + CHUNK_SECONDS
        while time.monotonic() < until and self._progress.counts.views_trained + config.views_a_step <= allowed:
            # A generator of the step's own: what is drawn depends on nothing that a kill could lose.
            generator = np.random.default_rng((self.settings.seed, trainer.steps))
            batch = self._replay.sample(config.batch, config.length, generator)
            if batch is None:
                return
            rate = trainer.learning_rate
            try:
                terms = trainer.step(batch)
            except DivergedError:
                # The same step from the same state would end the same way: the next start is from the head.
                self._state_file.discard()
                raise
            self._progress.stepped(terms, config.views_a_step, rate=rate)

    async def _take_views(
        self, trainer: Trainer, consumer: Consumer[View], clients: RedisClients, *, block_ms: int
    ) -> None:
        try:
            received = await consumer.read(count=256, block_ms=block_ms)
            if received:
                surprises, new = await asyncio.to_thread(self._intake.learn_of, trainer, received)
                self._unsent.extend(surprises)
                self._note(new)
            await self._publish_surprise(clients)
            await consumer.done(received)
            progress = self._progress.report(self.settings.world_model, source=self._consumer_name)
            if progress is not None:
                await publish(clients.commands, StreamName.PROGRESS, progress, max_length=PROGRESS_LENGTH)
            self.set_ready("redis")
        except REDIS_AWAY as error:
            # What was read and not acknowledged comes again; learning goes on meanwhile.
            self.set_ready("redis", f"{type(error).__name__}")
            await self.pause(0.5)

    def _note(self, new: list[View]) -> None:
        for view in new:
            self._run.took(view.camera, view.captured_at, view.captured_at, 1)
        held_out = self._replay.held_out
        self._replay_size.labels("training").set(len(self._replay) - held_out)
        self._replay_size.labels("held-out").set(held_out)
        self._replay_bytes.set(self._replay.size)

    async def _publish_surprise(self, clients: RedisClients) -> None:
        stream = StreamName.surprise(self.settings.camera)
        while self._unsent:
            await publish(clients.commands, stream, self._unsent[0], max_length=SURPRISE_LENGTH)
            self._unsent.popleft()

    async def _commit(self, trainer: Trainer, lease: HeldLease, head: ModelVersion | None) -> ModelVersion:
        """Measure what is held out, commit the weights as they are, and say so. Returns the new head."""
        held_out = await whole(asyncio.to_thread(self._measure_held_out, trainer))
        learnt = {"preset": trainer.model.config.preset, "objective": trainer.model.learnt_by}
        card = self._progress.card(self.settings, head, held_out) | learnt
        self._watch_plateau(held_out)

        async def announce(checkpoint: Checkpoint) -> None:
            await whole(asyncio.to_thread(self._save_state, trainer, head, committing=checkpoint))

        committed = await self._committer.commit(
            trainer.model,
            card,
            lease,
            head,
            self._run,
            steered_by=self._intake.steered_by,
            announce=announce,
        )
        self._progress.committed(committed)
        await whole(asyncio.to_thread(self._save_state, trainer, committed))
        self.log.info(
            "checkpoint committed",
            version=committed.version,
            one_step_error=card["one_step_error"],
            copy_last_error=card["copy_last_error"],
            held_out_ratio=card["held_out_ratio"],
        )
        await self._committer.sweep()
        return committed

    def _measure_held_out(self, trainer: Trainer) -> HeldOut:
        ends = self._replay.ends(1, held_out=True)
        if len(ends) > HELD_OUT_MOST:
            ends = ends[np.linspace(0, len(ends) - 1, HELD_OUT_MOST).round().astype(np.intp)]
        found = HeldOut.of(trainer.measure(self._replay.trajectories(ends, 1)) if len(ends) else None)
        self._progress.held_out(found)
        return found

    def _watch_plateau(self, held_out: HeldOut) -> None:
        before = self._plateau.reached
        reached = self._plateau.note(held_out.ratio, self._progress.fresh_ratio)
        self._progress.plateau(reached)
        if reached != before:
            self.log.info(
                "plateau: training goes slowly now" if reached else "plateau left: errors have risen",
                held_out_ratio=held_out.ratio,
                error_ratio=self._progress.fresh_ratio,
            )

    def _save_state(self, trainer: Trainer, head: ModelVersion | None, *, committing: Checkpoint | None = None) -> None:
        card = new_card(
            trainer,
            self.settings.world_model,
            head=head.checkpoint.sha256 if head else None,
            committing=committing.sha256 if committing else None,
            counts=self._progress.now(),
            plateau=self._plateau.state,
        )
        self._state_file.write(pack_state(trainer, card))
        self._states.inc()

    def _new_plateau(self) -> Plateau:
        settings = self.settings
        return Plateau(
            patience=settings.plateau_commits, improvement=settings.plateau_improvement, rise=settings.plateau_rise
        )
