"""What the command line knows of each brand of camera: one row a brand."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import httpx

from camera_sampler.access import Access, Settled
from camera_sampler.cameras import Camera, open_onvif
from camera_sampler.cameras.axis import AxisCamera
from camera_sampler.cameras.hanwha import HanwhaCamera
from camera_sampler.safe_xml import local, parse_xml
from camera_sampler.simulation.emulators import AxisEmulator, Emulator, HanwhaEmulator, OnvifEmulator

Likeness = Literal["yes", "perhaps", "no"]
_MOST_BYTES = 16_384
_ASK_THE_TIME = (
    '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
    '<GetSystemDateAndTime xmlns="http://www.onvif.org/ver10/device/wsdl"/></s:Body></s:Envelope>'
)


@dataclass(frozen=True)
class Brand:
    """How to recognise a camera without a login, how to drive one, and how to emulate one."""

    title: str
    recognise: Callable[[httpx.AsyncClient], Awaitable[Likeness]]
    open: Callable[[Access, Settled, float | None], Camera]
    """Takes limits and the magnification at the most zoom where somebody settled on them."""
    emulator: type[Emulator]


@runtime_checkable
class Named(Protocol):
    """A camera that tells ``model`` and ``firmware``; those of others are looked for in the picture."""

    async def device(self) -> Mapping[str, str]:
        """Ask for them. May raise ``CameraError``."""


def by_digest(path: str, realm: str, words: str) -> Callable[[httpx.AsyncClient], Awaitable[Likeness]]:
    """Recognise a camera by one GET: by the realm of the login it asks for, or by words of its answer without one."""

    async def recognise(client: httpx.AsyncClient) -> Likeness:
        async with client.stream("GET", path) as response:
            if response.status_code == httpx.codes.UNAUTHORIZED:
                challenge = response.headers.get("www-authenticate", "")
                found = re.search(r'digest\b.*?realm="([^"]*)"', challenge, re.IGNORECASE)
                return "no" if found is None else "yes" if re.match(realm, found[1], re.IGNORECASE) else "perhaps"
            if response.status_code != httpx.codes.OK:
                return "no"
            body = await _beginning(response)
            return "yes" if re.search(words, body) else "no"

    return recognise


async def by_soap(client: httpx.AsyncClient) -> Likeness:
    """Recognise an ONVIF camera by the one question that it answers without a login: what time it has."""
    headers = {"Content-Type": "application/soap+xml; charset=utf-8"}
    async with client.stream("POST", "/onvif/device_service", content=_ASK_THE_TIME, headers=headers) as response:
        try:
            root = parse_xml(await _beginning(response))
        except ValueError:
            return "no"
    # A fault will do, too: nothing but ONVIF speaks SOAP at this address.
    return "yes" if local(root.tag) == "Envelope" else "no"


async def _beginning(response: httpx.Response) -> str:
    """Return the beginning of an answer."""
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _MOST_BYTES:
            break
    return body.decode("utf-8", "replace")


def _axis(access: Access, narrow: Settled, magnification: float | None) -> Camera:
    return AxisCamera(access, narrow, magnification=magnification)


# Most Hanwha and Axis cameras speak ONVIF as well, so it comes last: their own protocols tell their limits.
BRANDS: dict[str, Brand] = {
    "hanwha": Brand(
        "Hanwha",
        by_digest("/stw-cgi/system.cgi?msubmenu=deviceinfo&action=view", "ipolis", r"(?m)^Model="),
        lambda access, narrow, _: HanwhaCamera(access, narrow),
        HanwhaEmulator,
    ),
    "axis": Brand(
        "Axis",
        by_digest("/axis-cgi/com/ptz.cgi?query=position&camera=1", "axis_", r"(?m)^pan="),
        _axis,
        AxisEmulator,
    ),
    "onvif": Brand("ONVIF", by_soap, open_onvif, OnvifEmulator),
}
