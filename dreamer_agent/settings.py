"""Settings of the dream generator and of the agent; every one is an environment variable ``PTZ_…``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.settings import ServiceSettings
from shared.tracking import TrackSettings

AgentName = Literal[
    "actor_critic", "dqn", "ppo", "grpo", "planner", "random", "sticky", "raster", "presets", "least_recently_viewed"
]
BaselineName = Literal["random", "sticky", "raster", "presets", "least_recently_viewed"]
GROUP = 16
"""Dreams from each start that ``grpo`` has where nothing else is set."""


class DreamerAgentSettings(ServiceSettings):
    """What the dream generator and the agent both need."""

    action_table: Path | None = Field(default=None, description="JSON file of moves; PTZJEPA's 21 where not given")
    algorithm: AgentName = Field(
        default="actor_critic",
        description="the agent that learns and steers: actor_critic, dqn, ppo, grpo or planner; or a baseline that "
        "does not learn: random, sticky, raster, presets or least_recently_viewed",
    )
    models: int = Field(
        default=1, ge=1, le=100, description="world models in the pool: PTZ_WORLD_MODEL and those numbered after it"
    )
    rl_models: int = Field(
        default=1, ge=1, le=100, description="agents in the pool: PTZ_AGENT and those numbered after it"
    )
    head_seconds: float = Field(default=2.0, gt=0.0, le=600.0, description="seconds between looks at a model's head")

    lease_ttl_ms: int = Field(
        default=30_000,
        ge=1_000,
        le=600_000,
        description="life of leases of agent, camera and dreams, unless renewed",
    )

    def actions(self) -> ActionTable:
        """Return the table of moves. ``UserError`` where the file is not one."""
        return DEFAULT_ACTIONS if self.action_table is None else ActionTable.load(self.action_table)


class DreamSettings(DreamerAgentSettings):
    """The dream generator's settings. ``number_of_dreams`` and ``dream_length`` keep PTZJEPA's names."""

    number_of_dreams: int = Field(default=64, ge=1, le=4096, description="dreams per batch")
    dream_length: int = Field(default=10, ge=1, le=256, description="steps per dream")
    dream_interval: float = Field(default=2.0, ge=0.0, le=3600.0, description="seconds from one batch to the next")
    dreams_per_start: int | None = Field(
        default=None, ge=1, le=1024, description=f"dreams that begin at the same view; not set: 1, {GROUP} for grpo"
    )
    dream_policy: Literal["policy", "random", "mix"] = Field(
        default="mix", description="who moves in dreams: the agent's policy, chance, or both"
    )
    dream_random_share: float = Field(
        default=0.1, ge=0.0, le=1.0, description="mix: share of moves made at random, the rest by the policy"
    )
    dream_world_model: Literal["freshest", "random", "least_dreamed"] = Field(
        default="freshest",
        description="which world model of the pool to dream from: the newest committed, any, "
        "or the one with the fewest of the latest dreams",
    )
    dream_turn: int = Field(
        default=8, ge=1, le=65536, description="batches dreamt from one world model of a pool before choosing again"
    )
    dream_views: int = Field(
        default=512, ge=16, le=65536, description="views that dreams can start from: the newest, and one of each place"
    )
    dream_pictures: bool = Field(
        default=False, description="teach an image decoder beside the dreaming, for `ptzjepa dream show`"
    )
    dream_backlog: int = Field(default=8, ge=1, le=256, description="unread batches at which dreaming pauses")
    dream_files: int = Field(default=64, ge=2, le=65536, description="dream files kept in the model store")

    @property
    def random_share(self) -> float:
        """The share of dreamed moves that chance makes."""
        return {"policy": 0.0, "random": 1.0, "mix": self.dream_random_share}[self.dream_policy]

    @property
    def per_start(self) -> int:
        """Dreams that begin at the same view, never more than there are dreams."""
        wanted = self.dreams_per_start or (GROUP if self.algorithm == "grpo" else 1)
        return min(wanted, self.number_of_dreams)


class AgentSettings(DreamerAgentSettings, TrackSettings):
    """The learner's and the pilot's settings."""

    agent_options: dict[str, Any] = Field(
        default_factory=dict, description='fields of a new agent\'s configuration: {"variant": "upstream"} of dqn'
    )
    rewards: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default={"disagreement": 1.0, "staleness": 0.5},
        min_length=1,
        description="rewards and their weights: disagreement, error, progress, surprise (the world model's, whatever "
        "it is), gradient, gradient_delta, gradient_sign, novelty, staleness, extrinsic, slew",
    )
    extrinsic: Path | None = Field(
        default=None, description="safetensors file with the weight, and perhaps bias, of the reward extrinsic"
    )
    slew_cost: float = Field(
        default=0.0, ge=0.0, description="weight of the way that moves go, as a cost beside the rewards"
    )
    loyal: bool = Field(
        default=False, description="an agent learns only from dreams of the world model that it learnt from before"
    )
    run_seconds: float = Field(
        default=600.0, gt=0.0, description="seconds until learner and pilot go on to another agent of a pool"
    )
    fallback: Literal["none"] | BaselineName = Field(
        default="none", description="baseline that steers while there is no policy; none: the sampler moves by itself"
    )
    free_moves: bool = Field(
        default=False, description="planner by cem: make the very moves it means, which the sampler must allow as well"
    )
    dwell: float = Field(
        default=1.1,
        ge=1.0,
        le=1000.0,
        description="views taken of a place before the pilot moves on, on average; only standing still tells noise",
    )
    policy_seconds: float = Field(default=10.0, gt=0.0, le=3600.0, description="seconds between policy versions")
    keep_last: int = Field(default=16, ge=1, le=65536, description="newest versions kept in the model store")
    keep_best: int = Field(default=1, ge=0, le=65536, description="versions with the highest mean return kept besides")
    updates_per_batch: int = Field(default=8, ge=1, le=1024, description="updates for each batch of dreams that comes")
    dreams_per_update: int = Field(default=128, ge=1, le=65536, description="dreams in one update")
    dream_buffer: int = Field(default=8, ge=1, le=256, description="batches of dreams that updates draw from")
    dream_version_lag: int = Field(
        default=3, ge=0, le=1000, description="world-model versions that a dream may lie behind the newest"
    )
    greedy_share: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="share of moves that are the policy's best where it is sure; less where it is not",
    )
