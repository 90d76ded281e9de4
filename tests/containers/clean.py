"""``python -m tests.containers.clean``: remove everything that running containers has left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from shared.errors import EXIT_OK
from tests.containers.podman import Podman
from tests.containers.requirements import home


def main() -> int:
    """Remove containers, then what is still mounted, then the directory."""
    place = home()
    if place.is_dir():
        Podman(place).remove_containers()
        unmount_under(place)
        shutil.rmtree(place)
    return EXIT_OK


def unmount_under(directory: Path) -> None:
    """Unmount whatever an interrupted run has left mounted under a directory: removal must not go through it."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=True, timeout=30)


if __name__ == "__main__":
    sys.exit(main())
