"""The dream generator: keeps the newest views, dreams on from them, hands the dreams to whoever learns."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents import Agent, PolicyCard, RandomAgent, load_policy
from dreamer_agent.backlog import unfinished
from dreamer_agent.dreaming import dream
from dreamer_agent.dreams import DreamOrigin, Dreams
from dreamer_agent.heads import Head, Loaded
from dreamer_agent.pictures import Painter
from dreamer_agent.pools import pool
from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor
from dreamer_agent.settings import DreamSettings
from dreamer_agent.starts import Start, StartPool
from shared.broker.client import BrokerAway, BrokerClient, LeaseHeld, LeaseLost
from shared.leases import ModelVersion
from shared.messages import Checkpoint, DreamBatch, StreamName, Surprise, View
from shared.redis_client import RedisClients
from shared.service import Service
from shared.store.model_store import ModelStore, StoreAway
from shared.stream_metrics import StreamMetrics
from shared.streams import Consumer, Follower, Received, look_back, publish
from shared.whole import whole
from shared.world_model import WorldModel, decode_images, load_checkpoint
from shared.world_model.decoder import save_decoder

DREAMS_LENGTH = 256
LEAST_VIEWS = 16
LEARNER_GROUP = "rl-agent"
DECODER_LESSONS, DECODERS_KEPT = 10, 2
"""Batches from one stored decoder to the next, and how many stay in the store."""
_PAIR = ("world_model", "agent")


@dataclass(frozen=True)
class _Batch:
    dreams: Dreams
    checkpoint: Checkpoint
    origin: DreamOrigin


class DreamGenerator(Service[DreamSettings]):
    """Dreams at a bounded rate, and pauses while the learner has enough to do."""

    name: ClassVar[str] = "dream-generator"

    def __init__(self, settings: DreamSettings) -> None:
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        self._table = settings.actions()
        self._moves = action_tensor(self._table)
        self._store = ModelStore.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._pool = StartPool(settings.dream_views)
        self._rng = random.Random(settings.seed)
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._world_models, self._agents = (
            pool(settings.world_model, settings.models),
            pool(settings.agent, settings.rl_models),
        )
        self._world_model = Head(self._broker, self._world_models[0], self._load_world_model)
        self._policy = Head(self._broker, self._agents[0], self._load_policy)
        self._worker = f"{self.name}-{settings.node}"
        self._painter: Painter | None = None
        self._painted, self._lessons = "", 0
        """The world model whose embeddings the painter knows, and how often it has learnt."""
        self._not_stored: str | None = None
        """Why the newest dreams could not be stored."""
        self._make_metrics()

    async def run(self) -> None:
        """Take in views and surprises, follow both heads, and dream, all at once until told to stop."""
        self._review_readiness()
        try:
            async with self.redis_clients() as clients, asyncio.TaskGroup() as group:
                group.create_task(self._take_views(clients))
                group.create_task(self._hear_surprises(clients))
                group.create_task(self._follow_heads())
                group.create_task(self._dream_on(clients))
        finally:
            await self._broker.aclose()

    def _make_metrics(self) -> None:
        metrics = self.metrics
        self._dreams_total = metrics.counter("dreams", "Dreams published")
        self._steps_total = metrics.counter("steps", "Dreamed moves published")
        self._bytes_total = metrics.counter("bytes", "Bytes of dream files written")
        self._skipped = metrics.counter("skipped", "Batches not dreamt, by reason", ("reason",))
        self._rejected = metrics.counter("rejected_views", "Views that could not be decoded")
        self._batch_seconds = metrics.histogram(
            "batch_seconds", "Seconds to dream, pack and store one batch", buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
        )
        self._reward_mean = metrics.gauge("reward_mean", "Mean predicted surprise of the newest batch")
        self._reward_deviation = metrics.gauge("reward_deviation", "Standard deviation of the same")
        self._decoder_error = metrics.gauge("decoder_error", "Squared error of the decoder's pictures, of [0, 1]")
        self._backlog = metrics.gauge("backlog", "Batches that the learner has not finished, as far as counted")
        metrics.gauge("views", "Views to start from").set_function(lambda: len(self._pool))
        metrics.gauge("policy_version", "Policy that dreams; 0 moves at random").set_function(self._policy_version)
        metrics.gauge("world_model_version", "World model dreamt from; 0 for none").set_function(
            lambda: self._world_model.current.version.version if self._world_model.current else 0
        )
        self._turns = metrics.counter("turns", "Times that it turned to another world model of its pool")
        self._dreaming = metrics.rows(
            "dreaming_info", "1: the world model dreamt from, and the agent that moves", _PAIR
        )
        self._last_batch = metrics.gauge("last_batch_timestamp_seconds", "When dreams were published last")
        self._streams = StreamMetrics(metrics, "views")
        metrics.disks({"model-store": self._store.directory})
        self._note_pair()
        self._skipped.labels("backlog")
        self._skipped.labels("not finite")
        self._skipped.labels("store away")

    def _note_pair(self) -> None:
        self._dreaming.replace([((self._world_model.model, self._policy.model), 1.0)])

    def _policy_version(self) -> int:
        return self._policy.current.version.version if self._policy.current else 0

    async def _load_world_model(self, version: ModelVersion) -> WorldModel:
        def load() -> WorldModel:
            return load_checkpoint(self._store.get(version.checkpoint))[0].eval().requires_grad_(False)

        return await asyncio.to_thread(load)

    async def _load_policy(self, version: ModelVersion) -> tuple[Agent, PolicyCard]:
        return await asyncio.to_thread(lambda: load_policy(self._store.get(version.checkpoint), self._table))

    async def _follow_heads(self) -> None:
        while not self.stopping.is_set():
            await self._world_model.look()
            await self._policy.look()
            self._review_readiness()
            await self.pause(self.settings.head_seconds)

    def _review_readiness(self) -> None:
        self.set_ready("world-model", None if self._world_model.current else self._world_model.missing)
        views = len(self._pool)
        self.set_ready("views", None if views >= LEAST_VIEWS else f"{views} of {LEAST_VIEWS} views")
        self.set_ready("model-store", self._world_model.store_away or self._policy.store_away or self._not_stored)

    async def _take_views(self, clients: RedisClients) -> None:
        stream = StreamName.views(self.settings.camera)
        remembered = await self.redis(lambda: look_back(clients.commands, stream, View, self.settings.dream_views))
        await asyncio.to_thread(self._add_views, remembered or [])
        consumer = Consumer(clients, stream, View, group=self.name, name=self._worker)
        async with self._streams.watching("views", consumer):
            while not self.stopping.is_set():
                received = await self.redis(lambda: consumer.read(count=256, block_ms=500))
                if received:
                    await self._take(consumer, received)
                self._review_readiness()

    async def _take(self, consumer: Consumer[View], received: Sequence[Received[View]]) -> None:
        reasons = await asyncio.to_thread(self._add_views, received)
        for item in received:
            if reason := reasons.get(item.message.id):
                await self.redis(lambda item=item, reason=reason: consumer.reject(item, reason))  # type: ignore[misc]
        await self.redis(lambda: consumer.done([item for item in received if item.message.id not in reasons]))

    def _add_views(self, received: Sequence[Received[View]]) -> dict[str, str]:
        """Take views into the pool; returns why some could not be, by their ids."""
        reasons: dict[str, str] = {}
        for item in received:
            view, jpeg = item.message, item.blobs.get(View.JPEG, b"")
            try:
                decode_images([jpeg], view.width)
            except ValueError as error:
                self._rejected.inc()
                reasons[view.id] = str(error)
                continue
            self._pool.add(Start(view.id, jpeg, view.pose, view.limits))
        return reasons

    async def _hear_surprises(self, clients: RedisClients) -> None:
        # From the stream's beginning: after a restart the views of the pool have their surprise again.
        stream = StreamName.surprise(self.settings.camera)
        follower = Follower(clients, stream, Surprise, start="0-0")
        while not self.stopping.is_set():
            for item in await self.redis(lambda: follower.read(count=1024, block_ms=500)) or []:
                self._pool.surprised(item.message.view, item.message.error)

    async def _dream_on(self, clients: RedisClients) -> None:
        # Versions never change, so dreaming disturbs no training, and other dreamers are welcome: the lease is a shared
        # one of its own. Whoever takes it exclusively makes everybody pause who dreams from this world model.
        ttl_ms = self.settings.lease_ttl_ms
        while not self.stopping.is_set():
            await self._turn_to(clients)
            resource = f"dreams/{self._world_model.model}"
            try:
                async with self._broker.lease(resource, holder=self._worker, ttl_ms=ttl_ms, mode="shared"):
                    self.set_ready("lease")
                    await self._dream_under_lease(clients)
            except (LeaseHeld, BrokerAway) as error:
                self.set_ready("lease", f"{resource}: {error}")
                await self.pause(1.0)
            except LeaseLost as error:
                self.set_ready("lease", str(error))
                self.log.warning("lease lost; asking for it again", reason=str(error))

    async def _turn_to(self, clients: RedisClients) -> None:
        """Choose the world model to dream from next, and whose policy moves there, of pools of more than one."""
        if len(self._world_models) > 1:
            name = await self._choose(clients)
            if name is not None and name != self._world_model.model:
                self._world_model = Head(self._broker, name, self._load_world_model)
                self._turns.inc()
                await self._world_model.look()
        if len(self._agents) > 1:
            self._policy = Head(self._broker, self._rng.choice(self._agents), self._load_policy)
            await self._policy.look()
        self._note_pair()
        self._review_readiness()

    async def _choose(self, clients: RedisClients) -> str | None:
        """Return one of the world models that have a version, as the settings choose; None if there is none."""
        try:
            heads = {name: await self._broker.head(name) for name in self._world_models}
        except (BrokerAway, RuntimeError) as error:
            self.log.warning("cannot choose a world model", reason=str(error))
            return None
        committed = {name: head.committed_at for name, head in heads.items() if head is not None}
        if not committed:
            return None
        if self.settings.dream_world_model == "random":
            return self._rng.choice(list(committed))
        if self.settings.dream_world_model == "freshest":
            return max(committed, key=lambda name: committed[name])
        latest = await self.redis(lambda: look_back(clients.commands, StreamName.DREAMS, DreamBatch, DREAMS_LENGTH))
        dreamt = Counter[str]()
        for item in latest or []:
            dreamt[item.message.world_model] += item.message.dreams
        return min(committed, key=lambda name: dreamt[name])

    async def _dream_under_lease(self, clients: RedisClients) -> None:
        """Dream until told to stop; from one of several world models, until it is another's turn."""
        left = self.settings.dream_turn
        while not await self.pause(self.settings.dream_interval):
            if len(self._world_models) > 1 or len(self._agents) > 1:
                left -= 1
                if left < 0:
                    return
            if "world-model" in self.not_ready or "views" in self.not_ready:
                continue
            if await self._learner_is_busy(clients):
                self._skipped.labels("backlog").inc()
                continue
            starts = self._pool.draw(self.settings.number_of_dreams // self.settings.per_start, self._rng)
            started = time.perf_counter()
            batch = await whole(asyncio.to_thread(self._dream, starts))
            if batch is not None:
                self._batch_seconds.observe(time.perf_counter() - started)
                await self._publish(clients, batch)

    async def _learner_is_busy(self, clients: RedisClients) -> bool:
        most = self.settings.dream_backlog
        waiting = await self.redis(lambda: unfinished(clients.commands, StreamName.DREAMS, LEARNER_GROUP, at_most=most))
        self._backlog.set(waiting or 0)
        return waiting is not None and waiting >= most

    def _dream(self, starts: Sequence[Start]) -> _Batch | None:
        """Dream and store one batch; None if that is impossible now, with the reason in the log."""
        world_model = self._world_model.current
        if world_model is None:
            return None
        agent, policy_version = self._dreamer(world_model)
        usable, images = self._decode(starts, world_model.value.config.image_size)
        if images is None:
            return None
        try:
            poses = pose_tensor([start.pose for start in usable])
            with torch.no_grad():
                embedding = world_model.value.encode(images, poses).embedding
            if self.settings.dream_pictures:
                self._paint(world_model, embedding, poses, images)
            dreams = dream(
                world_model.value,
                agent,
                embedding,
                poses,
                limits_tensor([start.limits for start in usable]),
                self._moves,
                length=self.settings.dream_length,
                random_share=self.settings.random_share,
                generator=self._generator,
                per_start=self.settings.per_start,
                surprise=world_model.value.config.surprise,
            )
        except ValueError as error:
            self._skipped.labels("not finite").inc()
            self.log.error("dreams thrown away", reason=str(error), version=world_model.version.version)
            return None
        origin = DreamOrigin(
            world_model=world_model.version.model,
            world_model_version=world_model.version.version,
            agent=self._policy.model,
            policy_version=policy_version,
            camera=self.settings.camera,
            action_table=self._table.digest,
        )
        try:
            batch = _Batch(dreams, self._save(dreams, origin), origin)
            self._not_stored = None
            return batch
        except StoreAway as error:
            self._not_stored = str(error)
            self._skipped.labels("store away").inc()
            self.log.warning("dreams thrown away", reason=str(error))
            return None

    def _paint(self, world_model: Loaded[WorldModel], embedding: Tensor, poses: Tensor, images: Tensor) -> None:
        """Teach the decoder by the views that dreams start from, and store it now and then."""
        config, name = world_model.value.config, world_model.version.model
        if self._painter is None or self._painted != name:
            self._painter = Painter(config.embedding_size, config.image_size, self.settings.seed)
            self._painted, self._lessons = name, 0
        self._decoder_error.set(self._painter.learn(embedding, poses, images))
        self._lessons += 1
        if self._lessons % DECODER_LESSONS == 1:
            card = {"world_model": name, "world_model_version": world_model.version.version}
            try:
                stored = self._store.put(f"decoders/{name}", save_decoder(self._painter.decoder, card))
                self._store.keep_newest(f"decoders/{name}", DECODERS_KEPT, keep=[stored.address])
            except StoreAway as error:
                self.log.warning("decoder not stored", reason=str(error))

    def _dreamer(self, world_model: Loaded[WorldModel]) -> tuple[Agent, int]:
        """Return who moves in the dream, and its version: the newest policy, or chance until one fits."""
        policy = self._policy.current
        if policy is not None:
            card = policy.value[1]
            # Of another world model the embeddings mean something else, whatever their size.
            if (card.world_model, card.config.embedding_size) == (
                world_model.version.model,
                world_model.value.config.embedding_size,
            ):
                return policy.value[0], policy.version.version
        return RandomAgent(len(self._table)), 0

    def _decode(self, starts: Sequence[Start], size: int) -> tuple[list[Start], torch.Tensor | None]:
        usable, images = [], []
        for start in starts:
            try:
                images.append(decode_images([start.jpeg], size))
                usable.append(start)
            except ValueError as error:
                # A whole image, or it would not be in the pool, but not of the size that this world model sees.
                self._pool.forget(start.view)
                self._rejected.inc()
                self.log.warning("view does not fit the world model", view=start.view, reason=str(error))
        return usable, torch.cat(images) if images else None

    def _save(self, dreams: Dreams, origin: DreamOrigin) -> Checkpoint:
        folder = f"dreams/{origin.world_model}"
        checkpoint = self._store.put(folder, dreams.to_bytes(origin))
        self._store.keep_newest(folder, self.settings.dream_files, keep=[checkpoint.address])
        return checkpoint

    async def _publish(self, clients: RedisClients, batch: _Batch) -> None:
        origin, checkpoint, dreams = batch.origin, batch.checkpoint, batch.dreams
        message = DreamBatch(
            source=self._worker,
            address=checkpoint.address,
            sha256=checkpoint.sha256,
            size=checkpoint.size,
            dreams=len(dreams),
            length=dreams.length,
            camera=origin.camera,
            world_model=origin.world_model,
            world_model_version=origin.world_model_version,
            agent=origin.agent,
            policy_version=origin.policy_version,
        )
        stream = StreamName.DREAMS
        await self.redis(lambda: publish(clients.commands, stream, message, max_length=DREAMS_LENGTH))
        self._last_batch.set_to_current_time()
        self._dreams_total.inc(len(dreams))
        self._steps_total.inc(len(dreams) * dreams.length)
        self._bytes_total.inc(checkpoint.size)
        self._reward_mean.set(float(dreams.rewards.mean()))
        self._reward_deviation.set(float(dreams.rewards.std()) if dreams.rewards.numel() > 1 else 0.0)
