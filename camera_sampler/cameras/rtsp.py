"""Snapshots from a camera's RTSP stream, for cameras that give none over HTTP; poses and moves stay the driver's.

Each snapshot opens the stream over TCP, lets go what the server had in store, takes the newest frame and closes. It is
made a JPEG here, once: unlike other snapshots it is no file of the camera's own.

FFmpeg takes user and password only inside the URL, and prints URLs in its log and its errors. So its log is switched
off, and of its errors only their sort gets out of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlsplit

from PIL import Image

from camera_sampler.access import Access
from camera_sampler.cameras.base import Camera, CameraError, ErrorKind, Snapshot
from camera_sampler.cameras.rtsp_relay import Relay
from camera_sampler.networks import ForbiddenAddress
from camera_sampler.snapshots import MAX_PIXELS
from shared.actions import Action
from shared.errors import UserError
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits

JPEG_QUALITY = 95
DRAIN_SECONDS = 0.3
"""How long a stream is watched before a frame counts: what a server had in store comes faster than it was taken."""
_JUMP_SECONDS = 1.0
_PORT = 554
_REFUSED = "the stream refuses this user and password"
_FIRST_LOGIN_PAUSE = 5.0
_LONGEST_LOGIN = 127
"""FFmpeg cuts a login that is longer, escapes included."""


class NewestFrame:
    """Tells frames taken after a moment from older ones that a server or a buffer still held.

    A frame's own time differs from ours by an unknown constant. No frame arrives before it is taken, so the least
    difference seen is the best estimate of that constant, and it is good once old frames have been passed. Arrivals are
    those of the packets: a decoder may hold frames back until it knows their order.
    """

    def __init__(self, asked: float, drain: float = DRAIN_SECONDS) -> None:
        self._asked, self._drain = asked, drain
        self._first = self._difference = math.inf
        self._last = -math.inf

    def arrived(self, own: float, now: float) -> None:
        """Note that a frame that carries the time ``own`` arrived ``now``, in seconds."""
        if own < self._last - _JUMP_SECONDS:
            # The camera has set its time back: begin again.
            self._first = self._difference = math.inf
        self._last = own
        self._first = min(self._first, now)
        self._difference = min(self._difference, now - own)

    def taken_after(self, own: float, now: float) -> bool:
        """Tell whether a frame that carries the time ``own`` is new enough."""
        return now - self._first >= self._drain and own + self._difference >= self._asked


class StreamSnapshots:
    """Implements ``Camera`` over another one, with the pictures of a stream."""

    def __init__(self, camera: Camera, access: Access) -> None:
        """``UserError`` where PyAV is missing or FFmpeg cannot take the login."""
        self._camera, self._access = camera, access
        self._av = _pyav()
        parts = urlsplit(_with_login(access))
        # The host that stands in the URL is this machine, where the relay waits: FFmpeg shall know no other.
        self._login, self._parts = parts.netloc.rpartition("@")[0], parts
        self._busy = threading.Lock()
        self._barred_until, self._login_pause = 0.0, _FIRST_LOGIN_PAUSE

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        return await self._camera.pose()

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        await self._camera.move_to(pose)

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self._camera.move_by(action)

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``."""
        return await self._camera.limits()

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""
        await self._camera.aclose()

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``. The time is that of the frame's arrival."""
        if time.monotonic() < self._barred_until:
            # Cameras lock an account after a few wrong passwords.
            raise CameraError(_REFUSED, "unauthorized")
        if not self._busy.acquire(blocking=False):
            raise CameraError("the stream has not let go of the last attempt yet", "timeout")
        try:
            # The thread lets go of the lock, however late.
            taken = _in_thread(self._grab_and_let_go)
            async with asyncio.timeout(self._access.timeout):
                data, taken_at = await taken
        except TimeoutError:
            raise CameraError(f"no frame of the stream within {self._access.timeout:g} s", "timeout") from None
        except CameraError as error:
            if error.kind == "unauthorized":
                self._barred_until = time.monotonic() + self._login_pause
                self._login_pause = min(2.0 * self._login_pause, self._access.lockout)
            raise
        self._login_pause = _FIRST_LOGIN_PAUSE
        return Snapshot(data, taken_at, "stream")

    def _grab_and_let_go(self) -> tuple[bytes, datetime]:
        try:
            return self._grab()
        finally:
            self._busy.release()

    def _grab(self) -> tuple[bytes, datetime]:
        try:
            image, taken_at = self._newest_frame()
        except CameraError:
            raise
        except Exception as error:  # whatever it is, its text may hold the URL
            failure = _failure(self._av, error)
        else:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            return buffer.getvalue(), taken_at
        # Outside the handler, so that the new error does not carry the old one along.
        raise failure

    def _newest_frame(self) -> tuple[Image.Image, datetime]:
        asked, timeout = time.monotonic(), self._access.timeout
        newest = NewestFrame(asked)
        # The stream is closed here, in its own thread, and not whenever somebody collects the garbage.
        with contextlib.closing(self._frames(timeout)) as frames:
            for own, frame in frames:
                now = time.monotonic()
                if now - asked > timeout:
                    raise CameraError(f"no new frame of the stream within {timeout:g} s", "timeout")
                if own is not None:
                    newest.arrived(own, now)
                if frame is None or frame.is_corrupt or frame.time is None or not newest.taken_after(frame.time, now):
                    continue
                if frame.width * frame.height > MAX_PIXELS:
                    raise CameraError(f"{frame.width} × {frame.height} pixels are too many", "too-large")
                return frame.to_image(), utc_now()
        raise CameraError("the stream ended before a new frame", "reset")

    def _frames(self, timeout: float) -> Generator[tuple[float | None, Any], None, None]:
        """Yield what comes: the time that a packet carries, if it does, or a frame."""
        options = {
            "rtsp_transport": "tcp",
            "allowed_media_types": "video",
            "protocol_whitelist": "rtsp,rtp,tcp",
            "fflags": "nobuffer",
            "analyzeduration": "100000",
            "fpsprobesize": "0",
            "timeout": str(round(timeout * 1e6)),
            "max_pixels": str(MAX_PIXELS),
        }
        with self._relay(timeout) as relay, self._opened(relay, options, timeout) as container:
            if not container.streams.video:
                raise CameraError("the stream has no video", "unparsable")
            stream = container.streams.video[0]
            # Several threads would hold frames back; damaged frames are none.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            for packet in container.demux(stream):
                yield None if packet.pts is None else float(packet.pts * packet.time_base), None
                with contextlib.suppress(self._av.error.InvalidDataError):
                    for frame in packet.decode():
                        yield None, frame

    def _relay(self, timeout: float) -> Relay:
        host, port = self._parts.hostname or "", self._parts.port or _PORT
        try:
            return Relay(self._access.networks.addresses(host, port), port, timeout)
        except ForbiddenAddress as error:
            raise CameraError(str(error), "unreachable") from None

    @contextlib.contextmanager
    def _opened(self, relay: Relay, options: dict[str, str], timeout: float) -> Iterator[Any]:
        place = f"{self._login}@127.0.0.1:{relay.port}" if self._login else f"127.0.0.1:{relay.port}"
        url = self._parts._replace(netloc=place).geturl()
        try:
            with self._av.open(url, options=options, timeout=(timeout, timeout)) as container:
                yield container
        except Exception:
            if relay.redirected:
                raise CameraError("the camera sends us to another address, which is not followed", "refused") from None
            raise


