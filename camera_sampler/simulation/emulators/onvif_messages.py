"""What the emulated ONVIF camera says, as XML: in the schema's order and namespaces, as strict clients want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from shared.pose import PoseLimits

VERSIONS = "http://www.onvif.org/ver10"
DEVICE, MEDIA, PTZ = f"{VERSIONS}/device/wsdl", f"{VERSIONS}/media/wsdl", "http://www.onvif.org/ver20/ptz/wsdl"
_NAMESPACES = {
    "env": "http://www.w3.org/2003/05/soap-envelope", "ter": f"{VERSIONS}/error", "tt": f"{VERSIONS}/schema",
    "tds": DEVICE, "trt": MEDIA, "tptz": PTZ,
}  # fmt: skip
_PAN_TILT, _ZOOM = f"{VERSIONS}/tptz/PanTiltSpaces", f"{VERSIONS}/tptz/ZoomSpaces"
GENERIC, DEGREES = f"{_PAN_TILT}/PositionGenericSpace", f"{_PAN_TILT}/SphericalPositionSpaceDegrees"
MOVED, MOVED_DEGREES = f"{_PAN_TILT}/TranslationGenericSpace", f"{_PAN_TILT}/SphericalTranslationSpaceDegrees"
SPEED = f"{_PAN_TILT}/VelocityGenericSpace"
ZOOM, MOVED_ZOOM = f"{_ZOOM}/PositionGenericSpace", f"{_ZOOM}/TranslationGenericSpace"
SPEED_ZOOM = f"{_ZOOM}/VelocityGenericSpace"
PROFILE, NODE, CONFIGURATION = "profile_1", "node_1", "ptz_1"
PATHS = {DEVICE: "/onvif/device_service", MEDIA: "/onvif/media_service", PTZ: "/onvif/ptz_service"}


@dataclass(frozen=True)
class Offers:
    """What an emulated camera's PTZ node has: degrees beside the generic space, a zoom, a word on whether it moves."""

    degrees: bool = True
    zoom: bool = True
    move_status: bool = True


def envelope(body: str) -> bytes:
    """Return a whole SOAP 1.2 message."""
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{declaration}\n<env:Envelope {declared}><env:Body>{body}</env:Body></env:Envelope>\n".encode()


def fault(code: str, subcodes: Sequence[str], reason: str) -> bytes:
    """Return a message that holds a fault: ``code`` is Sender or Receiver, the subcodes go from the outside in."""
    inner = ""
    for subcode in reversed(subcodes):
        inner = f"<env:Subcode><env:Value>ter:{subcode}</env:Value>{inner}</env:Subcode>"
    return envelope(
        f"<env:Fault><env:Code><env:Value>env:{code}</env:Value>{inner}</env:Code>"
        f'<env:Reason><env:Text xml:lang="en">{escape(reason)}</env:Text></env:Reason></env:Fault>'
    )


def elements(prefix: str, values: Mapping[str, object]) -> str:
    """Return one element for each value."""
    return "".join(f"<{prefix}:{name}>{escape(str(value))}</{prefix}:{name}>" for name, value in values.items())


