"""The learner: improves the policy in dreams and commits new versions of it under the agent's lease."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import ClassVar

import torch

from dreamer_agent import choices
from dreamer_agent.agents import LearnedAgent, PolicyCard, load_policy, save_policy
from dreamer_agent.dream_buffer import DreamBuffer
from dreamer_agent.dreams import DreamOrigin, Dreams
from dreamer_agent.learner_metrics import LearnerMetrics
from dreamer_agent.pools import pool
from dreamer_agent.settings import AgentSettings
from dreamer_agent.watching import watch
from shared.broker.client import BrokerAway, BrokerClient, CommitRefused, HeldLease, LeaseHeld, LeaseLost
from shared.broker.lineage import TrainingRun
from shared.leases import CommitRequest, Lineage, ModelVersion, Parent
from shared.messages import Checkpoint, DreamBatch, StreamName, TrainingProgress
from shared.redis_client import RedisClients
from shared.service import Service
from shared.store.model_store import CorruptObject, MissingObject, ModelStore, StoreAway
from shared.store.retention import Keep, sweep
from shared.stream_metrics import StreamMetrics
from shared.streams import Consumer, Received, publish
from shared.whole import whole

GROUP = "rl-agent"
PROGRESS_LENGTH = 4096
HEADS_TRIED = 5
"""So many versions back the learner looks for weights to go on from, when the head's file is gone or damaged."""


