"""An emulated ONVIF camera: device, media and PTZ service by SOAP 1.2, snapshots by HTTP."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from camera_sampler.safe_xml import local, parse_xml
from camera_sampler.simulation.emulators import onvif_messages as say
from camera_sampler.simulation.emulators.base import Emulator, Reply, Request
from camera_sampler.simulation.emulators.digest import Verdict
from camera_sampler.simulation.emulators.faults import Fault, Operation
from camera_sampler.simulation.emulators.ws_security import TokenGate, utc_clock
from shared.pictures import open_picture
from shared.pose import Pose, PoseLimits

SNAPSHOT = "/onvif/snapshot"
_MOST_PRESETS = 16
_SOAP = "application/soap+xml; charset=utf-8"
_MOVES = frozenset({"AbsoluteMove", "RelativeMove", "ContinuousMove", "GotoPreset", "GotoHomePosition"})
_OPEN = frozenset({"GetSystemDateAndTime"})
_DEGREES_A_SECOND = 60.0
_DURATION = re.compile(r"PT(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")
_LONGEST = 60.0
_HOME = Pose(pan=0.0, tilt=0.0, zoom=1.0)


class SoapFault(Exception):
    """What the camera says instead of doing it."""

    def __init__(self, reason: str, *subcodes: str, code: Literal["Sender", "Receiver"] = "Sender") -> None:
        super().__init__(reason)
        self.reason, self.subcodes, self.code = reason, subcodes, code


class OnvifEmulator(Emulator):
    """Absolute, relative and continuous moves, home, presets, status, nodes and configurations, snapshots.

    ``login``: HTTP digest, a token in the message, or either. ``base`` is the address that the camera believes to have.
    """

    realm: ClassVar[str] = "onvif"

    def __init__(
        self,
        *args: Any,
        login: Literal["digest", "token", "either"] = "either",
        offers: say.Offers | None = None,
        clock_ahead: timedelta = timedelta(),
        base: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.login, self.offers, self.clock_ahead, self.base = login, offers or say.Offers(), clock_ahead, base
        """``clock_ahead`` is by how much the camera's clock is wrong."""
        self._now = utc_clock(lambda: self.clock_ahead)
        self.tokens = TokenGate(self.gate.user, self.gate.password, self._now)
        self._presets: dict[str, tuple[str, Pose]] = {}
        self._size: tuple[int, int] | None = None
        self._answers: dict[str, Callable[[ElementTree.Element], Awaitable[str]]] = {
            "GetSystemDateAndTime": self._get_system_date_and_time,
            "GetDeviceInformation": self._get_device_information,
            "GetServices": self._get_services,
            "GetCapabilities": self._get_capabilities,
            "GetProfiles": self._get_profiles,
            "GetSnapshotUri": self._get_snapshot_uri,
            "GetNodes": self._get_nodes,
            "GetNode": self._get_node,
            "GetConfigurations": self._get_configurations,
            "GetConfiguration": self._get_configuration,
            "GetConfigurationOptions": self._get_configuration_options,
            "GetStatus": self._get_status,
            "AbsoluteMove": self._absolute_move,
            "RelativeMove": self._relative_move,
            "ContinuousMove": self._continuous_move,
            "Stop": self._stop,
            "GotoHomePosition": self._goto_home_position,
            "GetPresets": self._get_presets,
            "SetPreset": self._set_preset,
            "GotoPreset": self._goto_preset,
        }

    def verdict(self, request: Request) -> Verdict:
        """See ``Emulator.verdict``: a token in the message counts as well, and the clock is everybody's."""
        header, asked = _read(request)
        if asked is not None and local(asked.tag) in _OPEN:
            return "in"
        # Nothing but HTTP's own login can guard a picture.
        if self.login == "digest" or asked is None or "authorization" in request.headers:
            return super().verdict(request) if self.login != "token" or asked is None else "wrong"
        verdict = self.tokens.check(header)
        return super().verdict(request) if verdict == "absent" and self.login == "either" else verdict

    def unauthorized_reply(self, request: Request | None, *, stale: bool) -> Reply:
        """See ``Emulator.unauthorized_reply``: with a challenge where HTTP's login counts."""
        plain = super().unauthorized_reply(request, stale=stale)
        if request is None or request.path == SNAPSHOT:
            return plain
        body = say.fault("Sender", ["NotAuthorized"], "The action requested requires authorization")
        if self.login == "token":
            return Reply(400, body, _SOAP, "Bad Request")
        return Reply(401, body, _SOAP, "Unauthorized", plain.headers)

    def locked_reply(self) -> Reply:
        """See ``Emulator.locked_reply``."""
        return Reply(400, say.fault("Sender", ["NotAuthorized"], "The account is locked"), _SOAP, "Bad Request")

    def operation(self, request: Request) -> Operation:
        """See ``Emulator.operation``."""
        if request.path == SNAPSHOT:
            return "snapshot"
        _, asked = _read(request)
        name = "" if asked is None else local(asked.tag)
        return "move" if name in _MOVES else "position" if name == "GetStatus" else "other"

    async def answer(self, request: Request, fault: Fault | None) -> Reply:
        """See ``Emulator.answer``."""
        if fault == "garbage":
            return Reply(body=b"\x00\x17 watchdog\r\n")
        if request.path == SNAPSHOT:
            return await self._snapshot(fault)
        try:
            if fault == "refused":
                raise SoapFault("The requested position is out of bounds", "InvalidArgVal", "InvalidPosition")
            if fault == "initiating":
                raise SoapFault("The PTZ driver is not ready", "Action", "NotReady", code="Receiver")
            body = await self._asked(request)
        except SoapFault as error:
            status, reason = (400, "Bad Request") if error.code == "Sender" else (500, "Internal Server Error")
            return Reply(status, say.fault(error.code, error.subcodes, error.reason), _SOAP, reason)
        if fault == "missing-key":
            body = re.sub(r' y="[^"]*"', "", body)
        if fault == "reordered":
            body = re.sub(r"(<tt:PanTilt [^>]*/>)(<tt:Zoom [^>]*/>)", r"\2\1", body)
        return Reply(body=say.envelope(body), content_type=_SOAP)

    async def _asked(self, request: Request) -> str:
        _, asked = _read(request)
        if asked is None or request.method != "POST":
            raise SoapFault("That is no SOAP message", "WellFormed")
        namespace, _, name = asked.tag[1:].rpartition("}")
        if say.PATHS.get(namespace) != request.path or name not in self._answers:
            raise SoapFault("This camera cannot do that", "ActionNotSupported", code="Receiver")
        token = _text(asked, "ProfileToken")
        if token is not None and token != say.PROFILE:
            raise SoapFault("The requested profile token does not exist", "InvalidArgVal", "NoProfile")
        return await self._answers[name](asked)

    async def _snapshot(self, fault: Fault | None) -> Reply:
        if fault == "refused":
            return Reply(400, b"Bad Request\r\n", reason="Bad Request")
        if fault == "initiating":
            return Reply(503, b"Service Unavailable\r\n", reason="Service Unavailable")
        return Reply(body=await self.image(fault), content_type="image/jpeg")

    async def _get_system_date_and_time(self, _: ElementTree.Element) -> str:
        return say.clock(self._now())

    async def _get_device_information(self, _: ElementTree.Element) -> str:
        told = {"Manufacturer": "Emulated", "Model": "PTZ", "FirmwareVersion": "1.0", "SerialNumber": "1"}
        told["HardwareId"] = "1"
        return f"<tds:GetDeviceInformationResponse>{say.elements('tds', told)}</tds:GetDeviceInformationResponse>"

    async def _get_services(self, _: ElementTree.Element) -> str:
        return say.services(self.base or self.url)

    async def _get_capabilities(self, _: ElementTree.Element) -> str:
        return say.capabilities(self.base or self.url)

    async def _get_profiles(self, _: ElementTree.Element) -> str:
        if self._size is None:
            self._size = open_picture((await self.camera.snapshot()).data).size
        return say.profiles(self.offers, self._size)

    async def _get_snapshot_uri(self, _: ElementTree.Element) -> str:
        uri = f"{self.base or self.url}{SNAPSHOT}?channel=1&subtype=0"
        told = {"Uri": uri, "InvalidAfterConnect": "false", "InvalidAfterReboot": "true", "Timeout": "PT60S"}
        return (
            f"<trt:GetSnapshotUriResponse><trt:MediaUri>{say.elements('tt', told)}</trt:MediaUri>"
            "</trt:GetSnapshotUriResponse>"
        )

    async def _get_nodes(self, _: ElementTree.Element) -> str:
        return f"<tptz:GetNodesResponse>{await self._node()}</tptz:GetNodesResponse>"

    async def _get_node(self, asked: ElementTree.Element) -> str:
        if _text(asked, "NodeToken") != say.NODE:
            raise SoapFault("No such PTZ node on the device", "InvalidArgVal", "NoEntity")
        return f"<tptz:GetNodeResponse>{await self._node()}</tptz:GetNodeResponse>"

    async def _node(self) -> str:
        return say.node(await self.camera.limits(), self.offers, _MOST_PRESETS)

    async def _get_configurations(self, _: ElementTree.Element) -> str:
        found = say.configuration("tptz:PTZConfiguration", self.offers)
        return f"<tptz:GetConfigurationsResponse>{found}</tptz:GetConfigurationsResponse>"

    async def _get_configuration(self, _: ElementTree.Element) -> str:
        found = say.configuration("tptz:PTZConfiguration", self.offers)
        return f"<tptz:GetConfigurationResponse>{found}</tptz:GetConfigurationResponse>"

    async def _get_configuration_options(self, _: ElementTree.Element) -> str:
        return (
            "<tptz:GetConfigurationOptionsResponse><tptz:PTZConfigurationOptions>"
            f"<tt:Spaces>{say.spaces(await self.camera.limits(), self.offers)}</tt:Spaces>"
            "<tt:PTZTimeout><tt:Min>PT1S</tt:Min><tt:Max>PT60S</tt:Max></tt:PTZTimeout>"
            "</tptz:PTZConfigurationOptions></tptz:GetConfigurationOptionsResponse>"
        )

    async def _get_status(self, _: ElementTree.Element) -> str:
        before = await self.camera.pose()
        x, y, z = self.looks_at(before, await self.camera.limits())
        zoom = {"x": f"{z:.6f}", "space": say.ZOOM} if self.offers.zoom else {}
        position = "".join(say.vector({"x": f"{x:.6f}", "y": f"{y:.6f}", "space": say.GENERIC}, zoom))
        moves = ""
        if self.offers.move_status:
            state = "IDLE" if await self.camera.pose() == before else "MOVING"
            moves = f"<tt:MoveStatus><tt:PanTilt>{state}</tt:PanTilt><tt:Zoom>{state}</tt:Zoom></tt:MoveStatus>"
        return (
            f"<tptz:GetStatusResponse><tptz:PTZStatus><tt:Position>{position}</tt:Position>{moves}"
            f"<tt:UtcTime>{self._now():%Y-%m-%dT%H:%M:%SZ}</tt:UtcTime></tptz:PTZStatus></tptz:GetStatusResponse>"
        )

    async def _absolute_move(self, asked: ElementTree.Element) -> str:
        limits, pose = await self.camera.limits(), await self.camera.pose()
        pan, tilt, zoom = pose.as_tuple()
        values = _vector(asked, "Position")
        if "PanTilt" in values:
            space, x, y = values["PanTilt"]
            pan, tilt = self._place(space or say.GENERIC, x, y, limits)
        if "Zoom" in values:
            space, x, _ = values["Zoom"]
            if space not in ("", say.ZOOM):
                raise SoapFault("A space is not supported", "InvalidArgVal", "SpaceNotSupported")
            _inside(x, 0.0, 1.0 if self.offers.zoom else 0.0)
            zoom = 1.0 + x * (limits.zoom_max - 1.0) if self.offers.zoom else zoom
        await self.camera.move_to(limits.reach(pan, tilt, zoom))
        return "<tptz:AbsoluteMoveResponse/>"

    def _place(self, space: str, x: float, y: float, limits: PoseLimits) -> tuple[float, float]:
        """Return pan and tilt in degrees."""
        if space == say.GENERIC:
            _inside(x, -1.0, 1.0)
            _inside(y, -1.0, 1.0)
            pan = limits.pan_min + (x + 1.0) / 2.0 * (limits.pan_max - limits.pan_min)
            return pan, limits.tilt_min + (y + 1.0) / 2.0 * (limits.tilt_max - limits.tilt_min)
        if space == say.DEGREES and self.offers.degrees:
            _inside(x, limits.pan_min, limits.pan_max)
            _inside(y, limits.tilt_min, limits.tilt_max)
            return x, y
        raise SoapFault("A space is not supported", "InvalidArgVal", "SpaceNotSupported")

    async def _relative_move(self, asked: ElementTree.Element) -> str:
        limits, pose = await self.camera.limits(), await self.camera.pose()
        pan = tilt = zoom = 0.0
        values = _vector(asked, "Translation")
        if "PanTilt" in values:
            space, x, y = values["PanTilt"]
            if space == say.MOVED_DEGREES and self.offers.degrees:
                pan, tilt = x, y
            elif space in ("", say.MOVED):
                pan = x / 2.0 * (limits.pan_max - limits.pan_min)
                tilt = y / 2.0 * (limits.tilt_max - limits.tilt_min)
            else:
                raise SoapFault("A space is not supported", "InvalidArgVal", "SpaceNotSupported")
        if "Zoom" in values and self.offers.zoom:
            zoom = values["Zoom"][1] * (limits.zoom_max - 1.0)
        await self.camera.move_to(limits.moved(pose, pan, tilt, zoom))
        return "<tptz:RelativeMoveResponse/>"

    async def _continuous_move(self, asked: ElementTree.Element) -> str:
        """Go as far as the time-out lets it at one speed; ``Stop`` ends it."""
        limits, pose = await self.camera.limits(), await self.camera.pose()
        degrees = _seconds(_text(asked, "Timeout") or "PT5S") * _DEGREES_A_SECOND
        values = _vector(asked, "Velocity")
        _, x, y = values.get("PanTilt", ("", 0.0, 0.0))
        _, z, _ = values.get("Zoom", ("", 0.0, 0.0))
        # Half a turn is as far as a move goes without coming back.
        pan = min(max(x * degrees, -179.0), 179.0)
        await self.camera.move_to(limits.moved(pose, pan, y * degrees, z * limits.zoom_max))
        return "<tptz:ContinuousMoveResponse/>"

    async def _stop(self, _: ElementTree.Element) -> str:
        await self.camera.move_to(await self.camera.pose())
        return "<tptz:StopResponse/>"

    async def _goto_home_position(self, _: ElementTree.Element) -> str:
        await self.camera.move_to(_HOME)
        return "<tptz:GotoHomePositionResponse/>"

    async def _get_presets(self, _: ElementTree.Element) -> str:
        limits = await self.camera.limits()
        found = ""
        for token, (name, pose) in self._presets.items():
            x, y, z = self.looks_at(pose, limits)
            zoom = {"x": f"{z:.6f}", "space": say.ZOOM} if self.offers.zoom else {}
            position = "".join(say.vector({"x": f"{x:.6f}", "y": f"{y:.6f}", "space": say.GENERIC}, zoom))
            found += (
                f"<tptz:Preset token={quoteattr(token)}><tt:Name>{escape(name)}</tt:Name>"
                f"<tt:PTZPosition>{position}</tt:PTZPosition></tptz:Preset>"
            )
        return f"<tptz:GetPresetsResponse>{found}</tptz:GetPresetsResponse>"

    async def _set_preset(self, asked: ElementTree.Element) -> str:
        token = _text(asked, "PresetToken") or f"preset_{len(self._presets) + 1}"
        if token not in self._presets and len(self._presets) >= _MOST_PRESETS:
            raise SoapFault("Maximum number of presets reached", "Action", "TooManyPresets", code="Receiver")
        self._presets[token] = (_text(asked, "PresetName") or token)[:64], await self.camera.pose()
        return f"<tptz:SetPresetResponse><tptz:PresetToken>{escape(token)}</tptz:PresetToken></tptz:SetPresetResponse>"

    async def _goto_preset(self, asked: ElementTree.Element) -> str:
        token = _text(asked, "PresetToken")
        if token not in self._presets:
            raise SoapFault("The requested preset token does not exist", "InvalidArgVal", "NoToken")
        await self.camera.move_to(self._presets[token][1])
        return "<tptz:GotoPresetResponse/>"

    def looks_at(self, pose: Pose, limits: PoseLimits) -> tuple[float, float, float]:
        """Return a canonical pose in the generic spaces."""
        pan = (limits.unwrapped(pose.pan) - limits.pan_min) / (limits.pan_max - limits.pan_min)
        tilt = (pose.tilt - limits.tilt_min) / (limits.tilt_max - limits.tilt_min)
        zoom = (pose.zoom - 1.0) / (limits.zoom_max - 1.0) if limits.zoom_max > 1.0 else 0.0
        return 2.0 * pan - 1.0, 2.0 * tilt - 1.0, zoom