def _pyav() -> ModuleType:
    try:
        import av
        import av.logging
    except ImportError:
        raise UserError("PTZ_SNAPSHOT_URL needs PyAV: pip install 'ptzjepa[rtsp]'") from None
    av.logging.set_level(None)
    return av


def _with_login(access: Access) -> str:
    if not access.user:
        return access.url
    login = f"{quote(access.user, safe='')}:{quote(access.password.get_secret_value(), safe='')}"
    if ":" in access.user or len(login) > _LONGEST_LOGIN:
        raise UserError(
            "PTZ_CAMERA_USER and PTZ_CAMERA_PASSWORD cannot be used for RTSP: no colon in the user, and together at "
            f"most {_LONGEST_LOGIN - 1} characters, where all but letters, digits and _.-~ count as three"
        )
    parts = urlsplit(access.url)
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


def _failure(av: ModuleType, error: Exception) -> CameraError:
    """Return what an error of FFmpeg's means, without any of its words."""
    errors = av.error
    kinds: tuple[tuple[tuple[type[Exception], ...], ErrorKind, str], ...] = (
        ((errors.HTTPUnauthorizedError, errors.HTTPForbiddenError), "unauthorized", _REFUSED),
        ((errors.HTTPError,), "refused", "the camera refuses the stream"),
        ((TimeoutError, errors.ExitError), "timeout", "the stream does not answer in time"),
        ((ConnectionRefusedError,), "unreachable", "nobody listens where the stream should be"),
        ((ConnectionError, errors.EOFError), "reset", "the stream broke off"),
        ((errors.InvalidDataError,), "unparsable", "what comes is no stream that can be read"),
        ((OSError,), "unreachable", "the stream cannot be reached"),
    )  # fmt: skip
    for sorts, kind, text in kinds:
        if isinstance(error, sorts):
            return CameraError(text, kind)
    return CameraError(f"the stream failed: {type(error).__name__}", "other")


def _in_thread(work: Callable[[], tuple[bytes, datetime]]) -> asyncio.Future[tuple[bytes, datetime]]:
    """Do ``work`` in a thread that keeps neither its caller nor the end of the process waiting."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[bytes, datetime]] = loop.create_future()

    def settle(result: tuple[bytes, datetime] | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has gone
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="rtsp-snapshot", daemon=True).start()
    return future
