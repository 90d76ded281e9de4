"""What the command line knows of each brand of camera: one row a brand."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx

from camera_sampler.access import Access
from camera_sampler.cameras import Camera
from camera_sampler.cameras.axis import AxisCamera
from camera_sampler.cameras.hanwha import HanwhaCamera
from camera_sampler.simulation.emulators import AxisEmulator, Emulator, HanwhaEmulator

Likeness = Literal["yes", "perhaps", "no"]
_MOST_BYTES = 16_384


@dataclass(frozen=True)
class Brand:
    """How to recognise a camera without a login, how to drive one, and how to emulate one."""

    title: str
    recognise: Callable[[httpx.AsyncClient], Awaitable[Likeness]]
    open: Callable[[Access], Camera]
    emulator: type[Emulator]
    device: Callable[[Camera], Awaitable[Mapping[str, str]]] | None = None
    """Asks for ``model`` and ``firmware``; without it they are looked for in the picture."""


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
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MOST_BYTES:
                    break
            return "yes" if re.search(words, body.decode("utf-8", "replace")) else "no"

    return recognise


async def _hanwha_device(camera: Camera) -> Mapping[str, str]:
    return await camera.device() if isinstance(camera, HanwhaCamera) else {}


BRANDS: dict[str, Brand] = {
    "hanwha": Brand(
        "Hanwha",
        by_digest("/stw-cgi/system.cgi?msubmenu=deviceinfo&action=view", "ipolis", r"(?m)^Model="),
        HanwhaCamera,
        HanwhaEmulator,
        _hanwha_device,
    ),
    "axis": Brand(
        "Axis",
        by_digest("/axis-cgi/com/ptz.cgi?query=position&camera=1", "axis_", r"(?m)^pan="),
        AxisCamera,
        AxisEmulator,
    ),
}
