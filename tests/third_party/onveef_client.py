"""Run as a process of its own: drives a camera by ``onveef``, its own transport and all."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

from onveef import OnvifClient
from PIL import Image

TOKEN = {"profile_token": "profile_1"}


def position(status: dict[str, Any]) -> list[float]:
    return [status["pan"], status["tilt"], status["zoom"]]


def arrived(camera: OnvifClient) -> list[float]:
    """Wait until the camera says that it stands still, and in the same place twice."""
    before: list[float] = []
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        status = camera.ptz_get_status(**TOKEN)
        if position(status) == before and status["move_status"] == {"pan_tilt": "IDLE", "zoom": "IDLE"}:
            return before
        before = position(status)
        time.sleep(0.02)
    raise TimeoutError("the camera does not come to rest")


def drive(host: str, port: int, user: str, password: str) -> dict[str, Any]:
    with OnvifClient(host, port, user, password) as camera:
        camera.connect()
        result: dict[str, Any] = {"model": camera.get_device_information()["Model"]}
        result["profiles"] = [[profile["token"], "ptz" in profile] for profile in camera.get_profiles()]
        [node] = camera.ptz_get_nodes()
        result["range"] = node["ranges"]["absolute_pan_tilt"]
        result["start"] = arrived(camera)
        camera.ptz_absolute_move(**TOKEN, pan=0.5, tilt=-0.25, zoom=0.5)
        result["absolute"] = arrived(camera)
        camera.ptz_relative_move(**TOKEN, pan=-0.25, tilt=0.5, zoom=-0.25)
        result["relative"] = arrived(camera)
        token = camera.ptz_set_preset(**TOKEN, preset_name="tower & <bridge>")
        camera.ptz_goto_home_position(**TOKEN)
        result["home"] = arrived(camera)
        [preset] = camera.ptz_get_presets(**TOKEN)
        result["preset"] = [preset["name"], *position(preset)]
        camera.ptz_goto_preset(**TOKEN, preset_token=token)
        result["at_preset"] = arrived(camera)
        camera.ptz_continuous_move(**TOKEN, pan=1.0, tilt=0.0, zoom=0.0, timeout="PT60S")
        camera.ptz_stop(**TOKEN)
        result["stopped"] = arrived(camera) == arrived(camera)
        data, _ = camera.get_snapshot(**TOKEN)
        picture = Image.open(io.BytesIO(data))
        picture.load()
        result["picture"] = [picture.format, *picture.size]
    return result


if __name__ == "__main__":
    print(json.dumps(drive(*json.loads(sys.stdin.read()))))
