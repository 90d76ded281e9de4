"""Cameras of many makers by ONVIF (profile S and later): absolute moves, positions and snapshots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from onveef import envelopes, parsers

from camera_sampler.access import Access, Settled
from camera_sampler.cameras.base import CameraError, Snapshot
from camera_sampler.cameras.http import CameraHttp
from camera_sampler.cameras.onvif_soap import DEVICE, OnvifSoap
from camera_sampler.cameras.onvif_spaces import Position, Units, child_text, read_allowed, read_spaces, units
from camera_sampler.safe_xml import local
from camera_sampler.snapshots import MAX_BYTES
from shared.actions import Action
from shared.errors import UserError
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits

_LONGEST_URI = 2048
_NEEDED = frozenset({"media", "ptz"})


@dataclass(frozen=True)
class Known:
    """What a camera told of itself: its services' paths, the profile that can be steered, and its units."""

    media: str
    ptz: str
    profile: str
    units: Units


class OnvifCamera:
    """Implements ``Camera`` by ONVIF.

    Of the addresses that the camera gives for its services and snapshots only path and query count: every request goes
    to the host of the settings. A camera may not know its own address, and must not send us to another one.
    """

    def __init__(self, access: Access, narrow: Settled | None = None, *, magnification: float | None = None) -> None:
        self._http = CameraHttp(access)
        self._soap = OnvifSoap(access, self._http)
        self._narrow, self._magnification = narrow or Settled(), magnification
        self._known: Known | None = None
        self._snapshot_target: str | None = None

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        known = await self._told()
        status = await self._soap.ask(known.ptz, envelopes.ptz_get_status(profile_token=known.profile))
        return known.units.from_camera(read_position(status))

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        known = await self._told()
        # Beyond their limits some cameras stop there and others refuse, so they are kept here.
        position = known.units.to_camera(known.units.limits.reach(*pose.as_tuple()))
        response = await self._soap.ask(known.ptz, absolute_move(known.profile, position))
        if local(response.tag) != "AbsoluteMoveResponse":
            raise CameraError("the answer to a move is another request's", "unparsable")

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self.move_to(action.apply(await self.pose(), await self.limits()))

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``. Read once. ``UserError`` where the camera and the settings together do not tell."""
        return (await self._told()).units.limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        target = self._snapshot_target or await self._ask_snapshot_target()
        taken_at = utc_now()
        try:
            answer = await self._http.get(target, max_bytes=MAX_BYTES)
        except CameraError as error:
            if error.kind == "refused":
                # The address may be another one after a reboot.
                self._snapshot_target = None
            raise
        if answer.content_type.startswith("text/"):
            raise CameraError(f"words instead of a snapshot: {self._http.excerpt(answer.text)}", "unparsable")
        return Snapshot(answer.body, taken_at)

    async def device(self) -> dict[str, str]:
        """Return ``model`` (with its maker) and ``firmware``, as far as the camera tells. May raise ``CameraError``."""
        response = await self._soap.ask(DEVICE, envelopes.device_get_information())
        told = parsers.parse_device_information(ElementTree.tostring(response, "unicode"))
        model = " ".join(told[key] for key in ("Manufacturer", "Model") if told.get(key))
        found = {"model": model, "firmware": told.get("FirmwareVersion", "")}
        return {name: value for name, value in found.items() if value}

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""
        await self._http.aclose()

    async def _told(self) -> Known:
        if self._known is None:
            self._known = await self._ask_known()
        return self._known

    async def _ask_known(self) -> Known:
        services = await self._services()
        if missing := _NEEDED - services.keys():
            said = " and no ".join(sorted(missing))
            raise UserError(f"the camera has no {said} service by ONVIF, so it cannot be steered")
        media, ptz = _target(services["media"]), _target(services["ptz"])
        profile = steerable(await self._soap.ask(media, envelopes.media_get_profiles(use_media2=False)))
        configuration = next(child for child in profile if local(child.tag) == "PTZConfiguration")
        nodes = await self._soap.ask(ptz, envelopes.ptz_get_nodes())
        read = units(
            read_spaces(node_of(nodes, child_text(configuration, "NodeToken") or "")),
            read_allowed(configuration),
            self._narrow,
            self._magnification,
        )
        read = replace(
            read,
            # The schema itself misspells this name.
            default_pan_tilt=child_text(configuration, "DefaultAbsolutePantTiltPositionSpace") or read.default_pan_tilt,
            default_zoom=child_text(configuration, "DefaultAbsoluteZoomPositionSpace") or read.default_zoom,
        )
        return Known(media, ptz, profile.get("token", ""), read)

    async def _services(self) -> dict[str, str]:
        """Return the services' addresses by name."""
        try:
            response = await self._soap.ask(DEVICE, envelopes.device_get_services())
            found = parsers.parse_services(ElementTree.tostring(response, "unicode"))
        except CameraError as error:
            if error.kind != "refused":
                raise
            found = {}
        if found.keys() >= _NEEDED:
            return found
        # Cameras from before ONVIF 2.1 know another question only, and some leave services out of the answer to this.
        response = await self._soap.ask(DEVICE, envelopes.device_get_capabilities())
        return parsers.parse_capabilities(ElementTree.tostring(response, "unicode")) | found

    async def _ask_snapshot_target(self) -> str:
        known = await self._told()
        request = envelopes.media_get_snapshot_uri(profile_token=known.profile, use_media2=False)
        response = await self._soap.ask(known.media, request)
        uri = parsers.parse_snapshot_uri(ElementTree.tostring(response, "unicode"))
        if not uri:
            raise CameraError("the camera gives no address of a snapshot", "unparsable")
        self._snapshot_target = _target(uri)
        return self._snapshot_target


