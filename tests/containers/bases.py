"""Base images made of Debian packages, tagged with the official names: unmodified Dockerfiles build on them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.clean import unmount_under
from tests.containers.podman import Podman, PodmanFailed

SUITE = "bookworm"
MINBASE = f"localhost/debian-minbase:{SUITE}"
PYTHON = "docker.io/library/python:3.11-slim-bookworm"
REDIS = "docker.io/library/redis:7-bookworm"
PROMETHEUS = "docker.io/prom/prometheus:v3.5.0"

_INSTALL = (
    "RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends {packages}"
    " && apt-get clean && rm -rf /var/lib/apt/lists/*"
)
STAND_INS = {
    PYTHON: (
        "python3 python3-pip python3-venv",
        "RUN rm /usr/lib/python3.11/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python",
    ),
    # The official image has a user 999, who owns the volume. Its server was built without protected mode,
    # in which it would answer nobody but the container itself.
    REDIS: (
        "redis-server",
        "RUN groupmod --gid 999 redis && usermod --uid 999 --gid 999 redis && install -d -o 999 -g 999 /data",
        r"""RUN printf '#!/bin/sh\nexec /usr/bin/redis-server "$@" --protected-mode no\n' \
            > /usr/local/bin/redis-server && chmod 755 /usr/local/bin/redis-server""",
        'VOLUME ["/data"]',
        "WORKDIR /data",
    ),
    # The official image has busybox' wget, and its user is nobody.
    PROMETHEUS: (
        "prometheus wget",
        "RUN install -d -o 65534 -g 65534 /prometheus",
        "USER 65534:65534",
        'VOLUME ["/prometheus"]',
        'ENTRYPOINT ["/usr/bin/prometheus"]',
    ),
}


def make(podman: Podman, *names: str) -> None:
    """Make the base images that are not at hand yet."""
    if not podman.has_image(MINBASE):
        _bootstrap(podman)
    # What each was made by: one made otherwise is made again.
    file = podman.home / "recipes.json"
    made: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}
    for name in names:
        recipe = _containerfile(name)
        if made.get(name) != recipe or not podman.has_image(name):
            _build(podman, name, recipe)
            file.write_text(json.dumps({**made, name: recipe}))
            made[name] = recipe


def _bootstrap(podman: Podman) -> None:
    """Debian's smallest system as an image."""
    with _rootfs(podman.home) as root:
        command = ["debootstrap", "--variant=minbase", SUITE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise PodmanFailed(f"debootstrap ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        shutil.rmtree(root / "var" / "cache" / "apt" / "archives")
        archive = podman.home / "minbase.tar"
        subprocess.run(
            ["tar", "--create", "--one-file-system", "--file", archive, "--directory", root, "."],
            check=True,
            timeout=300,
        )
        podman("import", str(archive), MINBASE, seconds=300)
        archive.unlink()


@contextmanager
def _rootfs(home: Path) -> Iterator[Path]:
    """A directory for debootstrap, which mounts /proc in it and leaves that behind where it is interrupted."""
    root = Path(tempfile.mkdtemp(prefix="rootfs-", dir=home))
    try:
        yield root
    finally:
        unmount_under(root)
        shutil.rmtree(root)


def _containerfile(name: str) -> str:
    packages, *rest = STAND_INS[name]
    return "\n".join([f"FROM {MINBASE}", _INSTALL.format(packages=packages), *rest]) + "\n"


def _build(podman: Podman, name: str, text: str) -> None:
    with tempfile.TemporaryDirectory(dir=podman.home) as directory:
        file = Path(directory) / "Containerfile"
        file.write_text(text)
        podman.build(name, file, Path(directory))
