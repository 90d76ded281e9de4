"""What the lock broker's REST API says about leases and models: one set of types for both sides.

A lease is time-bounded use of a resource (``world-model/wm_00_03``, ``camera/north``): exclusive, for whoever writes,
or shared with other readers. Its fencing token only grows; whoever writes under an exclusive lease shows the token, and
the broker refuses one that is no longer the newest.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.messages import Checkpoint, Name, Whole

Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,30}$")]
"""What a resource is: ``world-model``, ``agent``, ``camera``."""
Resource = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,30}/[a-z0-9][a-z0-9._-]{0,62}$")]
"""A kind and a name: ``world-model/wm_00_03``, ``agent/ag_00_00``, ``camera/north``."""
Mode = Literal["exclusive", "shared"]
"""``exclusive``: nobody else has a lease of the resource. ``shared``: others may have shared ones."""
Choice = Literal["least-recently-trained", "random", "round-robin"]
"""How to pick one of several free resources. *Trained* is leased exclusively."""
RequestId = Annotated[str, StringConstraints(min_length=8, max_length=64)]

TTL_MIN_MS, TTL_MAX_MS, TTL_DEFAULT_MS = 1_000, 600_000, 30_000
WAIT_MAX_MS = 30_000
ANY_MAX = 256
"""Most resources that one request may offer to choose from."""


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Return seconds since the host started, sleep included, whatever the wall clock does: what leases live by."""
    return time.clock_gettime(_BOOT_CLOCK)


def new_request_id() -> str:
    """Return a fresh id: the same request sent again has the same one, and is carried out once."""
    return uuid.uuid4().hex


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Asking(_Wire):
    holder: str = Field(min_length=1, max_length=128, description="a label for people; not a credential")
    ttl_ms: Whole = Field(default=TTL_DEFAULT_MS, ge=TTL_MIN_MS, le=TTL_MAX_MS)
    mode: Mode = "exclusive"
    wait_ms: Whole = Field(default=0, ge=0, le=WAIT_MAX_MS, description="stand in line for so long; 0 asks once")
    request_id: RequestId = Field(default_factory=new_request_id)


class LeaseRequest(_Asking):
    """``POST /v1/leases``: ask for the lease of a resource. The same ``request_id`` again returns the same lease."""

    resource: Resource


_SOME_RESOURCES: dict[str, Any] = {"required": ["resources"], "properties": {"resources": {"minItems": 1}}}
_A_KIND: dict[str, Any] = {"required": ["kind"], "properties": {"kind": {"type": "string"}}}


class AnyLeaseRequest(_Asking):
    """``POST /v1/leases/any``: ask for the lease of one of several resources, or of any registered model of a kind."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_SOME_RESOURCES, _A_KIND]})

    resources: list[Resource] = Field(default_factory=list, max_length=ANY_MAX, description="or leave out for ``kind``")
    kind: Kind | None = Field(default=None, description="every model of this kind that is registered and not archived")
    choice: Choice = "least-recently-trained"


class LeaseRenewal(_Wire):
    """``PATCH /v1/leases/{lease_id}``: go on holding it for ``ttl_ms`` from now."""

    ttl_ms: Whole = Field(default=TTL_DEFAULT_MS, ge=TTL_MIN_MS, le=TTL_MAX_MS)


class ForcedRelease(_Wire):
    """``POST /v1/leases/{lease_id}/force-release``: end somebody else's lease. For admins."""

    reason: str = Field(min_length=1, max_length=256, description="for the audit stream")


class Lease(_Wire):
    """A granted lease. Durations are relative: clients' clocks are not compared with the broker's."""

    lease_id: str
    resource: Resource
    holder: str
    principal: str = Field(description="whose bearer token took it; 'anonymous' where the broker asks for none")
    mode: Mode
    token: int = Field(ge=1, description="fencing token: only grows, per resource")
    expires_in_ms: int = Field(ge=0)


class LeaseList(_Wire):
    """``GET /v1/leases``."""

    leases: list[Lease]


class Waiter(_Wire):
    """Somebody who stands in line for a resource."""

    holder: str
    principal: str
    mode: Mode


