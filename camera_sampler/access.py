"""What people say of a real camera: where it is, who asks, and what of its reach to use."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from camera_sampler.networks import Networks
from shared.errors import UserError
from shared.pose import PoseLimits


@dataclass(frozen=True)
class Access:
    """Where a camera or its stream is, who asks, and how long to wait: seconds for one answer, and after a lock-out.

    ``networks`` are those that it may be in; ``ca_file`` has the certificates to believe an https:// one by.
    ``UserError`` where the URL is none, holds a credential, or names an address that is not allowed.
    """

    url: str
    user: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    timeout: float = 5.0
    lockout: float = 120.0
    networks: Networks = field(default_factory=Networks)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if self.url.startswith("rtsp:"):
            check_stream_url(self.url)
        else:
            check_url(self.url)
        self.networks.check_host(urlsplit(self.url).hostname or "")
        if self.ca_file is not None:
            self.trust()

    def trust(self) -> ssl.SSLContext:
        """Return whose certificates count. ``UserError`` where the file holds none."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "no certificates"
            raise UserError(f"PTZ_CAMERA_CA_FILE: cannot take {self.ca_file}: {reason}") from error


def check_url(url: str, name: str = "PTZ_CAMERA_URL") -> str:
    """Return the camera's URL as it is. ``UserError`` where it is none or holds a credential; it is never quoted.

    ``name`` is what the user knows it by.
    """
    # A password may hold "/" or "?", which move the "@" out of the place where a parser looks for it.
    if "@" in url:
        raise UserError(f"{name} must not hold a user or a password: set PTZ_CAMERA_USER and PTZ_CAMERA_PASSWORD_FILE")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise UserError(f"{name} must be http://HOST or https://HOST, with :PORT where the camera needs it")
    return url


def check_stream_url(url: str) -> str:
    """Return the stream's URL as it is. ``UserError`` where it is none or holds a credential; it is never quoted."""
    if "@" in url:
        raise UserError(
            "PTZ_SNAPSHOT_URL must not hold a user or a password: set PTZ_CAMERA_USER and PTZ_CAMERA_PASSWORD_FILE"
        )
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "rtsp" and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        sound = False
    if not sound or parts.fragment or " " in url:
        raise UserError("PTZ_SNAPSHOT_URL must be rtsp://HOST[:PORT]/PATH, as the camera's manual gives it")
    return url


@dataclass(frozen=True)
class Settled:
    """Limits that somebody settled on, in canonical units; None leaves the camera's own. They only ever narrow."""

    pan_min: float | None = None
    pan_max: float | None = None
    tilt_min: float | None = None
    tilt_max: float | None = None
    zoom_max: float | None = None

    def apply(self, told: PoseLimits) -> PoseLimits:
        """Return what both allow. ``UserError`` where that is nothing."""
        try:
            return PoseLimits(
                pan_min=max(told.pan_min, _or(self.pan_min, -180.0)),
                pan_max=min(told.pan_max, _or(self.pan_max, 180.0)),
                tilt_min=max(told.tilt_min, _or(self.tilt_min, -90.0)),
                tilt_max=min(told.tilt_max, _or(self.tilt_max, 90.0)),
                zoom_max=min(told.zoom_max, _or(self.zoom_max, math.inf)),
            )
        except ValueError:
            raise UserError(
                f"PTZ_PAN_MIN … PTZ_TILT_MAX leave nothing of what the camera reaches: pan {told.pan_min:g} to "
                f"{told.pan_max:g}, tilt {told.tilt_min:g} to {told.tilt_max:g}"
            ) from None


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
