"""What travels between services: frozen, versioned, self-contained messages.

A message is JSON in one field of a stream entry, with its bytes (a JPEG, say) beside it in fields of their own.
``id`` is the idempotency key: whoever sends a message again sends the same ``id``, and consumers handle it once.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from shared.actions import Action
from shared.pose import Finite, Pose, PoseLimits

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""Names of cameras, models and nodes: safe in keys, file names, URLs and metric labels alike."""


def _numeral(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")
    return value


Whole = Annotated[int, BeforeValidator(_numeral)]
"""A whole number, as JSON means it: 3 and 3.0, but neither ``true`` nor ``"3"``, which pydantic would take as well."""


def new_id() -> str:
    """Return a fresh idempotency key."""
    return uuid.uuid4().hex


def utc_now() -> datetime:
    """Return the time in UTC, aware of its zone."""
    return datetime.now(UTC)


class Message(BaseModel):
    """Fields that every message has. Subclasses set ``kind`` and raise ``schema_version`` when they change meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    schema_version: Literal[1] = 1
    id: str = Field(default_factory=new_id, min_length=8, max_length=64)
    time: AwareDatetime = Field(default_factory=utc_now)
    source: str = Field(default="", max_length=128, description="the service and node that sent it")


class View(Message):
    """One verified image with its pose, capture time, camera, and the action that led to it. Bytes: ``jpeg``."""

    JPEG: ClassVar[str] = "jpeg"

    kind: Literal["view"] = "view"
    camera: Name
    pose: Pose = Field(description="where the camera stood when the snapshot was taken (read after it)")
    pose_before: Pose = Field(description="the same, read before the snapshot")
    captured_at: AwareDatetime
    episode: str = Field(description="views of one episode follow each other without a gap")
    step: int = Field(ge=0, description="place in the episode, from 0")
    previous: str | None = Field(
        default=None, description="id of the view that the action left; None starts an episode"
    )
    action: Action | None = Field(default=None, description="the move that led here; None starts an episode")
    limits: PoseLimits = Field(description="what this camera can reach")
    settled: bool = Field(default=True, description="False: the camera was still moving when its deadline passed")
    policy: str = Field(description="who chose the action: a policy of the sampler's own, or 'agent'")
    policy_version: int | None = Field(default=None, description="the agent's version, where an agent chose")
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    original: str | None = Field(default=None, description="file of the untouched snapshot on the sampler's disk")


class Command(Message):
    """An agent asks the camera to make a move. It answers one view and is void once the camera has gone on from it."""

    kind: Literal["command"] = "command"
    camera: Name
    answers: str = Field(description="id of the view that the agent saw")
    action: Action
    token: int = Field(ge=1, description="fencing token of the camera's lease")
    agent: Name
    policy_version: int = Field(ge=0)


class Surprise(Message):
    """How wrong the world model was about one view, beside what copying the last embedding would have cost."""

    kind: Literal["surprise"] = "surprise"
    camera: Name
    view: str = Field(description="id of the view that surprised")
    world_model: Name
    world_model_version: int = Field(ge=0)
    error: Finite = Field(ge=0.0, description="squared error in embedding space, mean over dimensions")
    copy_last_error: Finite = Field(ge=0.0)
    predicted: Finite = Field(
        description="the surprise that the world model expected, in its own unit: of the kind error, the same"
    )


class TrainingProgress(Message):
    """A heartbeat of learning: the named loss terms of one training interval."""

    kind: Literal["training-progress"] = "training-progress"
    learner: Name = Field(description="the world model or agent that learns")
    step: int = Field(ge=0)
    terms: dict[str, Finite]


class DreamBatch(Message):
    """Many dreams in one file of the model store (a claim check)."""

    kind: Literal["dream-batch"] = "dream-batch"
    address: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Whole = Field(gt=0, description="bytes")
    dreams: int = Field(gt=0)
    length: int = Field(gt=0, description="steps per dream")
    camera: Name
    world_model: Name
    world_model_version: int = Field(ge=1)
    agent: Name
    policy_version: int = Field(ge=0, description="0: the dreamer moved at random")


ANY_MESSAGE: tuple[type[Message], ...] = (View, Command, Surprise, TrainingProgress, DreamBatch)


class StreamName:
    """The streams' names, in one place."""

    DREAMS: ClassVar[str] = "ptz:dreams"
    PROGRESS: ClassVar[str] = "ptz:progress"

    @staticmethod
    def views(camera: str) -> str:
        """Views of one camera."""
        return f"ptz:views:{camera}"

    @staticmethod
    def commands(camera: str) -> str:
        """Commands to one camera."""
        return f"ptz:commands:{camera}"

    @staticmethod
    def surprise(camera: str) -> str:
        """Surprise about one camera's views."""
        return f"ptz:surprise:{camera}"


class Checkpoint(BaseModel):
    """Where one immutable version of a model's weights lies, with its card's summary. What the broker registers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(description="path in the model store", max_length=512)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Whole = Field(gt=0, description="bytes")

    @classmethod
    def of(cls, address: str, data: bytes) -> Self:
        """Describe ``data`` stored at ``address``."""
        return cls(address=address, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