def clock(now: datetime) -> str:
    """Return the answer to ``GetSystemDateAndTime``."""
    time = elements("tt", {"Hour": now.hour, "Minute": now.minute, "Second": now.second})
    date = elements("tt", {"Year": now.year, "Month": now.month, "Day": now.day})
    return (
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
        "<tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone>"
        f"<tt:UTCDateTime><tt:Time>{time}</tt:Time><tt:Date>{date}</tt:Date></tt:UTCDateTime>"
        "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    )


def services(base: str) -> str:
    """Return the answer to ``GetServices``; ``base`` is the address that the camera believes to have."""
    each = (
        f"<tds:Service><tds:Namespace>{uri}</tds:Namespace><tds:XAddr>{escape(base + path)}</tds:XAddr>"
        "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
        for uri, path in PATHS.items()
    )
    return f"<tds:GetServicesResponse>{''.join(each)}</tds:GetServicesResponse>"


def capabilities(base: str) -> str:
    """Return the answer to ``GetCapabilities``."""
    address = {uri: f"<tt:XAddr>{escape(base + path)}</tt:XAddr>" for uri, path in PATHS.items()}
    streaming = "<tt:StreamingCapabilities><tt:RTPMulticast>false</tt:RTPMulticast></tt:StreamingCapabilities>"
    return (
        f"<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Device>{address[DEVICE]}</tt:Device>"
        f"<tt:Media>{address[MEDIA]}{streaming}</tt:Media><tt:PTZ>{address[PTZ]}</tt:PTZ>"
        "</tds:Capabilities></tds:GetCapabilitiesResponse>"
    )


def profiles(offers: Offers, size: tuple[int, int]) -> str:
    """Return the answer to ``GetProfiles``: one profile that cannot be steered, then one that can."""
    width, height = size
    source = (
        '<tt:VideoSourceConfiguration token="source_config_1"><tt:Name>source</tt:Name><tt:UseCount>2</tt:UseCount>'
        f'<tt:SourceToken>source_1</tt:SourceToken><tt:Bounds x="0" y="0" width="{width}" height="{height}"/>'
        "</tt:VideoSourceConfiguration>"
    )
    return (
        f'<trt:GetProfilesResponse><trt:Profiles token="profile_0" fixed="true"><tt:Name>fixed</tt:Name>{source}'
        f'</trt:Profiles><trt:Profiles token="{PROFILE}" fixed="true"><tt:Name>steered</tt:Name>{source}'
        f"{configuration('tt:PTZConfiguration', offers)}</trt:Profiles></trt:GetProfilesResponse>"
    )


def configuration(tag: str, offers: Offers) -> str:
    """Return the PTZ configuration. Positions are in the generic space unless a request names another one."""
    defaults = {"AbsolutePantTiltPosition": GENERIC}
    if offers.zoom:
        defaults["AbsoluteZoomPosition"] = ZOOM
    defaults["RelativePanTiltTranslation"] = MOVED
    if offers.zoom:
        defaults["RelativeZoomTranslation"] = MOVED_ZOOM
    defaults["ContinuousPanTiltVelocity"] = SPEED
    spaces = elements("tt", {f"Default{name}Space": uri for name, uri in defaults.items()})
    return (
        f'<{tag} token="{CONFIGURATION}"><tt:Name>ptz</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:NodeToken>{NODE}</tt:NodeToken>{spaces}<tt:DefaultPTZTimeout>PT5S</tt:DefaultPTZTimeout></{tag}>"
    )


def node(limits: PoseLimits, offers: Offers, most_presets: int) -> str:
    """Return the PTZ node."""
    return (
        f'<tptz:PTZNode token="{NODE}" FixedHomePosition="true"><tt:Name>head</tt:Name>'
        f"<tt:SupportedPTZSpaces>{spaces(limits, offers)}</tt:SupportedPTZSpaces>"
        f"<tt:MaximumNumberOfPresets>{most_presets}</tt:MaximumNumberOfPresets><tt:HomeSupported>true</tt:HomeSupported>"
        "</tptz:PTZNode>"
    )


def spaces(limits: PoseLimits, offers: Offers) -> str:
    """Return all spaces with their ranges. A camera without a zoom tells ranges of no width, as real ones do."""
    one, most = (-1.0, 1.0), 1.0 if offers.zoom else 0.0
    pan, tilt = (limits.pan_min, limits.pan_max), (limits.tilt_min, limits.tilt_max)
    found = [_space("AbsolutePanTiltPositionSpace", GENERIC, one, one)]
    if offers.degrees:
        found.append(_space("AbsolutePanTiltPositionSpace", DEGREES, pan, tilt))
    found.append(_space("AbsoluteZoomPositionSpace", ZOOM, (0.0, most)))
    found.append(_space("RelativePanTiltTranslationSpace", MOVED, one, one))
    if offers.degrees:
        found.append(_space("RelativePanTiltTranslationSpace", MOVED_DEGREES, (-360.0, 360.0), (-180.0, 180.0)))
    found += [
        _space("RelativeZoomTranslationSpace", MOVED_ZOOM, (-most, most)),
        _space("ContinuousPanTiltVelocitySpace", SPEED, one, one),
        _space("ContinuousZoomVelocitySpace", SPEED_ZOOM, (-most, most)),
    ]
    return "".join(found)


def vector(pan_tilt: Mapping[str, str], zoom: Mapping[str, str]) -> list[str]:
    """Return the elements of a position."""
    return [
        f"<tt:{name} {' '.join(f'{key}={quoteattr(value)}' for key, value in values.items())}/>"
        for name, values in (("PanTilt", pan_tilt), ("Zoom", zoom))
        if values
    ]


def _space(tag: str, uri: str, *ranges: tuple[float, float]) -> str:
    inner = "".join(
        f"<tt:{axis}Range><tt:Min>{low:g}</tt:Min><tt:Max>{high:g}</tt:Max></tt:{axis}Range>"
        for axis, (low, high) in zip("XY", ranges, strict=False)
    )
    return f"<tt:{tag}><tt:URI>{uri}</tt:URI>{inner}</tt:{tag}>"
