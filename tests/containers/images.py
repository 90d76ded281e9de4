"""The project's own images, built from its own Dockerfiles as they stand.

``python -m tests.containers.images`` prints how large they are, unpacked and without the base that they share.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shared.errors import EXIT_OK
from tests.containers import bases
from tests.containers.podman import Podman
from tests.containers.requirements import home
from tests.deployment.manifests import CONTAINERS, ROOT, VERSION

NAMES = (*CONTAINERS, "node")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def tag(name: str) -> str:
    """Return what an image is called in docker-compose.yml."""
    return f"docker.io/ptzjepa/{name}:{VERSION}"


def build(podman: Podman, name: str) -> None:
    """Build one of our images, with what pip is told on this machine."""
    folders = [Path(found) for found in pip_setting("find-links").split() if Path(found).is_dir()]
    certificates = [CERTIFICATES] if CERTIFICATES.is_file() else []
    arguments = {
        "PIP_CERT": str(CERTIFICATES) if certificates else "",
        "PIP_FIND_LINKS": " ".join(map(str, folders)),
        "PIP_EXTRA_INDEX_URL": " ".join(
            found for found in pip_setting("extra-index-url").split() if not found.startswith("file:")
        ),
    }
    dockerfile = ROOT / "services" / name / "Dockerfile"
    podman.build(tag(name), dockerfile, ROOT, arguments, mounts=[*folders, *certificates])


def pip_setting(name: str) -> str:
    """Return one of pip's settings on this machine, wherever it comes from; empty where there is none."""
    command = [sys.executable, "-m", "pip", "config", "get"]
    for place in ("global", ":env:."):
        key = f"{place}{name}" if place.startswith(":") else f"{place}.{name}"
        done = subprocess.run([*command, key], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    return ""


def added_bytes(podman: Podman, name: str) -> int:
    """Return how large an image is unpacked, without the base that it shares with others."""
    return _size(podman, tag(name)) - _size(podman, bases.PYTHON)


def main() -> int:
    """Print a table of the images that are at hand."""
    podman = Podman(home())
    for name in NAMES:
        size = f"{added_bytes(podman, name) / 1e6:6.0f} MB" if podman.has_image(tag(name)) else "not built"
        print(f"{name:20} {size}")
    return EXIT_OK


def _size(podman: Podman, image: str) -> int:
    [found] = json.loads(podman("image", "inspect", image))
    return int(found["Size"])


if __name__ == "__main__":
    sys.exit(main())
