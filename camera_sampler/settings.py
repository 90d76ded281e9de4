"""The camera sampler's settings, ``PTZ_…`` in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from camera_sampler.access import Access, Settled, check_stream_url, check_url
from camera_sampler.naming import Naming
from camera_sampler.networks import Networks
from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.errors import UserError
from shared.pose import PoseLimits
from shared.tracking import TrackSettings

_LIMITS = {"pan_min", "pan_max", "tilt_min", "tilt_max", "zoom_max"}
_SIZE = {"snapshot_width", "snapshot_height"}
OwnPolicyName = Literal["random-walk", "raster", "presets", "least-recently-viewed"]
PolicyName = Literal["follow", "random-walk", "raster", "presets", "least-recently-viewed"]
StoredZoom = Literal["guess", "magnification", "steps"]


class SamplerSettings(TrackSettings):
    """What the sampler needs to know. The camera's speeds and waits are in its own seconds: see ``time_scale``."""

    camera_kind: Literal["simulated", "hanwha", "axis", "onvif", "stored"] = Field(
        default="simulated", description="how the camera is reached"
    )
    camera_url: str = Field(default="", description="http://HOST[:PORT] of a real camera, without user and password")
    camera_user: str = Field(default="", description="user that may move the camera")
    camera_password: SecretStr | None = Field(default=None, description="that user's password")
    camera_networks: str = Field(
        default="",
        description="networks that the camera may be in, like 10.1.0.0/16,fd12::/64; without one any but link-local, "
        "cloud metadata, multicast and reserved ones",
    )
    camera_ca_file: Path | None = Field(default=None, description="certificates to believe an https:// camera by")
    camera_timeout_seconds: float = Field(default=5.0, gt=0.0, le=7.0, description="longest wait for one answer")
    camera_lockout_seconds: float = Field(
        default=120.0, gt=0.0, le=86_400.0, description="no login for so long after the camera locked the account"
    )
    camera_magnification: float | None = Field(
        default=None, gt=1.0, le=100.0, description="at its most zoom; ONVIF needs it, an Axis has its field angles"
    )
    snapshot_url: str = Field(
        default="", description="rtsp://HOST[:PORT]/PATH of a stream to take the pictures from, with the camera's user"
    )
    stored_images: Path | None = Field(
        default=None, description="pictures that camera kind stored shows: a directory, a .jsonl or a .parquet index"
    )
    stored_zoom: StoredZoom = Field(
        default="guess",
        description="units of their zoom; steps are Axis's, 1 to 9999; guess: steps where one is over 100",
    )
    stored_camera: str = Field(default="", description="the camera of the index whose pictures are shown")
    policy: PolicyName = Field(default="follow", description="who chooses the moves; follow: an agent, where one is")
    fallback_policy: OwnPolicyName = Field(default="random-walk", description="what follow does without an agent")
    presets: Path | None = Field(default=None, description="JSON file of the poses that the policy presets visits")
    field_of_view: float = Field(
        default=60.0, ge=20.0, le=120.0, description="a view's width at zoom 1 in degrees, for least-recently-viewed"
    )
    view_overlap: float = Field(
        default=0.3, ge=0.0, le=0.8, description="share of a view that neighbours show, too, for least-recently-viewed"
    )
    movements: int = Field(default=20, ge=1, le=100_000, description="moves in an episode, after its jump")
    episodes: int | None = Field(
        default=None, ge=1, description="episodes until the sampler ends with exit code 0; without it there is no end"
    )
    command_seconds: float = Field(default=1.0, gt=0.0, le=60.0, description="longest wait for an agent's command")
    action_table: Path | None = Field(default=None, description="JSON file of the moves that an agent may command")
    free_moves: bool = Field(
        default=False,
        description="follow moves that are not in the table, if none is larger than its largest",
    )

    views_per_second: float = Field(default=5.0, gt=0.0, le=1000.0, description="most views a second")
    view_size: int = Field(default=64, ge=16, le=1024, description="side of the published views, in pixels")
    snapshot_width: int = Field(default=320, ge=16, le=8192, description="of the camera's own pictures, pixels")
    snapshot_height: int = Field(default=180, ge=16, le=8192, description="the same")
    snapshot_tries: int = Field(default=5, ge=1, le=100, description="snapshots tried before the view is given up")
    keep_originals: Path | None = Field(default=None, description="directory that gets the untouched snapshots")
    keep_originals_count: int = Field(default=1000, ge=1, description="snapshots kept there; the oldest go first")
    keep_names: Naming = Field(default="own", description="ptzjepa: PAN,TILT,ZOOM_TIME.jpg, as PTZJEPA's tools read it")
    keep_exif: Literal["off", "on"] = Field(
        default="off", description="write pose and time into kept JPEGs, beside EXIF of the camera's own"
    )

    spool: Path | None = Field(default=None, description="directory that keeps views while Redis is away")
    spool_bytes: int = Field(
        default=256 * 2**20, ge=2**16, description="most bytes there; the oldest episodes go first"
    )
    spool_seconds: float = Field(default=86_400.0, gt=0.0, le=1e9, description="longest that views wait there")

    waggle: Literal["off", "on"] = Field(default="off", description="report to a Waggle node by pywaggle")
    waggle_seconds: float = Field(default=30.0, ge=0.1, le=86_400.0, description="between two reports")
    waggle_upload_seconds: float | None = Field(
        default=None, ge=0.1, le=1e9, description="least time between two uploaded snapshots; without it none is"
    )

    stable_polls: int = Field(default=3, ge=2, le=100, description="equal pose readings in a row that mean: it stands")
    stable_degrees: float = Field(default=0.02, gt=0.0, le=10.0, description="what counts as equal, in degrees")
    stable_zoom: float = Field(default=0.01, gt=0.0, le=1.0, description="what counts as equal, in magnification")
    poll_seconds: float = Field(default=0.05, gt=0.0, le=10.0, description="between two pose readings")
    deadline_seconds: float = Field(default=10.0, gt=0.0, le=600.0, description="longest wait until it stands still")

    panorama: Path | None = Field(default=None, description="equirectangular image; without one a scene is generated")
    time_scale: float = Field(default=1.0, gt=0.0, le=1000.0, description="how much faster the simulation runs")
    day_seconds: float = Field(default=3600.0, gt=0.0, le=1e9, description="a day of the generated scene")
    pan_speed: float = Field(default=120.0, gt=0.0, le=10_000.0, description="degrees a second")
    tilt_speed: float = Field(default=90.0, gt=0.0, le=10_000.0, description="degrees a second")
    zoom_speed: float = Field(default=2.0, gt=0.0, le=1000.0, description="magnification a second")
    settle_seconds: float = Field(default=0.3, ge=0.0, le=60.0, description="wobble after a move")
    pan_min: float = Field(default=-180.0, ge=-180.0, le=180.0, description="reach, degrees")
    pan_max: float = Field(default=180.0, ge=-180.0, le=180.0, description="reach, degrees")
    tilt_min: float = Field(default=-30.0, ge=-90.0, le=90.0, description="reach, degrees, up is positive")
    tilt_max: float = Field(default=60.0, ge=-90.0, le=90.0, description="reach, degrees, up is positive")
    zoom_max: float = Field(default=3.0, ge=1.0, le=100.0, description="reach, magnification")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.pan_min >= self.pan_max or self.tilt_min >= self.tilt_max:
            raise UserError("PTZ_PAN_MIN and PTZ_TILT_MIN must be below PTZ_PAN_MAX and PTZ_TILT_MAX")
        if self.camera_kind == "stored" and self.stored_images is None:
            raise UserError("PTZ_CAMERA_KIND=stored needs PTZ_STORED_IMAGES=PATH of a directory or an index")
        if self.camera_kind not in ("simulated", "stored") and not self.camera_url:
            raise UserError(f"PTZ_CAMERA_KIND={self.camera_kind} needs PTZ_CAMERA_URL=http://HOST")
        if self.camera_url:
            check_url(self.camera_url)
            self.access  # noqa: B018 - what is wrong with it is said now
        if self.snapshot_url:
            check_stream_url(self.snapshot_url)
            self.stream_access  # noqa: B018
        if self.own_policy == "presets" and self.presets is None:
            raise UserError("the policy presets needs PTZ_PRESETS, a JSON file of poses; see docs/configuration.md")
        return self

    @property
    def own_policy(self) -> OwnPolicyName:
        """The policy that chooses when no agent does."""
        return self.fallback_policy if self.policy == "follow" else self.policy

    @property
    def limits(self) -> PoseLimits:
        """What the simulated camera can reach."""
        return PoseLimits(
            pan_min=self.pan_min,
            pan_max=self.pan_max,
            tilt_min=self.tilt_min,
            tilt_max=self.tilt_max,
            zoom_max=self.zoom_max,
        )

    @property
    def settled_limits(self) -> Settled:
        """The limits that were set on purpose; a real camera's own hold beside them, not the simulated one's."""
        given = {name: getattr(self, name) for name in _LIMITS & self.model_fields_set}
        return Settled(**given)

    @property
    def settled_size(self) -> tuple[int, int] | None:
        """The snapshots' width and height where they are known before the first one."""
        rendered = self.camera_kind == "simulated" and not self.snapshot_url
        known = rendered or self.model_fields_set >= _SIZE
        return (self.snapshot_width, self.snapshot_height) if known else None

    @property
    def access(self) -> Access:
        """How to reach a real camera."""
        return self._access(self.camera_url)

    @property
    def stream_access(self) -> Access:
        """How to reach the stream that snapshots come from."""
        return self._access(self.snapshot_url)

    def _access(self, url: str) -> Access:
        return Access(
            url,
            self.camera_user,
            self.camera_password or SecretStr(""),
            timeout=self.camera_timeout_seconds,
            lockout=self.camera_lockout_seconds,
            networks=Networks.parse(self.camera_networks),
            ca_file=self.camera_ca_file,
        )

    def actions(self) -> ActionTable:
        """Return the moves that an agent may command. ``UserError`` where the file is no table."""
        return ActionTable.load(self.action_table) if self.action_table else DEFAULT_ACTIONS
