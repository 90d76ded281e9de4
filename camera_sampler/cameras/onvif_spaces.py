"""ONVIF's coordinate spaces against canonical units: degrees where the camera offers them, else by settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from xml.etree import ElementTree

from camera_sampler.access import Settled
from camera_sampler.cameras.base import CameraError
from camera_sampler.cameras.vendor import in_limits, number, number_range
from camera_sampler.safe_xml import local
from shared.errors import UserError
from shared.pose import Pose, PoseLimits

_SPACES = "http://www.onvif.org/ver10/tptz"
DEGREES = f"{_SPACES}/PanTiltSpaces/SphericalPositionSpaceDegrees"
GENERIC_PAN_TILT = f"{_SPACES}/PanTiltSpaces/PositionGenericSpace"
GENERIC_ZOOM = f"{_SPACES}/ZoomSpaces/PositionGenericSpace"
_CIRCLE = 359.0
"""A pan range of as many degrees is taken for all the way round."""

Range = tuple[float, float]
S = TypeVar("S")


@dataclass(frozen=True)
class Scale:
    """One axis: ``low`` … ``high`` of the camera are ``first`` … ``last`` in canonical units, linear in between."""

    low: float
    high: float
    first: float
    last: float

    def to_camera(self, value: float) -> float:
        """Return a canonical value in the camera's units, inside its range."""
        share = (value - self.first) / (self.last - self.first)
        return self.low + min(max(share, 0.0), 1.0) * (self.high - self.low)

    def from_camera(self, value: float) -> float:
        """Return a camera's value in canonical units. A head that wobbles at its stop may be a little beyond it."""
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)


@dataclass(frozen=True)
class Spaces:
    """Absolute positions that a PTZ node offers, or that a configuration allows, by space: pan and tilt, and zoom."""

    pan_tilt: Mapping[str, tuple[Range, Range]] = field(default_factory=dict)
    zoom: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Position:
    """A position in the camera's own spaces: the attributes of ``PanTilt`` and of ``Zoom``; None is no such axis."""

    pan_tilt: Mapping[str, str]
    zoom: Mapping[str, str] | None


@dataclass(frozen=True)
class Units:
    """What a camera reaches, in canonical units, and its spaces' scales. The first space is the one to move in."""

    limits: PoseLimits
    pan_tilt: Mapping[str, tuple[Scale, Scale]]
    zoom: Mapping[str, Scale]
    default_pan_tilt: str = GENERIC_PAN_TILT
    default_zoom: str = GENERIC_ZOOM

    def to_camera(self, pose: Pose) -> Position:
        """Return the position for a move to a pose, which must be in reach."""
        space, (pan, tilt) = next(iter(self.pan_tilt.items()))
        turned = pan.first + (pose.pan - pan.first) % 360.0
        values = {"x": _text(pan.to_camera(turned)), "y": _text(tilt.to_camera(pose.tilt)), "space": space}
        if not self.zoom:
            return Position(values, None)
        space, zoom = next(iter(self.zoom.items()))
        return Position(values, {"x": _text(zoom.to_camera(pose.zoom)), "space": space})

    def from_camera(self, position: Position) -> Pose:
        """Return the canonical pose of a position. ``CameraError`` where a value or its space is missing or unknown."""
        pan, tilt = _scale(self.pan_tilt, position.pan_tilt.get("space") or self.default_pan_tilt)
        magnification = 1.0
        if self.zoom:
            attributes = position.zoom or {}
            zoom = _scale(self.zoom, attributes.get("space") or self.default_zoom)
            magnification = min(max(1.0, zoom.from_camera(number(attributes, "x"))), zoom.last)
        x, y = number(position.pan_tilt, "x"), number(position.pan_tilt, "y")
        return in_limits(pan.from_camera(x), tilt.from_camera(y), magnification)


def read_spaces(node: ElementTree.Element) -> Spaces:
    """Read what a ``PTZNode`` supports."""
    return _spaces(node, "AbsolutePanTiltPositionSpace", "AbsoluteZoomPositionSpace")


def read_allowed(configuration: ElementTree.Element) -> Spaces:
    """Read the limits that somebody set in a ``PTZConfiguration``."""
    found: dict[str, Spaces] = {}
    for kind in ("PanTiltLimits", "ZoomLimits"):
        limits = next((child for child in configuration if local(child.tag) == kind), None)
        found[kind] = Spaces() if limits is None else _spaces(limits, "Range", "Range")
    return Spaces(found["PanTiltLimits"].pan_tilt, found["ZoomLimits"].zoom)


