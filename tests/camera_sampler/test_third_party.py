"""A client that others wrote for real Axis cameras drives the emulated one."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.camera_sampler import vapix_client
from tests.camera_sampler.emulating import PASSWORD, USER, emulator


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("sensecam_control", "bs4", "requests")),
    reason="needs sensecam-control and beautifulsoup4",
)
async def test_sensecam_control_drives_the_axis_emulator(tmp_path: Path) -> None:
    async with emulator("axis") as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            vapix_client.__file__,
            cwd=tmp_path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(
            process.communicate(json.dumps([server.address, USER, PASSWORD]).encode()), 60.0
        )
        result = json.loads(output)
    assert result["statuses"] == [204, 204, 204]
    assert result["absolute"] == pytest.approx([20.0, 5.0, 1000.0], abs=0.02)
    assert result["relative"] == pytest.approx([10.0, 7.0, 1500.0], abs=0.02)
    assert result["home"] == pytest.approx([0.0, 0.0, 1.0], abs=0.02)
    assert result["speed"] == 100
    assert result["picture"] == [200, "image/jpeg", "ffd8"]
