"""Dockerfiles: each builds one service, out of files that exist, into an image that runs without rights."""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptzjepa.services import COMMANDS
from tests.deployment.manifests import CONTAINERS, IMAGES, PROJECT, ROOT, Dockerfile, compose

PACKAGES = {"lock_broker", "camera_sampler", "world_model_trainer", "dreamer_agent", "ptzjepa", "benchmarks"}
OPTIONAL = {
    "camera-sampler": ("rtsp", "parquet"),
    "dream-generator": ("rtsp",),
    "rl-agent": ("rtsp",),
    "node": ("rtsp", "parquet", "laptop"),
}
"""Extras that a service asks for in one line where they are missing; the node's command line draws no reports."""
WITH_TORCH = ("world-model-trainer", "dream-generator", "rl-agent")
TORCH_IN_SHARED = ROOT / "shared" / "world_model"
PILLOW_IN_SHARED = ROOT / "shared" / "pictures.py"
"""Whoever imports it opens pictures, and names Pillow on account of those; the broker does not."""


def imports(folder: Path) -> Iterator[str]:
    """The top-level names that a package imports from elsewhere."""
    for path in folder.rglob("*.py"):
        if (TORCH_IN_SHARED in path.parents and folder != TORCH_IN_SHARED) or path == PILLOW_IN_SHARED:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]


def normal(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")


def required(extras: str) -> set[str]:
    """The distributions that extras (with commas between them) name, themselves or through another extra of ours."""
    found: set[str] = set()
    for extra in extras.split(","):
        for requirement in PROJECT["optional-dependencies"][extra]:
            own = re.fullmatch(r"ptzjepa\[([\w,]+)\]", requirement)
            found |= required(own[1]) if own else {normal(requirement)}
    return found


def test_every_service_folder_is_an_image() -> None:
    assert {path.parent.name for path in (ROOT / "services").glob("*/Dockerfile")} == set(IMAGES)


@pytest.mark.parametrize("container", CONTAINERS)
def test_image_starts_its_own_module_and_holds_no_other_service(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    python, flag, package, *_ = dockerfile.entrypoint
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(f"{package}.__main__") is not None
    assert PACKAGES & set(dockerfile.copied) == {package}


def test_the_node_holds_every_service_and_what_starts_them() -> None:
    dockerfile = Dockerfile.of("node")
    assert dockerfile.entrypoint == ["python", "-m", "ptzjepa.node"]
    assert importlib.util.find_spec("ptzjepa.node.__main__") is not None
    assert PACKAGES & set(dockerfile.copied) == PACKAGES - {"benchmarks"}
    services = {Dockerfile.of(name).entrypoint[2] for name in CONTAINERS}
    assert services == {command[0] for command in COMMANDS.values()}


@pytest.mark.parametrize("container", IMAGES)
def test_image_is_built_from_what_the_context_holds(container: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in Dockerfile.of(container).copied:
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed)


@pytest.mark.parametrize("container", IMAGES)
def test_image_installs_extras_that_exist(container: str) -> None:
    extras = PROJECT["optional-dependencies"].keys()
    assert set(Dockerfile.of(container).extras.split(",")) | set(OPTIONAL.get(container, ())) <= extras


@pytest.mark.parametrize("container", WITH_TORCH)
def test_image_can_be_built_for_other_model_stores(container: str) -> None:
    arguments = compose()["services"][container]["build"]["args"]
    assert arguments["EXTRAS"] == f"{Dockerfile.of(container).extras}${{STORE_EXTRAS:-}}"
    assert {"s3", "sftp"} <= PROJECT["optional-dependencies"].keys()


def test_torch_is_the_cpu_s_unless_told_otherwise() -> None:
    [pinned] = [each for each in PROJECT["optional-dependencies"]["torch"] if each.startswith("torch==")]
    for container in (*WITH_TORCH, "node"):
        dockerfile = Dockerfile.of(container)
        assert dockerfile.argument["TORCH"] == f"{pinned.removeprefix('torch==')}+cpu"
        first, *others = [run for run in dockerfile.all("RUN") if " install " in run and "pip" in run]
        assert '"torch==${TORCH}"' in first, "before whatever else could bring another build along"
        assert others


def test_images_with_torch_share_it() -> None:
    """The same instructions in the same order: what is built once is stored once, and fetched once."""
    first, *others = (Dockerfile.of(container) for container in WITH_TORCH)
    for other in others:
        assert other.stages["dependencies"] == first.stages["dependencies"]
        common = 2 + [name for name, _ in first.stages[""]].index("RUN")
        assert first.stages[""][common - 1] == ("COPY", "--from=dependencies /opt/venv /opt/venv")
        assert other.stages[""][:common] == first.stages[""][:common]
    torch = first.stages["dependencies"].index(("RUN", first.all("RUN")[1])) + 1
    assert Dockerfile.of("node").stages["dependencies"][:torch] == first.stages["dependencies"][:torch]


@pytest.mark.parametrize("container", IMAGES)
def test_image_says_what_it_is(container: str) -> None:
    labels = Dockerfile.of(container).last("LABEL")
    for name in ("title", "description", "version", "revision", "source", "licenses"):
        assert re.search(rf'org\.opencontainers\.image\.{name}="[^"]+"', labels), name
    assert f'title="ptzjepa/{container}"' in labels
    assert f'source="{PROJECT["urls"]["Homepage"]}"' in labels


@pytest.mark.parametrize("container", IMAGES)
def test_image_takes_its_base_from_whoever_builds_it(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    assert dockerfile.lines[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert {rest.split(" AS ")[0] for rest in dockerfile.all("FROM")} == {"${BASE_IMAGE}", "dependencies"}


@pytest.mark.parametrize("container", IMAGES)
def test_image_runs_as_nobody_in_particular(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    assert dockerfile.last("USER").replace("${RUN_AS}", dockerfile.argument.get("RUN_AS", "")) == "10001:10001"
    # The broker's port may speak TLS: its own probe knows.
    asked = '"lock_broker.probe", "/healthz"' if container == "lock-broker" else f":{dockerfile.port}/healthz"
    assert asked in dockerfile.last("HEALTHCHECK")
    assert f"VERSION={PROJECT['version']}" in dockerfile.all("ARG")
    # The entry point runs as PID 1's direct child and gets its signals; a shell in between would swallow them.
    assert isinstance(dockerfile.entrypoint, list)


@pytest.mark.parametrize("container", IMAGES)
def test_image_installs_what_its_code_imports(container: str) -> None:
    extras = Dockerfile.of(container).extras
    installed = required(extras) | {normal(requirement) for requirement in PROJECT["dependencies"]}
    installed |= {name for optional in OPTIONAL.get(container, ()) for name in required(optional)}
    if "fastapi" in installed:
        installed.add("starlette")  # FastAPI is Starlette with types, and says so
    if "jinja2" in installed:
        installed.add("markupsafe")  # and Jinja2 hands out its strings
    folders = [ROOT / folder for folder in Dockerfile.of(container).copied if (ROOT / folder).is_dir()]
    if "torch" in installed:
        folders.append(TORCH_IN_SHARED)
    named = {name for folder in folders for name in imports(folder)} - PACKAGES - {"shared"} - sys.stdlib_module_names
    # What only other model stores than a directory need is imported late, and named to the user where it is missing.
    named -= required("s3") | required("sftp")
    providers = importlib.metadata.packages_distributions()
    missing = {name for name in named if not {normal(found) for found in providers[name]} & installed}
    assert not missing, f"{container} imports what {extras!r} does not name"
