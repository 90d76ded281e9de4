"""``ptzjepa camera probe``: what a camera is, whether it lets us in, and what its answers take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import httpx
from PIL import ExifTags

from camera_sampler.access import Access, Settled
from camera_sampler.cameras import Camera, CameraError, Snapshot
from camera_sampler.cameras.http_client import camera_client, why_no_connection
from camera_sampler.networks import ForbiddenAddress
from camera_sampler.snapshots import BadSnapshot, Verified, verify
from ptzjepa.camera_brands import BRANDS, Likeness, Named
from shared.errors import UserError
from shared.pose import Pose, PoseLimits

T = TypeVar("T")
_LOGIN_KINDS = ("unauthorized", "locked-out")
_FATAL = (*_LOGIN_KINDS, "unreachable", "not-a-camera", "ambiguous")
"""After these no further question is asked; above all no second login."""
_LIMITS_TRIES = 3
_EXIF = {"model": ExifTags.Base.Model, "firmware": ExifTags.Base.Software}
_ADVICE = {
    "unauthorized": "check the user and PTZ_CAMERA_PASSWORD_FILE; it was tried once only, as cameras lock accounts",
    "unreachable": "check the address and whether the camera is on",
    "timeout": "check the address, or give it longer by PTZ_CAMERA_TIMEOUT_SECONDS",
    "reset": "check http against https and the port, or try again",
    "initiating": "the camera is starting; try again in a minute",
    "locked-out": "wait, then check the password before the next try",
}


@dataclass
class Finding:
    """One question to the camera: what came of it, and the seconds that the answer took."""

    question: str
    seconds: float = 0.0
    kind: str | None = None
    """What went wrong, in one word; None: it worked."""
    error: str | None = None


@dataclass
class Probe:
    """What is known of a camera. ``ok`` only if every question was asked and answered well."""

    url: str
    brand: str | None = None
    model: str | None = None
    firmware: str | None = None
    login: str = "not tried"
    limits: PoseLimits | None = None
    pose: Pose | None = None
    picture: Verified | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all worked."""
        return self.picture is not None and not self.failures

    @property
    def failures(self) -> list[Finding]:
        """Return what did not work."""
        return [finding for finding in self.findings if finding.kind]

    def seconds(self, question: str) -> float | None:
        """Return what the answer to a question took; None where it was not asked."""
        return next((finding.seconds for finding in self.findings if finding.question == question), None)

    def document(self) -> dict[str, Any]:
        """Return everything for machines."""
        picture = self.picture
        return {
            "url": self.url,
            "ok": self.ok,
            "brand": self.brand,
            "model": self.model,
            "firmware": self.firmware,
            "login": self.login,
            "limits": self.limits.model_dump() if self.limits else None,
            "pose": self.pose.model_dump() if self.pose else None,
            "picture": picture
            and {"width": picture.image.width, "height": picture.image.height, "bytes": len(picture.data)},
            "findings": [asdict(finding) for finding in self.findings],
        }


async def probe(
    access: Access, brand: str | None, narrow: Settled | None = None, magnification: float | None = None
) -> Probe:
    """Ask a camera all there is to ask. Failures are in what is returned; ``UserError`` where a package is missing.

    ``narrow`` and ``magnification`` are what somebody settled on for this camera.
    """
    found = Probe(access.url)
    with contextlib.suppress(_Enough):
        found.brand = brand or await _ask(found, "brand", lambda: _recognise(access))
        if found.brand is not None:
            camera = BRANDS[found.brand].open(access, narrow or Settled(), magnification)
            async with _closing(camera):
                await _interview(found, camera, access)
    return found


class _Enough(Exception):
    """Nothing more is to be asked."""


