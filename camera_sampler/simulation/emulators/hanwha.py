"""An emulated Hanwha camera (XNP-6400RW): SUNAPI over HTTP."""

from __future__ import annotations

import json
from typing import ClassVar

from camera_sampler.simulation.emulators.base import Emulator, Reply, Request
from camera_sampler.simulation.emulators.faults import Fault, Operation
from shared.pose import Pose

_DETAILS = {
    600: "Submenu Not Found", 601: "Action Not Found", 602: "Invalid Parameter(s)",
    603: "Missing Required Parameter(s)", 604: "Invalid Input Value(s)", 607: "Unknown Error", 614: "Service not ready",
}  # fmt: skip
_BLOCKED = b"You have exceeded the maximum number of login attempts, Please try after some time."


class HanwhaEmulator(Emulator):
    """Absolute and relative moves, position, ranges, device information, snapshots. Errors come with status 200."""

    realm: ClassVar[str] = "iPolis"
    tries: ClassVar[int | None] = 5
    zoom_pulse_per_magnification: ClassVar[int] = 100

    def operation(self, request: Request) -> Operation:
        """See ``Emulator.operation``."""
        menu = request.query.get("msubmenu")
        if menu in ("absolute", "relative"):
            return "move"
        return {"query": "position", "snapshot": "snapshot"}.get(menu or "", "other")  # type: ignore[return-value]

    def locked_reply(self) -> Reply:
        """See ``Emulator.locked_reply``."""
        return Reply(490, _BLOCKED, reason="AccountBlocked")

    async def answer(self, request: Request, fault: Fault | None) -> Reply:
        """See ``Emulator.answer``."""
        if fault == "refused":
            return _error(request, 604)
        if fault == "initiating":
            return _error(request, 614)
        if fault == "garbage":
            return Reply(body=b"\x00\x17 watchdog\r\n")
        if request.path == "/stw-cgi/attributes.cgi/cgis":
            return Reply(body=(await self._ranges()).encode(), content_type="application/xml")
        cgi, menu, action = request.path.rpartition("/")[2], request.query.get("msubmenu"), request.query.get("action")
        if (cgi, menu, action) == ("video.cgi", "snapshot", "view"):
            return Reply(body=await self.image(fault), content_type="image/jpeg")
        if (cgi, menu, action) == ("system.cgi", "deviceinfo", "view"):
            return Reply(body=b"Model=XNP-6400RW\r\nFirmwareVersion=1.41.02\r\nCGIVersion=2.5.7\r\n")
        if cgi != "ptzcontrol.cgi" or menu not in ("query", "absolute", "relative", "stop"):
            return _error(request, 600)
        if action != ("view" if menu == "query" else "control"):
            return _error(request, 601)
        return await self._position(request, fault) if menu == "query" else await self._control(request, menu)

    async def _position(self, request: Request, fault: Fault | None) -> Reply:
        pose = await self.camera.pose()
        pan = round(pose.pan % 360.0, 2) % 360.0
        values = {
            "Pan": pan,
            "Tilt": round(pose.tilt, 2),
            "Zoom": round(pose.zoom, 1),
            "ZoomPulse": round((pose.zoom - 1.0) * self.zoom_pulse_per_magnification),
        }
        if fault == "missing-key":
            del values["Tilt"]
        if fault == "reordered":
            values = dict(reversed(values.items()))
        if _wants_json(request):
            return _json({"Query": [{"Channel": 0, **values}]})
        lines = (
            f"{key}={value}\r\n" if key == "ZoomPulse" else f"{key}={value:.2f}\r\n" for key, value in values.items()
        )
        return Reply(body="".join(lines).encode())

    async def _control(self, request: Request, menu: str) -> Reply:
        if menu == "stop":
            await self.camera.move_to(await self.camera.pose())
            return _done(request)
        wanted = {}
        for axis in ("pan", "tilt", "zoom"):
            if axis in request.query:
                try:
                    wanted[axis] = float(request.query[axis])
                except ValueError:
                    return _error(request, 604)
        if not wanted:
            return _error(request, 603)
        limits, pose = await self.camera.limits(), await self.camera.pose()
        if menu == "relative":
            await self.camera.move_to(limits.moved(pose, **wanted))
            return _done(request)
        values = {"pan": pose.pan % 360.0, "tilt": pose.tilt, "zoom": pose.zoom} | wanted
        tilt_fits = limits.tilt_min - 0.005 <= values["tilt"] <= limits.tilt_max + 0.005
        zoom_fits = 1.0 <= values["zoom"] <= limits.zoom_max + 0.05
        if not (0.0 <= values["pan"] <= 360.0 and tilt_fits and zoom_fits):
            return _error(request, 604)
        await self.camera.move_to(limits.reach(values["pan"], values["tilt"], values["zoom"]))
        return _done(request)

    async def _ranges(self) -> str:
        limits = await self.camera.limits()
        ranges = {
            "Pan": (0.0, 360.0) if limits.full_circle else (limits.pan_min, limits.pan_max),
            "Tilt": (limits.tilt_min, limits.tilt_max),
            "Zoom": (1.0, limits.zoom_max),
        }
        parameters = "".join(
            f'<parameter name="{name}" request="true" response="false"><dataType><float min="{low:g}" max="{high:g}"/>'
            "</dataType></parameter>"
            for name, (low, high) in ranges.items()
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<cgis><cgi name="ptzcontrol"><submenu name="absolute">'
            f'<action name="control">{parameters}</action></submenu></cgi></cgis>\n'
        )

    def looks_at(self, pose: Pose) -> tuple[float, float, float]:
        """Return a canonical pose in the camera's own units."""
        return pose.pan % 360.0, pose.tilt, pose.zoom


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _json(value: object) -> Reply:
    return Reply(body=json.dumps(value).encode(), content_type="application/json")


def _done(request: Request) -> Reply:
    return _json({"Response": "Success"}) if _wants_json(request) else Reply(body=b"OK")


def _error(request: Request, code: int) -> Reply:
    if _wants_json(request):
        return _json({"Response": "Fail", "Error": {"Code": code, "Details": _DETAILS[code]}})
    return Reply(body=f"NG\r\nError Code: {code}\r\nError Details:\r\n{_DETAILS[code]}".encode())
