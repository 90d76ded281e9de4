"""The agent that does not learn to move: it tries moves in the world model and makes the one that promises most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dreamer_agent.agents.base import LearnedAgent
from dreamer_agent.agents.learning import mixed_with_chance, under
from dreamer_agent.agents.networks import AgentConfig
from dreamer_agent.dreams import Dreams
from dreamer_agent.imagination import Imagination
from dreamer_agent.reach import reach
from dreamer_agent.rewards import RewardMix, SurpriseReward, WeightedReward


class PlannerConfig(AgentConfig):
    """How far and how widely it looks."""

    method: Literal["beam", "cem"] = Field(default="beam", description="over the table's moves, or over any")
    depth: int = Field(default=2, ge=1, le=16, description="moves looked ahead")
    beam: int = Field(default=8, ge=1, le=4096, description="beam: sequences kept from move to move")
    samples: int = Field(default=64, ge=4, le=4096, description="cem: sequences tried at a time")
    elites: int = Field(default=8, ge=2, le=4096, description="cem: best of them that set where to look next")
    rounds: int = Field(default=4, ge=1, le=64, description="cem: times to look")
    discount: float = Field(default=0.97, gt=0.0, lt=1.0)
    temperature: float = Field(
        default=0.1, gt=0.0, description="returns so far apart differ by a factor of e in choice"
    )
    unimix: float = Field(default=0.01, ge=0.0, lt=1.0)


class Planner(LearnedAgent):
    """Scores sequences of moves by the very rewards that other agents learn from.

    ``beam``: every move of the table, then every move after the best sequences, and so on; with a beam as wide as the
    table it is exhaustive to depth two. ``cem``: the cross-entropy method over free changes of pan, tilt and zoom; its
    distribution over the table stands on the move nearest to what it ``meant``. All that an update learns is the
    rewards' scales, for which dreams of random moves do.
    """

    algorithm: ClassVar[str] = "planner"
    needs_world_model: ClassVar[bool] = True
    config: PlannerConfig
    dreams_at_random = True

    def __init__(self, config: PlannerConfig, deltas: Tensor, seed: int = 0, rewards: RewardMix | None = None) -> None:
        self.config = config
        self.rewards = rewards or RewardMix([WeightedReward(SurpriseReward())])
        self.updates = 0
        self._deltas = deltas
        self._step = deltas.abs().amax(dim=0).clamp_min(1e-6)
        """The largest change on each axis: what ``cem`` may do in one move, and how widely it begins to look."""
        self._generator = torch.Generator().manual_seed(seed)
        self._world_model: Imagination | None = None
        self._limits = torch.empty(0)
        self._surprise = ""

    def consult(self, world_model: Imagination, limits: Tensor, surprise: str) -> None:
        """See ``Agent.consult``. Without it there is no planning: ``RuntimeError``."""
        self._world_model, self._limits, self._surprise = world_model, limits, surprise

    @torch.no_grad()
    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: moves in proportion to the exponential of the best return after each."""
        if self._world_model is None:
            raise RuntimeError("a planner needs a world model: call consult first")
        each = [self._think(embedding[row : row + 1], pose[row : row + 1]) for row in range(len(pose))]
        log_probs = torch.stack([scores for scores, _ in each]).log_softmax(dim=-1)
        meant = [delta for _, delta in each if delta is not None]
        self.meant = torch.stack(meant) if meant else None
        return mixed_with_chance(log_probs, self.config.unimix)

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Let the rewards' scales follow. See ``Agent.update``."""
        rewards, terms = self.rewards.combine(dreams)
        self.updates += 1
        return {**terms, "return_mean": float(rewards.mean()), "skipped": 0.0}

    def state(self) -> dict[str, Tensor]:
        """Return the rewards' scales and the count of updates."""
        scales = {f"reward.{name}": value for name, value in self.rewards.state().items()}
        return {**scales, "updates": torch.tensor([self.updates])}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See ``Agent.load_state``."""
        if "updates" not in state:
            raise ValueError("tensors are missing: ['updates']")
        self.rewards.load_state(under(state, "reward"))
        self.updates = int(state["updates"].item())

    def _think(self, embedding: Tensor, pose: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits ``[A]`` of the table's moves, and the move ``[3]`` that is meant if it may be any."""
        if self.config.method == "beam":
            return self._beam(embedding, pose) / self.config.temperature, None
        delta = self._cross_entropy(embedding, pose)
        apart = ((self._deltas - delta) / self._step).square().sum(dim=-1)
        logits = torch.full((len(self._deltas),), -torch.inf)
        logits[apart.argmin()] = 0.0
        return logits, delta

    def _beam(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[A]``: the best return found after each first move; less than any where it was given up early."""
        count, kept = len(self._deltas), torch.empty(1, 0, dtype=torch.int64)
        best = torch.empty(0)
        for _ in range(self.config.depth):
            tried = torch.cat(
                [kept.repeat_interleave(count, dim=0), torch.arange(count).repeat(len(kept)).unsqueeze(1)], dim=1
            )
            scores = self._returns(embedding, pose, self._deltas[tried], tried)
            best = torch.full((count,), -torch.inf).scatter_reduce(0, tried[:, 0], scores, "amax")
            kept = tried[scores.topk(min(self.config.beam, len(scores))).indices]
        return best

    def _cross_entropy(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return the first move ``[3]`` of the best sequence found."""
        config, step = self.config, self._step
        mean, deviation = torch.zeros(config.depth, 3), step.expand(config.depth, 3).clone()
        best, best_score = mean, -torch.inf
        for _ in range(config.rounds):
            noise = torch.randn(config.samples, config.depth, 3, generator=self._generator)
            tried = (mean + deviation * noise).clamp(-step, step)
            scores = self._returns(embedding, pose, tried, torch.zeros(tried.shape[:2], dtype=torch.int64))
            order = scores.argsort(descending=True)[: config.elites]
            if float(scores[order[0]]) > best_score:
                best, best_score = tried[order[0]], float(scores[order[0]])
            mean = tried[order].mean(dim=0)
            deviation = tried[order].std(dim=0).clamp_min(0.01 * step)
        return best[0]

    def _returns(self, embedding: Tensor, pose: Tensor, deltas: Tensor, actions: Tensor) -> Tensor:
        """Return ``[N]``: the discounted rewards of ``deltas [N, T, 3]`` from one view ``[1, D]`` at ``[1, 3]``."""
        world_model = self._world_model
        assert world_model is not None  # noqa: S101 - log_probabilities has seen to it
        count = len(deltas)
        embedding, pose = embedding.expand(count, -1), pose.expand(count, -1)
        embeddings, poses, surprises = [embedding.half()], [pose], []
        for step in range(deltas.shape[1]):
            following = reach(pose + deltas[:, step], self._limits)
            foresight = world_model.predict(embedding, pose, deltas[:, step], following)
            embedding, pose = foresight.embedding.half().float(), following
            embeddings.append(embedding.half())
            poses.append(pose)
            surprises.append(foresight.surprise.float())
        dreams = Dreams(
            torch.stack(embeddings, dim=1),
            torch.stack(poses, dim=1),
            actions,
            torch.zeros(actions.shape),
            torch.stack(surprises, dim=1),
            torch.zeros(count, dtype=torch.int32),
            self._surprise,
        )
        rewards, _ = self.rewards.combine(dreams, learn=False)
        powers = self.config.discount ** torch.arange(rewards.shape[1], dtype=rewards.dtype)
        return (rewards * powers).sum(dim=1)
