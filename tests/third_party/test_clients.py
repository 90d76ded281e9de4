"""Clients that others wrote for real cameras drive the emulated ones, each in a process and a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from camera_sampler.simulation.emulators import Emulator
from tests.camera_sampler.emulating import PASSWORD, REACH, USER, emulator

HERE = Path(__file__).parent
FOLDERS = HERE.parents[1] / ".venv" / "third_party"
SECONDS = 100.0
POSE_AT_HOME = [0.0, 2.0 * (0.0 - REACH.tilt_min) / (REACH.tilt_max - REACH.tilt_min) - 1.0, 0.0]
"""In generic spaces: the middle of the pan range, where the horizon lies in the tilt range, no zoom."""
PROFILES = [["profile_0", False], ["profile_1", True]]
DEGREES = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/SphericalPositionSpaceDegrees"
GENERIC = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/PositionGenericSpace"


async def drive(package: str, script: str, asked: list[Any], directory: Path) -> dict[str, Any]:
    """Run a client and return what it found."""
    folder = FOLDERS / package
    if not folder.is_dir():
        pytest.skip(f"{package} is not installed: make install")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / script),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(output)
    return found


def onvif_access(server: Emulator) -> list[Any]:
    host, _, port = server.address.partition(":")
    return [host, int(port), USER, PASSWORD]


def near(wanted: list[float]) -> Any:
    return pytest.approx(wanted, abs=1e-3)


def check_moves(result: dict[str, Any]) -> None:
    """Check what both ONVIF clients do."""
    assert (result["model"], result["profiles"]) == ("PTZ", PROFILES)
    assert result["start"] == near(POSE_AT_HOME)
    assert result["absolute"] == near([0.5, -0.25, 0.5])
    assert result["relative"] == near([0.25, 0.25, 0.25])
    assert result["preset"][0] == "tower & <bridge>"
    assert result["preset"][1:] == near([0.25, 0.25, 0.25])
    assert result["at_preset"] == near([0.25, 0.25, 0.25])
    assert result["stopped"]
    assert result["home"] == near(POSE_AT_HOME)
    assert result["picture"] == ["JPEG", 64, 36]


async def test_sensecam_control_drives_the_axis_emulator(tmp_path: Path) -> None:
    async with emulator("axis") as server:
        asked = [server.address, USER, PASSWORD]
        result = await drive("sensecam-control", "vapix_client.py", asked, tmp_path)
    assert result["statuses"] == [204, 204, 204]
    assert result["absolute"] == pytest.approx([20.0, 5.0, 1000.0], abs=0.02)
    assert result["relative"] == pytest.approx([10.0, 7.0, 1500.0], abs=0.02)
    assert result["home"] == pytest.approx([0.0, 0.0, 1.0], abs=0.02)
    assert result["speed"] == 100
    assert result["picture"] == [200, "image/jpeg", "ffd8"]


async def test_onvif_zeep_async_drives_the_onvif_emulator(tmp_path: Path) -> None:
    async with emulator("onvif", login="token") as server:
        result = await drive("onvif-zeep-async", "zeep_client.py", onvif_access(server), tmp_path)
        assert server.tokens.seen["in"] > 20  # type: ignore[attr-defined]
    check_moves(result)
    assert result["spaces"] == [GENERIC, DEGREES]
    assert (result["node"], result["options"]) == (True, 2)
    # Ninety degrees of the half circle that 1 stands for, then half as many; tilt 0 both times, the zoom as it was.
    assert result["degrees"] == near([0.5, POSE_AT_HOME[1], 0.25])
    assert result["moved_degrees"] == near([0.25, POSE_AT_HOME[1], 0.25])
    assert result["fault"] == ["The requested preset token does not exist", ["InvalidArgVal", "NoToken"]]


@pytest.mark.parametrize("login", ["digest", "either"])
async def test_onveef_drives_the_onvif_emulator(login: Literal["digest", "either"], tmp_path: Path) -> None:
    async with emulator("onvif", login=login) as server:
        result = await drive("onveef", "onveef_client.py", onvif_access(server), tmp_path)
        logins = server.gate.seen if login == "digest" else server.tokens.seen  # type: ignore[attr-defined]
        assert logins["in"] > 10
    check_moves(result)
    assert result["range"] == {"uri": GENERIC, "x": {"min": -1.0, "max": 1.0}, "y": {"min": -1.0, "max": 1.0}}