async def _interview(found: Probe, camera: Camera, access: Access) -> None:
    found.login = "works" if access.user else "not needed"
    found.limits = await _ask(found, "limits", lambda: _limits(camera))
    # Without what people have to set for it, such a camera tells its name and no more.
    known = found.findings[-1].kind != "settings"
    if known:
        found.pose = await _ask(found, "pose", camera.pose)
    told = dict(await _ask(found, "device", camera.device) or {}) if isinstance(camera, Named) else {}
    snapshot = await _ask(found, "picture", camera.snapshot) if known else None
    if snapshot is not None:
        found.picture = _verified(found, snapshot)
    if found.picture is not None:
        exif = found.picture.image.getexif()
        told = {name: str(exif[tag]) for name, tag in _EXIF.items() if tag in exif} | told
    found.model, found.firmware = printable(told.get("model")), printable(told.get("firmware"))


async def _ask(found: Probe, question: str, ask: Callable[[], Awaitable[T]]) -> T | None:
    """Ask and take the time. None where it went wrong; ``_Enough`` where nothing better can follow."""
    finding, began = Finding(question), time.perf_counter()
    found.findings.append(finding)
    try:
        return await ask()
    except (CameraError, _NotOne) as error:
        kind, text = str(error.kind), str(error)
    except UserError as error:
        kind, text = "settings", str(error)
    finally:
        finding.seconds = round(time.perf_counter() - began, 4)
    advice = _ADVICE.get(kind)
    if kind == "unauthorized" and found.login == "not needed":
        text, advice = "the camera asks for a login", "give --user, and the password in PTZ_CAMERA_PASSWORD_FILE"
    finding.kind, finding.error = kind, printable(f"{text}; {advice}" if advice else text, 400)
    if kind in _LOGIN_KINDS:
        finding.question = "login"
        found.login = "refused" if kind == "unauthorized" else "locked out"
    if kind in _FATAL:
        raise _Enough
    return None


class _NotOne(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


async def _recognise(access: Access) -> str:
    """Return the brand, asked without a login. ``CameraError`` where nobody answers."""
    likeness: dict[str, Likeness] = {}
    async with camera_client(access) as client:
        for name, brand in BRANDS.items():
            try:
                likeness[name] = await brand.recognise(client)
            except httpx.TimeoutException:
                raise CameraError(f"no answer within {access.timeout:g} s", "timeout") from None
            except ForbiddenAddress as error:
                raise CameraError(str(error), "unreachable") from None
            except httpx.ConnectError as error:
                raise CameraError(why_no_connection(error), "unreachable") from None
            except httpx.HTTPError as error:
                raise CameraError(f"the connection broke: {type(error).__name__}", "reset") from None
            if likeness[name] == "yes":
                return name
    maybe = [name for name, how in likeness.items() if how == "perhaps"]
    if len(maybe) == 1:
        return maybe[0]
    known = _either(BRANDS)
    if maybe:
        raise _NotOne("ambiguous", f"it asks for a login and does not tell its brand; give --brand {known}")
    titles = _either(brand.title for brand in BRANDS.values())
    raise _NotOne("not-a-camera", f"something answers there, but not as a camera by {titles} does")


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


@contextlib.asynccontextmanager
async def _closing(camera: Camera) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await camera.aclose()


async def _limits(camera: Camera) -> PoseLimits:
    for _ in range(_LIMITS_TRIES - 1):
        try:
            return await camera.limits()
        except CameraError as error:
            # A driver that was refused some times falls back on what such cameras have in common.
            if error.kind not in ("refused", "unparsable"):
                raise
    return await camera.limits()


def _verified(found: Probe, snapshot: Snapshot) -> Verified | None:
    try:
        return verify(snapshot.data)
    except BadSnapshot as error:
        finding = found.findings[-1]
        finding.kind, finding.error = error.kind, printable(str(error), 400)
        return None


def printable(text: str | None, most: int = 64) -> str | None:
    """Return what a camera said without what could play tricks on a terminal."""
    return text and "".join(letter if letter.isprintable() else "?" for letter in text)[:most]