def units(spaces: Spaces, allowed: Spaces, settled: Settled, magnification: float | None) -> Units:
    """Bring the node's spaces, its configuration's limits and the settings together.

    ``magnification`` is that of the most zoom; without it the reach that was settled on counts. ``UserError`` names
    the settings that the camera makes necessary.
    """
    degrees, generic = spaces.pan_tilt.get(DEGREES), spaces.pan_tilt.get(GENERIC_PAN_TILT)
    if degrees is None and generic is None:
        raise UserError("the camera offers no absolute positions of pan and tilt by ONVIF, so it cannot be steered")
    pan_tilt: dict[str, tuple[Scale, Scale]] = {}
    if degrees is not None:
        pan, tilt = degrees
        pan_tilt[DEGREES] = Scale(*pan, *pan), Scale(*tilt, *tilt)
    else:
        pan, tilt = _settled_range(settled, "pan"), _settled_range(settled, "tilt")
    if generic is not None:
        # Both spaces describe the same head, so their ends are the same places.
        pan_tilt[GENERIC_PAN_TILT] = Scale(*generic[0], *pan), Scale(*generic[1], *tilt)
    zoom: dict[str, Scale] = {}
    if GENERIC_ZOOM in spaces.zoom:
        most = magnification or settled.zoom_max
        if most is None:
            raise UserError(
                "the camera does not tell its magnification by ONVIF: set PTZ_CAMERA_MAGNIFICATION to that of its most "
                "zoom, 30 for a 30× lens"
            )
        if most > 1.0:
            zoom[GENERIC_ZOOM] = Scale(*spaces.zoom[GENERIC_ZOOM], 1.0, most)
    told = _limits(pan, tilt, next(iter(zoom.values())).last if zoom else 1.0)
    return Units(settled.apply(_narrowed(told, allowed, pan_tilt, zoom)), pan_tilt, zoom)


def child_text(parent: ElementTree.Element, name: str) -> str | None:
    """Return the text of the first child of a name, whatever its namespace."""
    return next(((child.text or "").strip() for child in parent if local(child.tag) == name), None)


def _spaces(parent: ElementTree.Element, pan_tilt_tag: str, zoom_tag: str) -> Spaces:
    """Read ranges. Those of no width, which cameras tell of axes that they lack, are left out."""
    pan_tilt: dict[str, tuple[Range, Range]] = {}
    zoom: dict[str, Range] = {}
    for element in parent.iter():
        tag, uri = local(element.tag), child_text(element, "URI") or ""
        x, y = _range(element, "XRange"), _range(element, "YRange")
        if tag == pan_tilt_tag and x[0] < x[1] and y[0] < y[1]:
            pan_tilt[uri] = x, y
        if tag == zoom_tag and x[0] < x[1]:
            zoom[uri] = x
    return Spaces(pan_tilt, zoom)


def _narrowed(
    told: PoseLimits, allowed: Spaces, pan_tilt: Mapping[str, tuple[Scale, Scale]], zoom: Mapping[str, Scale]
) -> PoseLimits:
    """Return what of the reach a configuration allows. Limits as wide as the space say nothing."""
    narrow: dict[str, float] = {}
    for uri in allowed.pan_tilt.keys() & pan_tilt.keys():
        for axis, scale, (low, high) in zip(("pan", "tilt"), pan_tilt[uri], allowed.pan_tilt[uri], strict=True):
            if low > scale.low:
                narrow[f"{axis}_min"] = scale.from_camera(low)
            if high < scale.high:
                narrow[f"{axis}_max"] = scale.from_camera(high)
    for uri, (_, high) in allowed.zoom.items():
        if uri in zoom and high < zoom[uri].high:
            narrow["zoom_max"] = zoom[uri].from_camera(high)
    return Settled(**narrow).apply(told)


def _limits(pan: Range, tilt: Range, zoom_max: float) -> PoseLimits:
    whole = pan[1] - pan[0] >= _CIRCLE
    # A partial circle that crosses the canonical ±180 has no canonical form but the whole one.
    pan_min, pan_max = (-180.0, 180.0) if whole or pan[0] < -180.0 or pan[1] > 180.0 else pan
    try:
        return PoseLimits(
            pan_min=pan_min, pan_max=pan_max, tilt_min=max(tilt[0], -90.0), tilt_max=min(tilt[1], 90.0),
            zoom_max=zoom_max,
        )  # fmt: skip
    except ValueError as error:
        raise CameraError("the camera tells ranges that cannot be", "unparsable") from error


def _settled_range(settled: Settled, axis: str) -> Range:
    low, high = getattr(settled, f"{axis}_min"), getattr(settled, f"{axis}_max")
    if low is None or high is None:
        raise UserError(
            "the camera does not tell its reach in degrees by ONVIF: set PTZ_PAN_MIN, PTZ_PAN_MAX, PTZ_TILT_MIN and "
            "PTZ_TILT_MAX to that of its head"
        )
    if not low < high:
        raise UserError(f"PTZ_{axis.upper()}_MIN must be below PTZ_{axis.upper()}_MAX")
    return low, high


def _range(space: ElementTree.Element, name: str) -> Range:
    found = next((child for child in space if local(child.tag) == name), None)
    if found is None:
        return 0.0, 0.0
    low, high = child_text(found, "Min"), child_text(found, "Max")
    # Some firmware writes infinities, others nothing: a range of no use either way.
    try:
        return number_range(low or "", high or "")
    except CameraError:
        return 0.0, 0.0


def _scale(known: Mapping[str, S], space: str) -> S:
    if space not in known:
        raise CameraError(f"a position in a space that is not known: {space[:100]}", "unparsable")
    return known[space]


def _text(value: float) -> str:
    return f"{value:.6f}"
