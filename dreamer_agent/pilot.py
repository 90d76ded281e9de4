"""The pilot: sees each new view, chooses a move by the newest policy, and asks the camera for it."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from dreamer_agent import choices, tracking
from dreamer_agent.agents import Agent, Mode, PolicyCard, load_policy
from dreamer_agent.agents.base import certainty, choose, views_to_stay
from dreamer_agent.heads import Head, Loaded
from dreamer_agent.pools import pool
from dreamer_agent.reach import limits_tensor, pose_tensor
from dreamer_agent.settings import AgentSettings
from dreamer_agent.watching import note
from shared.actions import Action
from shared.broker.client import BrokerAway, BrokerClient, HeldLease, LeaseHeld, LeaseLost
from shared.errors import UserError
from shared.leases import ModelVersion
from shared.messages import Command, StreamName, View, utc_now
from shared.pose import PoseLimits
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.service import Service
from shared.store.model_store import ModelStore
from shared.streams import Follower, Received, publish
from shared.whole import whole
from shared.world_model import WorldModel, decode_images, load_checkpoint

COMMANDS_LENGTH = 256
STAY, STAND_IN = "stay", "stand-in"
"""How a move was chosen, besides the policy's modes: to dwell on a place, and by a baseline instead of a policy."""
_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Brain:
    """A policy and the eyes it learnt with: the very version of the world model, for embeddings differ by version."""

    agent: Agent
    card: PolicyCard
    world_model: WorldModel


@dataclass(frozen=True)
class Choice:
    """The index of a move, how it was chosen, and out of what."""

    action: int
    mode: Mode
    embedding: torch.Tensor
    log_probabilities: torch.Tensor
    """``[1, A]``, of every action."""
    meant: Action | None = None
    """The very move that was meant, where it is none of the table's."""