class Learner(Service[AgentSettings]):
    """One learner per agent at a time: it learns only while it holds the agent's lease."""

    name: ClassVar[str] = "rl-agent-learner"

    def __init__(self, settings: AgentSettings) -> None:
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        self._table = settings.actions()
        self._store = ModelStore.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._buffer = DreamBuffer(settings.dream_buffer, settings.dream_version_lag, settings.seed)
        self._worker = f"{self.name}-{settings.node}"
        self._learns = choices.learns(settings)
        self._rewards = choices.rewards(settings)
        self._agents = pool(settings.agent, settings.rl_models)
        self._world_models = pool(settings.world_model, settings.models)
        self._name = self._agents[0]
        self._world_model: str | None = None
        """What this run's dreams are of: None until one of a pool has been chosen."""
        self._dreamt_of: str | None = None
        """What the dreams in the buffer are of."""
        self._agent: LearnedAgent | None = None
        self._head: int | None = None
        """The version that ours goes on from: 0 while the agent has none, None while that is not known."""
        self._run = TrainingRun(settings.agent, None)
        self._keep = Keep(settings.keep_last, settings.keep_best, "losses.return_mean", highest=True)
        self._dreams = 0
        self._committed_updates = 0
        self._terms: dict[str, float] = {}
        self._watch = LearnerMetrics(self.metrics)
        self._streams = StreamMetrics(self.metrics, "dreams")
        self.metrics.disks({"model-store": self._store.directory})

    async def run(self) -> None:
        """Take the lease, learn under it, and take it again whenever it is lost. A baseline has nothing to learn."""
        try:
            if not self._learns:
                self.log.info("nothing to learn", algorithm=self.settings.algorithm)
                await self.stopping.wait()
                return
            async with self.redis_clients() as clients, asyncio.TaskGroup() as group:
                if self._rewards.remembers:
                    group.create_task(watch(self, clients, self._rewards))
                group.create_task(self._work(clients))
        finally:
            await self._broker.aclose()

    async def _work(self, clients: RedisClients) -> None:
        consumer = Consumer(clients, StreamName.DREAMS, DreamBatch, group=GROUP, name=self._worker)
        async with self._streams.watching("dreams", consumer):
            while not self.stopping.is_set():
                await self._work_under_lease(clients, consumer)

    def _lease(self) -> contextlib.AbstractAsyncContextManager[HeldLease]:
        resources = [f"agent/{name}" for name in self._agents]
        ttl_ms = self.settings.lease_ttl_ms
        if len(resources) == 1:
            return self._broker.lease(resources[0], holder=self._worker, ttl_ms=ttl_ms)
        return self._broker.lease_any(resources, holder=self._worker, ttl_ms=ttl_ms)

    async def _work_under_lease(self, clients: RedisClients, consumer: Consumer[DreamBatch]) -> None:
        resource = f"agent/{self._name}"
        try:
            async with self._lease() as lease:
                resource = lease.resource
                self.log.info("lease taken", resource=resource, fencing_token=lease.token)
                self._take_up(resource.removeprefix("agent/"))
                await self._resume()
                self.set_ready("lease")
                await self._learn_under(lease, clients, consumer)
        except (LeaseHeld, BrokerAway, MissingObject, CorruptObject, StoreAway) as error:
            self.set_ready("lease", f"{resource}: {error}")
            if isinstance(error, StoreAway):
                self.set_ready("model-store", str(error))
            await self.pause(1.0)
        except (LeaseLost, CommitRefused) as error:
            # If somebody else has moved the head meanwhile, what is there counts, not what we have in memory.
            self.log.warning("taking the lease again", reason=str(error))
            await self.pause(0.2)

    def _take_up(self, name: str) -> None:
        """Turn to the agent called ``name``; what is in memory of another one is not its own."""
        if name != self._name:
            self._name, self._agent, self._head, self._terms = name, None, None, {}
        self._watch.runs.inc()
        self._turn_to(self._world_models[0] if len(self._world_models) == 1 else None)

    def _turn_to(self, world_model: str | None) -> None:
        """Learn from this world model's dreams from now on, and forget those of another."""
        if world_model is not None and world_model != self._dreamt_of:
            self._buffer.forget()
            self._dreamt_of = world_model
        self._world_model = world_model
        self._watch.learning(self._name, self.settings.algorithm, world_model)

    async def _resume(self) -> None:
        """Go on from the newest version whose file is whole; from a new agent if there is none or none that fits."""
        versions = await self._broker.versions(self._name, HEADS_TRIED)
        head = versions[0].version if versions else 0
        self._run, self._dreams = TrainingRun(self._name, versions[0] if versions else None), 0
        if self._agent is not None and head == self._head:
            return
        self._agent = await self._newest_whole(versions) if versions else None
        self._head = head
        self._committed_updates = self._agent.updates if self._agent else 0
        self._watch.policy_version.set(head)

    async def _newest_whole(self, versions: Sequence[ModelVersion]) -> LearnedAgent | None:
        """Return the newest version that can be loaded; None if it does not fit what we are told to do.

        Raises why the last one could not be read if no file is whole: to start afresh would throw away all that the
        agent has learnt because, say, a disk is not mounted.
        """
        problem: Exception | None = None
        for version in versions:
            try:
                agent, card = await asyncio.to_thread(self._load, version)
            except (MissingObject, CorruptObject) as error:
                self.log.error("policy cannot be loaded", version=version.version, reason=str(error))
                problem = error
            except ValueError as error:
                self.log.warning("policy does not fit; starting a new one", version=version.version, reason=str(error))
                return None
            else:
                if self.settings.loyal and card.world_model in self._world_models:
                    self._turn_to(card.world_model)
                if card.world_model == self._world_model:
                    self._buffer.hear_of(card.world_model_version)
                self.log.info("policy loaded", version=version.version, updates=agent.updates)
                return agent
        if problem is not None:
            raise problem
        return None

    def _load(self, version: ModelVersion) -> tuple[LearnedAgent, PolicyCard]:
        data = self._store.get(version.checkpoint)
        agent, card = load_policy(data, self._table, seed=self.settings.seed, rewards=self._rewards)
        if reason := choices.misfit(self.settings, card):
            raise ValueError(reason)
        if self._world_model not in (None, card.world_model):
            self.log.warning("trained on another world model", then=card.world_model, now=self._world_model)
        return agent, card

    async def _learn_under(self, lease: HeldLease, clients: RedisClients, consumer: Consumer[DreamBatch]) -> None:
        last_commit = started = time.monotonic()
        while not self.stopping.is_set():
            lease.check()
            if len(self._agents) > 1 and time.monotonic() - started >= self.settings.run_seconds:
                break
            received = await self.redis(lambda: consumer.read(count=8, block_ms=500))
            if received:
                await whole(self._learn_from(received, clients, consumer))
            if time.monotonic() - last_commit >= self.settings.policy_seconds and self._has_learnt:
                await self._commit(lease)
                last_commit = time.monotonic()
        if self._has_learnt:
            await self._commit(lease)

    @property
    def _has_learnt(self) -> bool:
        return self._agent is not None and self._agent.updates > self._committed_updates

    async def _learn_from(
        self, received: Sequence[Received[DreamBatch]], clients: RedisClients, consumer: Consumer[DreamBatch]
    ) -> None:
        if self._world_model is None:
            # Of a pool, the one that is being dreamt of just now; this run stays with it.
            dreamt = [item.message.world_model for item in received if item.message.world_model in self._world_models]
            self._turn_to(dreamt[-1] if dreamt else None)
        for item in received:
            if item.message.world_model == self._world_model:
                self._buffer.hear_of(item.message.world_model_version)
        taken = 0
        finished = []
        for item in received:
            try:
                taken += await self._take(item.message)
                finished.append(item)
            except (CorruptObject, ValueError) as error:
                self._watch.ignored.labels("unreadable").inc()
                reason = str(error)
                await self.redis(lambda item=item, reason=reason: consumer.reject(item, reason))  # type: ignore[misc]
        if taken:
            self._terms = await asyncio.to_thread(self._update, taken * self.settings.updates_per_batch)
            await self._report(clients)
        await self.redis(lambda: consumer.done(finished))

    async def _take(self, message: DreamBatch) -> int:
        """Fetch a batch of dreams; returns how many batches the buffer gained: one, or none if it is of no use now."""
        reason = self._useless(message)
        if reason is None:
            try:
                dreams, origin = await asyncio.to_thread(self._fetch, message)
            except (MissingObject, StoreAway) as error:
                # Dreams age quickly: those that cannot be had now are not waited for.
                reason = "gone"
                if isinstance(error, StoreAway):
                    self.set_ready("model-store", str(error))
            else:
                self.set_ready("model-store")
                self._fit_agent(dreams)
                self._buffer.add(dreams, origin)
                self._watch.batches.inc()
                self._watch.dreams.inc(len(dreams))
                self._dreams += len(dreams)
                return 1
        self._watch.ignored.labels(reason).inc()
        return 0

    def _useless(self, message: DreamBatch) -> str | None:
        if message.world_model != self._world_model:
            return "other world model"
        return "stale" if self._buffer.is_stale(message.world_model_version) else None

    def _fetch(self, message: DreamBatch) -> tuple[Dreams, DreamOrigin]:
        described = Checkpoint(address=message.address, sha256=message.sha256, size=message.size)
        dreams, origin = Dreams.from_bytes(self._store.get(described))
        if origin.action_table != self._table.digest:
            raise ValueError(f"dreamt with the action table {origin.action_table}, not with ours, {self._table.digest}")
        if int(dreams.actions.max()) >= len(self._table):
            raise ValueError(f"an action beyond the table's {len(self._table)}")
        said = (message.world_model, message.world_model_version)
        if (origin.world_model, origin.world_model_version) != said:
            raise ValueError(f"the file is of {origin.world_model} version {origin.world_model_version}, not of {said}")
        self._try_rewards(dreams)
        return dreams, origin

    def _try_rewards(self, dreams: Dreams) -> None:
        """Raise ``ValueError`` with the reason if these dreams cannot give the rewards that the settings choose."""
        try:
            self._rewards.combine(dreams.pick(torch.tensor([0])), learn=False)
        except ValueError as error:
            self.set_ready("rewards", str(error))
            raise
        self.set_ready("rewards")

    def _fit_agent(self, dreams: Dreams) -> None:
        size = dreams.embedding_size
        if self._agent is not None and self._agent.config.embedding_size == size:
            return
        if self._agent is not None:
            self.log.warning("embeddings changed size; a new agent", now=size)
        self._agent = choices.new_agent(self.settings, size, self._table, self._rewards)
        self._committed_updates = 0

    def _update(self, times: int) -> dict[str, float]:
        agent, terms = self._agent, self._terms
        if agent is None:
            return terms
        for _ in range(times):
            started = time.perf_counter()
            terms = agent.update(self._buffer.draw(self.settings.dreams_per_update))
            self._watch.updated(terms, time.perf_counter() - started)
        return terms

    async def _report(self, clients: RedisClients) -> None:
        if self._agent is None:
            return
        # Terms of a step that was not made may be NaN, which no message carries.
        terms = {name: value for name, value in self._terms.items() if abs(value) < float("inf")}
        progress = TrainingProgress(source=self._worker, learner=self._name, step=self._agent.updates, terms=terms)
        stream = StreamName.PROGRESS
        await self.redis(lambda: publish(clients.commands, stream, progress, max_length=PROGRESS_LENGTH))

    async def _commit(self, lease: HeldLease) -> None:
        """Store the policy under a new name, then ask the broker to move the head; nothing broken is ever stored."""
        agent, head = self._agent, self._head
        if agent is None or head is None:
            return
        if not agent.finite():
            self._watch.commits.labels("not finite").inc()
            self.log.error("weights are not finite; going back to the head", updates=agent.updates)
            self._agent = None
            await self._resume()
            return
        updates, card = agent.updates, self._policy_card(agent, head + 1)
        checkpoint = await whole(asyncio.to_thread(self._save, agent, card))
        self.set_ready("model-store")
        request = CommitRequest(
            lease_id=lease.lease_id,
            token=lease.token,
            expected_head=head,
            checkpoint=checkpoint,
            card=self._registry_card(agent, card, head),
            lineage=self._lineage(card, head),
        )
        committed = await self._send(request, lease)
        if committed is None:
            return
        self._head, self._committed_updates = committed.version, updates
        self._watch.commits.labels("committed").inc()
        self._watch.policy_version.set(committed.version)
        self._watch.last_commit.set_to_current_time()
        self.log.info("policy committed", version=committed.version, updates=updates)
        await self._sweep()

    async def _send(self, request: CommitRequest, lease: HeldLease) -> ModelVersion | None:
        """Commit, waiting through the broker's absences; None when told to stop meanwhile."""
        while True:
            lease.check()
            try:
                return await self._broker.commit(self._name, request)
            except CommitRefused:
                self._watch.commits.labels("refused").inc()
                raise
            except BrokerAway as error:
                # The request carries its id: asking again cannot commit twice.
                self._watch.commits.labels("away").inc()
                self.log.warning("commit not answered", reason=str(error))
                if await self.pause(max(0.5, error.after)):
                    return None

    def _save(self, agent: LearnedAgent, card: PolicyCard) -> Checkpoint:
        return self._store.put(f"agents/{self._name}", save_policy(agent, card))

    async def _sweep(self) -> None:
        try:
            folder = f"agents/{self._name}"
            await sweep(self._store, folder, self._broker, self._name, self._keep)
        except (BrokerAway, StoreAway) as error:
            self.log.warning("old versions not deleted; after the next commit, then", reason=str(error))

    def _lineage(self, card: PolicyCard, head: int) -> Lineage:
        eyes = Parent(model=card.world_model, version=card.world_model_version)
        return self._run.lineage(Parent(model=card.agent, version=head) if head else None, eyes)

    def _policy_card(self, agent: LearnedAgent, version: int) -> PolicyCard:
        return PolicyCard(
            algorithm=agent.algorithm,
            agent=self._name,
            policy_version=version,
            world_model=self._dreamt_of or self._world_models[0],
            world_model_version=max(1, self._buffer.newest_version),
            action_table=self._table.digest,
            config=agent.config,
            rewards=choices.reward_weights(self.settings),
        )

    def _registry_card(self, agent: LearnedAgent, card: PolicyCard, head: int) -> dict[str, object]:
        return {
            "algorithm": card.algorithm,
            "rewards": card.rewards,
            "world_model": card.world_model,
            "world_model_version": card.world_model_version,
            "action_table": card.action_table,
            "parents": [head] if head else [],
            "updates": agent.updates,
            "dreams": self._dreams,
            "losses": {name: value for name, value in self._terms.items() if abs(value) < float("inf")},
            "action_shares": self._action_shares(agent),
            "seed": self.settings.seed,
        }

    def _action_shares(self, agent: LearnedAgent) -> dict[str, float]:
        """Return how often the policy would choose each action in the states of the newest dreams."""
        if not len(self._buffer) or agent.needs_world_model:
            return {}
        dreams = self._buffer.newest()
        with torch.no_grad():
            log_probs = agent.log_probabilities(dreams.embeddings.float().flatten(0, 1), dreams.poses.flatten(0, 1))
        shares = log_probs.exp().mean(dim=0).tolist()
        return {action.name: round(share, 5) for action, share in zip(self._table.actions, shares, strict=True)}
