"""What the lock broker's REST API says about leases and models: one set of types for both sides.

A lease is time-bounded exclusive use of a resource (``world-model/wm_00_03``, ``camera/north``). Its fencing token only
grows; whoever writes under a lease shows the token, and the broker refuses one that is no longer the newest.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.messages import Checkpoint, Name

Resource = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,30}/[a-z0-9][a-z0-9._-]{0,62}$")]
"""A kind and a name: ``world-model/wm_00_03``, ``agent/ag_00_00``, ``camera/north``."""

TTL_MIN_MS, TTL_MAX_MS, TTL_DEFAULT_MS = 1_000, 600_000, 30_000


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Return seconds since the host started, sleep included, whatever the wall clock does: what leases live by."""
    return time.clock_gettime(_BOOT_CLOCK)


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeaseRequest(_Wire):
    """``POST /v1/leases``: ask for a lease. The same ``request_id`` again returns the same lease."""

    resource: Resource
    holder: str = Field(min_length=1, max_length=128, description="a label for people; not a credential")
    ttl_ms: int = Field(default=TTL_DEFAULT_MS, ge=TTL_MIN_MS, le=TTL_MAX_MS)
    request_id: str = Field(default_factory=lambda: uuid.uuid4().hex, min_length=8, max_length=64)


class LeaseRenewal(_Wire):
    """``PATCH /v1/leases/{lease_id}``: go on holding it for ``ttl_ms`` from now."""

    ttl_ms: int = Field(default=TTL_DEFAULT_MS, ge=TTL_MIN_MS, le=TTL_MAX_MS)


class Lease(_Wire):
    """A granted lease. Durations are relative: clients' clocks are not compared with the broker's."""

    lease_id: str
    resource: Resource
    holder: str
    token: int = Field(ge=1, description="fencing token: only grows, per resource")
    expires_in_ms: int = Field(ge=0)


class LeaseList(_Wire):
    """``GET /v1/leases``."""

    leases: list[Lease]


class CommitRequest(_Wire):
    """``POST /v1/models/{name}/versions``: make a stored checkpoint the model's head."""

    lease_id: str
    token: int = Field(ge=1)
    expected_head: int = Field(ge=0, description="the version that the writer started from; 0 for none")
    checkpoint: Checkpoint
    card: dict[str, Any] = Field(default_factory=dict, description="lineage, data, losses")
    request_id: str = Field(default_factory=lambda: uuid.uuid4().hex, min_length=8, max_length=64)


class ModelVersion(_Wire):
    """One immutable version of a model, as the registry knows it."""

    model: Name
    version: int = Field(ge=1)
    token: int = Field(ge=1)
    committed_at: AwareDatetime
    checkpoint: Checkpoint
    card: dict[str, Any]


class VersionList(_Wire):
    """``GET /v1/models/{name}/versions``, newest first."""

    versions: list[ModelVersion]


class ModelState(_Wire):
    """``GET /v1/models/{name}``: the head, if the model has one."""

    model: Name
    head: ModelVersion | None


class ModelList(_Wire):
    """``GET /v1/models``."""

    models: list[ModelState]


class Problem(BaseModel):
    """An error body, RFC 9457 (``application/problem+json``)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