def _read(request: Request) -> tuple[ElementTree.Element | None, ElementTree.Element | None]:
    """Return a message's header and what it asks for; None where there is no such thing."""
    try:
        envelope = parse_xml(request.body.decode())
    except ValueError:
        return None, None
    parts = {local(child.tag): child for child in envelope}
    body = parts.get("Body")
    return parts.get("Header"), body[0] if body is not None and len(body) else None


def _text(parent: ElementTree.Element, name: str) -> str | None:
    return next(((child.text or "").strip() for child in parent if local(child.tag) == name), None)


def _vector(asked: ElementTree.Element, name: str) -> Mapping[str, tuple[str, float, float]]:
    """Return space, x and y of ``PanTilt`` and ``Zoom`` where they are given."""
    vector = next((child for child in asked if local(child.tag) == name), None)
    if vector is None:
        raise SoapFault(f"There is no {name}", "InvalidArgVal")
    return {
        local(child.tag): (child.get("space", ""), _number(child.get("x", "")), _number(child.get("y", "0")))
        for child in vector
    }


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SoapFault("A value is no number", "InvalidArgVal")
    return value


def _seconds(duration: str) -> float:
    found = _DURATION.fullmatch(duration)
    parts = found.groups("0") if found else ("0", "0", "0")
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    if not 0.0 < seconds <= _LONGEST:
        raise SoapFault("The time-out is not supported", "InvalidArgVal", "TimeoutNotSupported")
    return seconds


def _inside(value: float, low: float, high: float) -> None:
    # Clients round, so a little beyond the end is the end.
    if not low - 1e-4 <= value <= high + 1e-4:
        raise SoapFault("The requested position is out of bounds", "InvalidArgVal", "InvalidPosition")
