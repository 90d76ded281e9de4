"""Run as a process of its own: drives a camera by the client that ``sensecam-control`` has for VAPIX.

The client's module is loaded from its file: its package imports an ONVIF library that this does not need, and importing
the module begins a log file in the working directory.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import requests
from requests.auth import HTTPDigestAuth


def main() -> None:
    package = importlib.util.find_spec("sensecam_control")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "vapix_control.py"
    spec = importlib.util.spec_from_file_location("vapix_control", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    address, user, password = json.loads(sys.stdin.read())
    camera = module.CameraControl(address, user, password)
    statuses = [camera.absolute_move(pan=20.0, tilt=5.0, zoom=1000, speed=100).status_code]
    time.sleep(0.5)
    absolute = camera.get_ptz()
    statuses.append(camera.relative_move(pan=-10.0, tilt=2.0, zoom=500).status_code)
    time.sleep(0.5)
    relative = camera.get_ptz()
    speed = camera.get_speed()
    statuses.append(camera.go_home_position().status_code)
    time.sleep(0.5)
    home = camera.get_ptz()
    snapshot = requests.get(
        f"http://{address}/axis-cgi/jpg/image.cgi", auth=HTTPDigestAuth(user, password), timeout=5.0
    )
    picture = [snapshot.status_code, snapshot.headers["content-type"], snapshot.content[:2].hex()]
    result = {"absolute": absolute, "relative": relative, "home": home, "speed": speed}
    print(json.dumps(result | {"statuses": statuses, "picture": picture}))


if __name__ == "__main__":
    main()