class ResourceState(_Wire):
    """``GET /v1/resources/{kind}/{name}``: who has it, and who waits, first come first."""

    resource: Resource
    token: int = Field(ge=0, description="the newest fencing token; 0 where there was never a lease")
    leases: list[Lease]
    waiting: list[Waiter]


class ResourceList(_Wire):
    """``GET /v1/resources``, by name: those that are leased or waited for."""

    resources: list[ResourceState]


EventName = Literal[
    "granted",
    "renewed",
    "released",
    "expired",
    "forced",
    "rebased",
    "committed",
    "rolled-back",
    "archived",
    "restored",
    "pinned",
    "unpinned",
]


class Event(_Wire):
    """One line of the audit stream."""

    id: str = Field(description="place in the stream")
    at: AwareDatetime = Field(description="by Redis' clock")
    event: EventName
    resource: Resource
    lease_id: str
    holder: str
    principal: str
    token: int = Field(ge=0)
    detail: str = Field(default="", description="a reason, or a version")


class EventList(_Wire):
    """``GET /v1/events``, oldest first."""

    events: list[Event]


class Parent(_Wire):
    """A version that another one grew from or learnt with."""

    model: Name
    version: Whole = Field(ge=1)


class DataSpan(_Wire):
    """Views of one camera that a version was trained on."""

    camera: Name
    first: AwareDatetime = Field(description="when the oldest was captured")
    last: AwareDatetime = Field(description="when the newest was captured")
    views: Whole = Field(ge=1)


class Lineage(_Wire):
    """Where a version comes from."""

    generation: Whole = Field(ge=0, le=9999, description="GG of wm_GG_II: how often the model was born anew")
    restart: Whole = Field(ge=0, description="training runs before this one; a run is what one lease lets do")
    parents: list[Parent] = Field(default_factory=list, max_length=64)
    data: list[DataSpan] = Field(default_factory=list, max_length=256, description="one a camera, of this run")


class _UnderLease(_Wire):
    lease_id: str = Field(max_length=160)
    token: Whole = Field(ge=1)
    request_id: RequestId = Field(default_factory=new_request_id)


class CommitRequest(_UnderLease):
    """``POST /v1/models/{name}/versions``: make a stored checkpoint the model's head."""

    expected_head: Whole = Field(ge=0, description="the version that the writer started from; 0 for none")
    checkpoint: Checkpoint
    card: dict[str, Any] = Field(default_factory=dict, description="data, losses")
    lineage: Lineage | None = None


class RollbackRequest(_UnderLease):
    """``POST /v1/models/{name}/rollback``: make an older version's weights the head again, as a new version."""

    expected_head: Whole = Field(ge=1, description="the version that is the head now")
    to_version: Whole = Field(ge=1, description="the version whose checkpoint and card count from now on")
    reason: str = Field(min_length=1, max_length=256, description="for the audit stream")


class ArchiveRequest(_UnderLease):
    """``POST /v1/models/{name}/archive``: allow no more commits, offer the model to nobody."""

    reason: str = Field(min_length=1, max_length=256, description="for the audit stream")


class ModelVersion(_Wire):
    """One immutable version of a model, as the registry knows it. Only ``pinned`` may change."""

    model: Name
    version: int = Field(ge=1)
    token: int = Field(ge=1)
    committed_at: AwareDatetime
    checkpoint: Checkpoint
    card: dict[str, Any]
    by: str = Field(default="", description="holder of the lease that it was committed under")
    principal: str = Field(default="", description="whose bearer token committed it")
    lineage: Lineage | None = None
    restores: int | None = Field(default=None, ge=1, description="the version that a rollback brought back")
    pinned: bool = Field(default=False, description="neither forgotten nor deleted until it is unpinned")


class VersionList(_Wire):
    """``GET /v1/models/{name}/versions``, newest first."""

    versions: list[ModelVersion]


LifeState = Literal["active", "archived"]
"""``archived``: the model takes no commits and is offered to nobody."""


class ModelState(_Wire):
    """``GET /v1/models/{name}``: the head, if the model has one."""

    model: Name
    kind: Kind
    state: LifeState
    head: ModelVersion | None


class ModelList(_Wire):
    """``GET /v1/models``, by name."""

    models: list[ModelState]


class Problem(BaseModel):
    """An error body, RFC 9457 (``application/problem+json``)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
