"""An emulated Axis camera (Q6055-E): VAPIX over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from PIL import ExifTags, Image

from camera_sampler.simulation.emulators.base import Emulator, Reply, Request
from camera_sampler.simulation.emulators.faults import Fault, Operation
from shared.pose import Pose, PoseLimits

_PTZ, _IMAGE = "/axis-cgi/com/ptz.cgi", "/axis-cgi/jpg/image.cgi"
_MOST_STEPS = 9999
_DONE = Reply(204, reason="No Content")
_INITIATING = b"Driver is initiating. Please try again later.\r\n"


class AxisEmulator(Emulator):
    """Absolute, relative and home moves, position, limits, snapshots. Moves are answered by 204 without a body."""

    realm: ClassVar[str] = "AXIS_ACCC8E000000"

    def __init__(self, *args: Any, clock_ahead: timedelta = timedelta(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock_ahead = clock_ahead
        """By how much the camera's clock, which its pictures carry, is wrong."""
        self._speed = 100

    def operation(self, request: Request) -> Operation:
        """See ``Emulator.operation``."""
        if request.path == _IMAGE:
            return "snapshot"
        if request.query.get("query") == "position":
            return "position"
        return "other" if "query" in request.query or request.path != _PTZ else "move"

    def locked_reply(self) -> Reply:
        """See ``Emulator.locked_reply``: Axis cameras that lock out answer 401."""
        return self.unauthorized_reply(None, stale=False)

    async def answer(self, request: Request, fault: Fault | None) -> Reply:
        """See ``Emulator.answer``."""
        if fault == "initiating":
            return Reply(body=_INITIATING)
        if fault == "refused":
            return Reply(body=b"Error: Another user is in control of the camera\r\n")
        if fault == "garbage":
            return Reply(body=b"\x00\x17 watchdog\r\n")
        if request.path == _IMAGE:
            return await self._image(request, fault)
        if request.path != _PTZ:
            return Reply(404, b"<html><body>404 Not Found</body></html>\r\n", "text/html", "Not Found")
        if "query" in request.query:
            return await self._query(request.query["query"], fault)
        return await self._control(request.query)

    async def _image(self, request: Request, fault: Fault | None) -> Reply:
        size = None
        if "resolution" in request.query:
            width, _, height = request.query["resolution"].partition("x")
            if not (width.isdigit() and height.isdigit() and 0 < int(width) <= 4096 and 0 < int(height) <= 4096):
                return Reply(400, b"Invalid resolution\r\n", reason="Bad Request")
            size = int(width), int(height)
        return Reply(body=await self.image(fault, size), content_type="image/jpeg")

    async def _query(self, query: str, fault: Fault | None) -> Reply:
        limits = await self.camera.limits()
        if query == "position":
            pan, tilt, steps = self.looks_at(await self.camera.pose(), limits)
            values = {"pan": f"{pan:.2f}", "tilt": f"{tilt:.2f}", "zoom": str(steps), "focus": "4081"}
            values |= {"brightness": "5000", "autofocus": "on", "autoiris": "on"}
        elif query == "limits":
            values = {"MinPan": f"{limits.pan_min:g}", "MaxPan": f"{limits.pan_max:g}"}
            values |= {"MinTilt": f"{limits.tilt_min:g}", "MaxTilt": f"{limits.tilt_max:g}"}
            values |= {"MinZoom": "1", "MaxZoom": str(_MOST_STEPS), "MinFocus": "770", "MaxFocus": "9999"}
        elif query == "speed":
            values = {"speed": str(self._speed)}
        elif query == "mode":
            values = {"mode": "normal"}
        else:
            return Reply(body=b"Error: Unknown query\r\n")
        if fault == "missing-key":
            del values[next(iter(values))]
        if fault == "reordered":
            values = dict(reversed(values.items()))
        return Reply(body="".join(f"{key}={value}\r\n" for key, value in values.items()).encode())

    async def _control(self, query: dict[str, str]) -> Reply:
        limits, pose = await self.camera.limits(), await self.camera.pose()
        names = ("pan", "tilt", "zoom", "rpan", "rtilt", "rzoom", "speed")
        try:
            wanted = {name: float(query[name]) for name in names if query.get(name, "None") != "None"}
        except ValueError:
            return Reply(body=b"Error: Invalid value\r\n")
        if "speed" in wanted:
            self._speed = int(wanted["speed"])
        if query.get("move") == "home":
            wanted = {"pan": 0.0, "tilt": 0.0, "zoom": 1.0}
        stands = dict(zip(("pan", "tilt", "zoom"), self.looks_at(pose, limits), strict=True))
        target = {axis: wanted.get(axis, stands[axis]) + wanted.get(f"r{axis}", 0.0) for axis in stands}
        share = (min(max(target["zoom"], 1.0), _MOST_STEPS) - 1.0) / (_MOST_STEPS - 1.0)
        zoom = 1.0 + share * (limits.zoom_max - 1.0)
        if query.get("move") == "stop" or "continuouspantiltmove" in query:
            await self.camera.move_to(pose)
        elif wanted:
            # By its own count of degrees and no other: 180 is one stop and −180 the other, or beyond it.
            turn = target["pan"] - stands["pan"]
            await self.camera.move_to(limits.moved(pose, turn, target["tilt"] - pose.tilt, zoom - pose.zoom))
        return _DONE

    def looks_at(self, pose: Pose, limits: PoseLimits) -> tuple[float, float, int]:
        """Return a canonical pose in the camera's own units: degrees, degrees, steps."""
        share = (pose.zoom - 1.0) / (limits.zoom_max - 1.0) if limits.zoom_max > 1.0 else 0.0
        return limits.unwrapped(pose.pan), pose.tilt, round(1 + share * (_MOST_STEPS - 1))

    def finish_image(self, data: bytes) -> bytes:
        """Write make, model, firmware and the camera's time into the picture, as an Axis does."""
        exif = Image.Exif()
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "AXIS", "Q6055-E"
        exif[ExifTags.Base.Software] = "8.40.59"
        exif[ExifTags.Base.DateTime] = f"{datetime.now(UTC) + self.clock_ahead:%Y:%m:%d %H:%M:%S}"
        block = exif.tobytes()
        segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
        return data[:2] + segment + data[2:]