class Pilot(Service[AgentSettings]):
    """Steers one camera while it holds its lease.

    Without a policy the fallback steers; where there is none the pilot is silent, and the sampler moves by itself.
    """

    name: ClassVar[str] = "rl-agent-pilot"

    def __init__(self, settings: AgentSettings) -> None:
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        self._table = settings.actions()
        self._store = ModelStore.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._worker = f"{self.name}-{settings.node}"
        self._rng = random.Random(settings.seed)
        self._generator = torch.Generator().manual_seed(settings.seed)
        choices.learns(settings)  # says what cannot be before anything begins
        self._rewards = choices.rewards(settings)
        self._stand_in = choices.stand_in(settings)
        self._follows_policy = self._stand_in != settings.algorithm
        self._baseline: tuple[PoseLimits, Agent] | None = None
        self._agents = pool(settings.agent, settings.rl_models)
        self._head: Head[Brain] = Head(self._broker, self._agents[0], self._load)
        self._still = self._table.still()
        if settings.dwell >= 2.0 and self._still is None:
            raise UserError("setting PTZ_DWELL: the action table has no move that changes nothing; add one")
        self._staying = 0
        """Views still to be taken of the place where the camera is."""
        self._tracker = tracking.tracker(settings, self.metrics)
        self._make_metrics()

    async def run(self) -> None:
        """Follow the policy's head and steer, each without ever waiting for the other, until told to stop."""
        self.set_ready("policy", self._head.missing if self._follows_policy else None)
        try:
            async with self._tracker.open(), self.redis_clients() as clients, asyncio.TaskGroup() as group:
                if self._follows_policy:
                    group.create_task(self._follow_policy())
                group.create_task(self._keep_camera(clients))
        finally:
            await self._broker.aclose()

    def _make_metrics(self) -> None:
        metrics = self.metrics
        self._commands = metrics.counter("commands", "Commands published, by how the move was chosen", ("mode",))
        self._lost = metrics.counter("lost_commands", "Commands that could not be published")
        self._unusable = metrics.counter("unusable_views", "Views that could not be looked at")
        self._act_seconds = metrics.histogram(
            "act_seconds", "Seconds from having a view to having chosen a move", buckets=_BUCKETS
        )
        self._last_command = metrics.gauge("last_command_timestamp_seconds", "When a command was published last")
        self._steering = metrics.rows("steering_info", "1: the agent whose policy steers, or is to", ("agent",))
        self._steering.replace([((self._head.model,), 1.0)])
        for mode in (*Mode, STAY, STAND_IN):
            self._commands.labels(mode)
        metrics.gauge("policy_version", "Policy that steers; 0 for none").set_function(
            lambda: self._head.current.version.version if self._head.current else 0
        )
        metrics.gauge("policy_age_seconds", "Seconds since the policy in use was committed; NaN for none").set_function(
            self._policy_age
        )

    def _policy_age(self) -> float:
        current = self._head.current
        return max(0.0, (utc_now() - current.version.committed_at).total_seconds()) if current else float("nan")

    async def _follow_policy(self) -> None:
        chosen_at = time.monotonic() - self.settings.run_seconds
        while not self.stopping.is_set():
            if len(self._agents) > 1 and time.monotonic() - chosen_at >= self.settings.run_seconds:
                await self._change_agent()
                chosen_at = time.monotonic()
            await self._head.look()
            self.set_ready("policy", None if self._head.current else self._head.missing)
            self.set_ready("model-store", self._head.store_away)
            await self.pause(self.settings.head_seconds)

    async def _change_agent(self) -> None:
        """Turn to any other agent of the pool that has a policy; the one in charge steers on until it is loaded."""
        others = [name for name in self._agents if name != self._head.model or self._head.current is None]
        self._rng.shuffle(others)
        for name in others:
            head = Head(self._broker, name, self._load)
            await head.look()
            if head.current is not None:
                self._head = head
                self._steering.replace([((name,), 1.0)])
                return

    async def _load(self, version: ModelVersion) -> Brain:
        """Load a policy together with the world model it was trained on, in a thread."""
        agent, card = await asyncio.to_thread(
            lambda: load_policy(self._store.get(version.checkpoint), self._table, rewards=self._rewards)
        )
        current = self._head.current.value if self._head.current else None
        if current and (current.card.world_model, current.card.world_model_version) == (
            card.world_model,
            card.world_model_version,
        ):
            return Brain(agent, card, current.world_model)
        eyes = await self._broker.version(card.world_model, card.world_model_version)
        if eyes is None:
            raise ValueError(f"the registry has forgotten {card.world_model} version {card.world_model_version}")
        checkpoint = eyes.checkpoint
        world_model, _ = await asyncio.to_thread(lambda: load_checkpoint(self._store.get(checkpoint)))
        if world_model.config.embedding_size != card.config.embedding_size:
            raise ValueError(
                f"the policy wants embeddings of {card.config.embedding_size} numbers, "
                f"{card.world_model} version {card.world_model_version} makes {world_model.config.embedding_size}"
            )
        return Brain(agent, card, world_model.eval().requires_grad_(False))

    async def _keep_camera(self, clients: RedisClients) -> None:
        resource = f"camera/{self.settings.camera}"
        follower = Follower(clients, StreamName.views(self.settings.camera), View)
        while not self.stopping.is_set():
            try:
                async with self._broker.lease(
                    resource, holder=self._worker, ttl_ms=self.settings.lease_ttl_ms
                ) as lease:
                    self.set_ready("camera")
                    self.log.info("lease taken", resource=resource, fencing_token=lease.token)
                    await self._steer(lease, clients, follower)
            except (LeaseHeld, BrokerAway) as error:
                self.set_ready("camera", f"{resource}: {error}")
                await self.pause(1.0)
            except LeaseLost as error:
                self.set_ready("camera", str(error))
                self.log.warning("lease lost; asking for it again", reason=str(error))

    async def _steer(self, lease: HeldLease, clients: RedisClients, follower: Follower[View]) -> None:
        while not self.stopping.is_set():
            received = await self.redis(lambda: follower.read(block_ms=500))
            lease.check()
            for item in received or []:
                note(self._rewards, item.message)
            if received:
                # Only the newest: the camera has gone on from all others already.
                await self._answer(received[-1], lease, clients)

    async def _answer(self, view: Received[View], lease: HeldLease, clients: RedisClients) -> None:
        policy = self._head.current
        if self._staying > 0 and self._still is not None:
            self._staying -= 1
            await self._send(view, self._still, STAY, policy, lease, clients)
        elif policy is not None:
            chosen = await self._look(view, policy.value)
            if chosen is not None:
                action = self._table[chosen.action]
                if self.settings.free_moves and chosen.meant is not None:
                    action = chosen.meant
                command = await self._send(view, action, chosen.mode, policy, lease, clients)
                if command is not None:
                    self._track(command, chosen, policy.value.card)
        elif self._stand_in is not None:
            await self._send(view, self._next_of_baseline(view.message), STAND_IN, None, lease, clients)

    async def _look(self, view: Received[View], brain: Brain) -> Choice | None:
        """Choose a move; None where the view cannot be looked at."""
        daring = self._rng.random()
        started = time.perf_counter()
        try:
            share, generator = self.settings.greedy_share, self._generator
            looking = asyncio.to_thread(act, brain, view, greedy_share=share, daring=daring, generator=generator)
            chosen = await whole(looking)
        except ValueError as error:
            self._unusable.inc()
            self.log.warning("cannot look at this view", view=view.message.id, reason=str(error))
            return None
        self._act_seconds.observe(time.perf_counter() - started)
        return chosen

    def _next_of_baseline(self, view: View) -> Action:
        name = self._stand_in or ""
        if self._baseline is None or self._baseline[0] != view.limits:
            self._baseline = view.limits, choices.baseline(self.settings, name, view.limits)
        index, _ = self._baseline[1].act(
            torch.zeros(1, 1), pose_tensor([view.pose]), Mode.SAMPLE, generator=self._generator
        )
        return self._table[int(index)]

    async def _send(
        self,
        view: Received[View],
        action: Action,
        mode: str,
        policy: Loaded[Brain] | None,
        lease: HeldLease,
        clients: RedisClients,
    ) -> Command | None:
        """Ask the camera for a move; None if that was impossible."""
        command = Command(
            source=self._worker,
            camera=self.settings.camera,
            answers=view.message.id,
            action=action,
            token=lease.token,
            agent=policy.version.model if policy else self.settings.agent,
            policy_version=policy.version.version if policy else 0,
        )
        lease.check()
        try:
            stream = StreamName.commands(self.settings.camera)
            await publish(clients.commands, stream, command, max_length=COMMANDS_LENGTH)
        except REDIS_AWAY as error:
            # Not sent again: by the time Redis is back the camera has gone on by itself.
            self._lost.inc()
            self.log.warning("command lost", reason=f"{type(error).__name__}: {error}")
            return None
        self._commands.labels(mode).inc()
        self._last_command.set_to_current_time()
        if any((action.pan, action.tilt, action.zoom)):
            self._staying = views_to_stay(self.settings.dwell, self._rng.random())
        return command

    def _track(self, command: Command, chosen: Choice, card: PolicyCard) -> None:
        if not self._tracker.on:
            return
        thought = tracking.Thought(
            view=command.answers,
            command=command.id,
            time=command.time,
            action=command.action.name,
            mode=chosen.mode.value,
            agent=command.agent,
            policy_version=command.policy_version,
            world_model=card.world_model,
            world_model_version=card.world_model_version,
            embedding=chosen.embedding.squeeze(0).half().numpy(),
            log_probabilities=chosen.log_probabilities.squeeze(0).numpy(),
        )
        self._tracker.add(tracking.EMBEDDINGS, thought)


