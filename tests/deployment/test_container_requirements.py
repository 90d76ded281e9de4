"""Where containers can't be run, that is said in one line, and with exit code 2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.containers import requirements
from tests.containers.bases import STAND_INS
from tests.containers.clean import unmount_under
from tests.deployment.manifests import Dockerfile, compose


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine that has everything; tests take one thing away."""
    program = tmp_path / "docker-compose"
    program.touch()
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(requirements, "COMPOSE", program)
    return monkeypatch


def test_a_machine_with_everything_is_fit(fit: pytest.MonkeyPatch) -> None:
    assert requirements.main() == 0


def test_without_root(fit: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fit.setattr(requirements.os, "geteuid", lambda: 1000)
    assert requirements.main() == 2
    assert "CONTAINERS ARE NOT TESTED ON THIS MACHINE: needs root" in capsys.readouterr().err


def test_without_compose(fit: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit.setattr(requirements, "COMPOSE", tmp_path / "nowhere")
    assert requirements.main() == 2
    assert "run make install" in capsys.readouterr().err


def test_without_podman_and_apt(fit: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fit.setattr(requirements.shutil, "which", lambda name: None if name in ("podman", "apt-get") else name)
    assert requirements.main() == 2
    assert "needs podman, and there is no apt-get" in capsys.readouterr().err


def test_packages_that_cannot_be_had(fit: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 100, "", "E: Unable to locate package podman\n")

    fit.setattr(requirements.shutil, "which", lambda name: None if name == "podman" else name)
    fit.setattr(requirements.subprocess, "run", refused)
    assert requirements.main() == 2
    assert "cannot install podman: E: Unable to locate package podman" in capsys.readouterr().err


def test_every_image_that_compose_names_has_a_stand_in_but_grafana() -> None:
    named = {described["image"] for described in compose()["services"].values() if "build" not in described}
    bases = {Dockerfile.of("node").argument["BASE_IMAGE"]}
    stand_ins = {name.removeprefix("docker.io/").removeprefix("library/") for name in STAND_INS}
    assert {name for name in named | bases if not name.startswith("grafana/")} == stand_ins


def test_nothing_is_unmounted_that_lies_elsewhere(tmp_path: Path) -> None:
    before = Path("/proc/mounts").read_text()
    unmount_under(tmp_path)
    assert Path("/proc/mounts").read_text() == before