def absolute_move(profile: str, position: Position) -> str:
    """Return the content of a SOAP body that moves to a position. The library's own leaves the spaces out."""
    vector = ""
    for name, values in (("PanTilt", position.pan_tilt), ("Zoom", position.zoom)):
        if values:
            vector += f"<tt:{name} {' '.join(f'{key}={quoteattr(value)}' for key, value in values.items())}/>"
    return (
        f"<tptz:AbsoluteMove><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken>"
        f"<tptz:Position>{vector}</tptz:Position></tptz:AbsoluteMove>"
    )


def read_position(status: ElementTree.Element) -> Position:
    """Read the answer to ``GetStatus``. The library's own takes a missing value for 0, and forgets its space."""
    position = next((element for element in status.iter() if local(element.tag) == "Position"), None)
    if position is None:
        raise CameraError("the camera does not tell where it looks", "unparsable")
    found = {local(child.tag): child.attrib for child in position}
    return Position(found.get("PanTilt", {}), found.get("Zoom"))


def steerable(profiles: ElementTree.Element) -> ElementTree.Element:
    """Return the first profile that has a PTZ configuration. ``UserError`` where none has."""
    for profile in profiles:
        if any(local(child.tag) == "PTZConfiguration" for child in profile):
            return profile
    raise UserError("the camera has no media profile with PTZ: make one by its web page")


def node_of(nodes: ElementTree.Element, token: str) -> ElementTree.Element:
    """Return the PTZ node of a token, or the only one. ``CameraError`` where there is none."""
    found = [node for node in nodes if local(node.tag) == "PTZNode"]
    named = [node for node in found if node.get("token") == token] or found
    if not named:
        raise CameraError("the camera names no PTZ node", "unparsable")
    return named[0]


def _target(uri: str) -> str:
    """Return path and query of an address. ``CameraError`` where it is none."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise CameraError("the camera gives an address that is none", "unparsable") from None
    target = "/" + parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    if not (target.isascii() and target.isprintable()) or " " in target or len(target) > _LONGEST_URI:
        raise CameraError("the camera gives an address that is none", "unparsable")
    return target
