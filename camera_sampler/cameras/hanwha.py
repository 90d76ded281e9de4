"""Hanwha cameras by SUNAPI: pan 0…360 degrees to the right, tilt in degrees, zoom as magnification in tenths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from camera_sampler.access import Access, Settled
from camera_sampler.cameras.base import CameraError, Snapshot
from camera_sampler.cameras.http import Answer, CameraHttp, key_values
from camera_sampler.cameras.vendor import Untold, in_limits, number, number_range
from camera_sampler.safe_xml import parse_xml
from camera_sampler.snapshots import MAX_BYTES
from shared.actions import Action
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits

_CONTROL = "/stw-cgi/ptzcontrol.cgi?msubmenu={}&action={}&{}"
_QUERY = _CONTROL.format("query", "view", "Query=Pan,Tilt,Zoom")
_SNAPSHOT = "/stw-cgi/video.cgi?msubmenu=snapshot&action=view"
_DEVICE = "/stw-cgi/system.cgi?msubmenu=deviceinfo&action=view"
_RANGES = "/stw-cgi/attributes.cgi/cgis"
_RANGES_BYTES = 8 << 20
_NOT_READY = 614
_ERROR_CODE = re.compile(r"Error Code:\s*(\d{3})")
_DEFAULTS = PoseLimits(tilt_min=-20.0, tilt_max=90.0, zoom_max=40.0)
"""An XNP-6400RW's, for firmware that does not tell."""


def to_camera(pose: Pose) -> tuple[str, str, str]:
    """Return pan, tilt and zoom as the camera wants them: pan in [0, 360)."""
    # Rounding may reach 360 itself, which is 0.
    return f"{round(pose.pan % 360.0, 2) % 360.0:.2f}", f"{pose.tilt:.2f}", f"{pose.zoom:.1f}"


def from_camera(values: Mapping[str, str]) -> Pose:
    """Return the canonical pose of a query's answer. ``CameraError`` where a value is missing or no number."""
    zoom = max(1.0, number(values, "zoom"))
    return in_limits(number(values, "pan"), number(values, "tilt"), zoom)


class HanwhaCamera:
    """Implements ``Camera`` by SUNAPI."""

    def __init__(self, access: Access, narrow: Settled | None = None) -> None:
        self._http = CameraHttp(access)
        self._narrow = narrow or Settled()
        self._limits: PoseLimits | None = None
        self._untold = Untold()

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        return from_camera(self._values(await self._http.get(_QUERY)))

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        reached = (await self.limits()).reach(*pose.as_tuple())
        pan, tilt, zoom = to_camera(reached)
        # Relative commands stall at pan 0 on some models, so every move is an absolute one.
        answer = await self._http.get(_CONTROL.format("absolute", "control", f"Pan={pan}&Tilt={tilt}&Zoom={zoom}"))
        self._accepted(answer)

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self.move_to(action.apply(await self.pose(), await self.limits()))

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``. Read once; a model that does not tell has the common ones."""
        if self._limits is None:
            self._limits = self._narrow.apply(await self._told_limits())
        return self._limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        taken_at = utc_now()
        answer = await self._http.get(_SNAPSHOT, max_bytes=MAX_BYTES)
        if answer.content_type.startswith("text/") or answer.content_type == "application/json":
            self._refuse(answer)
            raise CameraError(f"words instead of a snapshot: {self._http.excerpt(answer.text)}", "unparsable")
        return Snapshot(answer.body, taken_at)

    async def device(self) -> dict[str, str]:
        """Return ``model`` and ``firmware``, as far as the camera tells them. May raise ``CameraError``."""
        answer = await self._http.get(_DEVICE)
        self._refuse(answer)
        told = key_values(answer.text)
        names = {"model": "model", "firmware": "firmwareversion"}
        return {name: told[key] for name, key in names.items() if told.get(key)}

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""
        await self._http.aclose()

    async def _told_limits(self) -> PoseLimits:
        try:
            answer = await self._http.get(_RANGES, max_bytes=_RANGES_BYTES)
            self._refuse(answer)
            return parse_ranges(answer.text)
        except CameraError as error:
            if self._untold.again(error):
                raise
            return _DEFAULTS

    def _values(self, answer: Answer) -> dict[str, str]:
        self._refuse(answer)
        values = _json_values(answer.text) if answer.text.lstrip().startswith("{") else key_values(answer.text)
        if not values:
            raise CameraError(f"no pose in: {self._http.excerpt(answer.text)}", "unparsable")
        return values

    def _accepted(self, answer: Answer) -> None:
        self._refuse(answer)
        text = answer.text.strip()
        if text not in ("", "OK") and not _says(text, "Success"):
            raise CameraError(f"neither OK nor an error: {self._http.excerpt(text)}", "unparsable")

    def _refuse(self, answer: Answer) -> None:
        """Raise what an ``NG`` means. It comes with status 200, and its words differ between models, not its code."""
        text = answer.text.lstrip() if len(answer.body) < 4096 else ""
        failed = _says(text, "Fail")
        if not text.startswith("NG") and not failed:
            return
        found = _ERROR_CODE.search(text)
        code = int(found[1]) if found else _json_code(text)
        raise CameraError(
            f"the camera refused: {self._http.excerpt(text)}", "initiating" if code == _NOT_READY else "refused"
        )


def parse_ranges(text: str) -> PoseLimits:
    """Read pan, tilt and zoom ranges of absolute moves from the camera's XML. ``CameraError`` where they are not."""
    try:
        root = parse_xml(text)
    except ValueError as error:
        raise CameraError(f"the camera's ranges cannot be read: {error}", "unparsable") from error
    ranges: dict[str, tuple[float, float]] = {}
    for submenu in (element for element in root.iter() if element.get("name") == "absolute"):
        for parameter in submenu.iter():
            bounds = next((inner for inner in parameter.iter() if inner.get("min") and inner.get("max")), None)
            if bounds is not None and parameter.get("name") in ("Pan", "Tilt", "Zoom"):
                ranges[str(parameter.get("name"))] = number_range(str(bounds.get("min")), str(bounds.get("max")))
    if ranges.keys() != {"Pan", "Tilt", "Zoom"}:
        raise CameraError("the camera does not tell its ranges", "unparsable")
    (pan_min, pan_max), (tilt_min, tilt_max), (_, zoom_max) = ranges["Pan"], ranges["Tilt"], ranges["Zoom"]
    if pan_max - pan_min >= 359.0:
        pan_min, pan_max = -180.0, 180.0
    elif pan_max > 180.0:
        # A partial circle that crosses the camera's own 180 has no canonical form but the whole one.
        pan_min, pan_max = -180.0, 180.0
    try:
        return PoseLimits(
            pan_min=max(pan_min, -180.0), pan_max=pan_max, tilt_min=max(tilt_min, -90.0), tilt_max=min(tilt_max, 90.0),
            zoom_max=max(1.0, zoom_max),
        )  # fmt: skip
    except ValueError as error:
        raise CameraError("the camera tells ranges that cannot be", "unparsable") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _json_values(text: str) -> dict[str, str]:
    found = _parsed(text).get("Query")
    first = found[0] if isinstance(found, list) and found else None
    return {str(key).lower(): str(value) for key, value in first.items()} if isinstance(first, dict) else {}


def _json_code(text: str) -> int | None:
    error = _parsed(text).get("Error")
    code = error.get("Code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


def _says(text: str, word: str) -> bool:
    return text.startswith("{") and _parsed(text).get("Response") == word