@torch.no_grad()
def act(
    brain: Brain,
    view: Received[View],
    *,
    greedy_share: float,
    daring: float,
    generator: torch.Generator | None = None,
) -> Choice:
    """Look at a view and choose the move to make.

    The best move is made if ``daring``, a random number in [0, 1), is below ``greedy_share`` times the policy's
    certainty here (one minus its entropy's share of the most possible); else the move is drawn. ``ValueError`` if the
    view's image cannot be used.
    """
    images = decode_images([view.blobs.get(View.JPEG, b"")], brain.world_model.config.image_size)
    pose = pose_tensor([view.message.pose])
    # Half precision and back, as in the dreams that the policy learnt from.
    embedding = brain.world_model.encode(images, pose).embedding.half().float()
    brain.agent.consult(brain.world_model, limits_tensor([view.message.limits]), brain.world_model.config.surprise)
    log_probs = brain.agent.log_probabilities(embedding, pose)
    # The best of moves that are all but alike is noise; made again and again it would pin the camera to one place.
    mode = Mode.GREEDY if daring < greedy_share * float(certainty(log_probs)) else Mode.SAMPLE
    index, _ = choose(log_probs, mode, generator=generator)
    brain.agent.moved(index)
    return Choice(int(index), mode, embedding, log_probs, _meant(brain.agent, index, log_probs))


def _meant(agent: Agent, index: torch.Tensor, log_probs: torch.Tensor) -> Action | None:
    """Return the move that an agent meant which is not bound to the table, unless chance chose otherwise."""
    if agent.meant is None or int(index) != int(log_probs.argmax()):
        return None
    pan, tilt, zoom = agent.meant[0].tolist()
    return Action(name="planned", pan=pan, tilt=tilt, zoom=zoom)
