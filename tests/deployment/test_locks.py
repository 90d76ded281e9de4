"""Lock files agree with pyproject.toml, are whole, and bind every file; nobody is asked for it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
from dataclasses import dataclass
from types import ModuleType

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deployment.manifests import CONTAINERS, ROOT, Dockerfile

FOLDER = ROOT / "requirements"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", FOLDER / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = script()
PYTHONS = ("3.11.9", "3.12.5", "3.13.1")


@dataclass(frozen=True)
class Locked:
    requirement: Requirement
    hashes: tuple[str, ...]


def locked(name: str) -> list[Locked]:
    text = (FOLDER / f"{name}.lock").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    found = []
    for entry in entries:
        head, *hashes = (part.strip() for part in entry.replace("\\\n", "\n").strip().split("\n"))
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), entry
        found.append(Locked(Requirement(head), tuple(hashes)))
    return found


def versions(name: str, environment: dict[str, str]) -> dict[str, str]:
    """What is installed in an environment: one version of each package."""
    found: dict[str, str] = {}
    for each in (entry.requirement for entry in locked(name)):
        if each.marker is None or each.marker.evaluate(environment):
            assert canonicalize_name(each.name) not in found, f"two versions of {each.name}"
            [pin] = each.specifier
            assert pin.operator == "=="
            found[canonicalize_name(each.name)] = pin.version
    return found


def environment(python: str, machine: str = "x86_64") -> dict[str, str]:
    return {
        **default_environment(),
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "platform_machine": machine,
        "extra": "",
    }


@pytest.mark.parametrize("name", LOCK.locks())
def test_every_file_is_bound_and_no_registry_named(name: str) -> None:
    text = (FOLDER / f"{name}.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    assert all(entry.hashes for entry in locked(name))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCK.locks())
def test_lock_has_what_the_project_asks_for(name: str, python: str) -> None:
    here = environment(python)
    pinned = versions(name, here)
    for text in LOCK.requirements(name):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(here):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{text} is missing; run `make lock`"
            assert requirement.specifier.contains(version, prereleases=True), f"{text}, not {version}; run `make lock`"
    assert "torch" not in pinned


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", LOCK.locks())
def test_lock_is_whole(name: str, machine: str) -> None:
    """What the locked packages need themselves is locked, too, as far as they are installed here in that version."""
    here = environment(platform.python_version(), machine)
    pinned = versions(name, here)
    compared = 0
    for package, version in pinned.items():
        try:
            installed = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version != version:
            continue
        compared += 1
        for requirement in map(Requirement, installed.requires or []):
            if requirement.marker is None or requirement.marker.evaluate(here):
                needed = pinned.get(canonicalize_name(requirement.name))
                assert needed is not None, f"{package} needs {requirement}"
                assert requirement.specifier.contains(needed, prereleases=True), f"{package} needs {requirement}"
    assert compared > 5 or len(pinned) < 5


@pytest.mark.parametrize("container", [*CONTAINERS, "node"])
def test_images_install_by_their_locks_and_nothing_besides(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    assert dockerfile.extras in LOCK.locks()
    assert f"requirements/{dockerfile.extras}.lock" in dockerfile.copied
    installs = [
        part for run in dockerfile.all("RUN") for part in run.split("&&") if "pip" in part and " install " in part
    ]
    of_torch = [each for each in installs if each.endswith('"torch==${TORCH}"')]
    assert len(of_torch) == ("TORCH" in dockerfile.argument)
    locked, own = (each.strip() for each in installs if each not in of_torch)
    assert locked.endswith(" install --require-hashes --no-deps --requirement /tmp/requirements.lock")
    assert own == "python -m pip install --no-deps --target /opt/ptzjepa ."


@pytest.mark.parametrize("store", ["s3", "sftp"])
@pytest.mark.parametrize("container", ["world-model-trainer", "node"])
def test_there_is_a_lock_for_every_model_store(container: str, store: str) -> None:
    assert f"{Dockerfile.of(container).extras},{store}" in LOCK.locks()


def test_a_lock_that_lags_behind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOCK, "requirements", lambda _: ["redis>=99"])
    with pytest.raises(AssertionError, match="make lock"):
        test_lock_has_what_the_project_asks_for("broker", PYTHONS[0])
