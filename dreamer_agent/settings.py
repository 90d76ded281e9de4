"""Settings of the dream generator and of the agent; every one is an environment variable ``PTZ_…``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.settings import ServiceSettings
from shared.tracking import TrackSettings


class DreamerAgentSettings(ServiceSettings):
    """What the dream generator and the agent both need."""

    action_table: Path | None = Field(default=None, description="JSON file of moves; PTZJEPA's 21 where not given")
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
    dream_random_share: float = Field(default=0.1, ge=0.0, le=1.0, description="share of moves made at random")
    dream_views: int = Field(default=512, ge=16, le=65536, description="newest views that dreams can start from")
    dream_backlog: int = Field(default=8, ge=1, le=256, description="unread batches at which dreaming pauses")
    dream_files: int = Field(default=64, ge=2, le=65536, description="dream files kept in the model store")


class AgentSettings(DreamerAgentSettings, TrackSettings):
    """The learner's and the pilot's settings."""

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
