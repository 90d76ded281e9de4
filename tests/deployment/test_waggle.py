"""Apps and jobs for Waggle: what registry and scheduler would refuse is found here, without asking them."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from docs import configuration_table as table
from tests.deployment.manifests import CONTAINERS, ROOT, compose
from tests.deployment.test_manifests import VERSION
from tests.deployment.waggle_rules import IMAGE, SECRET, Refused, Rule, check_app, check_job

SERVICES = ROOT / "services"
APPS = sorted(path.parent.name for path in SERVICES.glob("*/sage.yaml"))
JOBS = sorted(path.name for path in (ROOT / "waggle" / "jobs").glob("*.yaml"))
SECTIONS = ("Science", "AI@Edge", "Using the code", "Arguments", "Ontology", "Inference from Sage codes", "References")
DOCUMENT = (ROOT / "docs" / "waggle.md").read_text(encoding="utf-8")


def app(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((SERVICES / name / "sage.yaml").read_text(encoding="utf-8"))
    return loaded


def job(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "waggle" / "jobs" / name).read_text(encoding="utf-8"))
    return loaded


def specs() -> list[Any]:
    return [
        pytest.param(plugin["pluginSpec"], id=f"{name}:{plugin['name']}")
        for name in JOBS
        for plugin in job(name)["plugins"]
    ]


def test_every_service_is_an_app_and_so_is_the_node() -> None:
    assert set(APPS) == {*CONTAINERS, "node"}


@pytest.mark.parametrize("name", APPS)
def test_registry_takes_the_app(name: str) -> None:
    described = app(name)
    check_app(described)
    assert described["name"] == name
    assert described["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", described["version"]), "uploads of other versions are left lying"
    assert {"linux/amd64", "linux/arm64"} == set(described["source"]["architectures"])
    if name in CONTAINERS:
        assert compose()["services"][name]["image"] == f"{described['namespace']}/{name}:{VERSION}"


@pytest.mark.parametrize("name", APPS)
def test_registry_builds_what_there_is(name: str) -> None:
    """The context is ``directory``; build arguments are stored, and then not handed to the builder."""
    source = app(name)["source"]
    assert source["directory"] == "."
    assert "build_args" not in source
    dockerfile = ROOT / source["directory"] / source["dockerfile"]
    assert dockerfile.is_file()
    assert dockerfile == SERVICES / name / "Dockerfile"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda app: app.pop("description"), "description"),
        (lambda app: app.update(colour="red"), "colour not supported"),
        (lambda app: app.update(namespace="waggle-sensor"), "namespace"),
        (lambda app: app.update(name="Node"), "name"),
        (lambda app: app.update(version=0.1), "version"),
        (lambda app: app["source"].pop("branch"), "Neither tag nor branch"),
        (lambda app: app["source"].update(architectures=["arm64"]), "Architecture arm64"),
        (lambda app: app["source"].update(build_args={"N": 1}), "strings"),
        (lambda app: app.update(inputs=[{"id": "role"}]), "input"),
        (lambda app: app.update(inputs=[{"id": "role", "type": "str"}]), "Input type str"),
    ],
)
def test_what_the_registry_refuses_is_found(change: Callable[[dict[str, Any]], object], says: str) -> None:
    described = copy.deepcopy(app("node"))
    change(described)
    with pytest.raises(Refused, match=says):
        check_app(described)


@pytest.mark.parametrize("name", APPS)
def test_registry_shows_what_it_expects(name: str) -> None:
    folder = SERVICES / name / "ecr-meta"
    for file, fits in (
        ("ecr-icon.jpg", lambda size: size == (512, 512)),
        ("ecr-science-image.jpg", lambda size: size[0] >= 1920 and size[1] >= 1080),
    ):
        with Image.open(folder / file) as image:
            assert image.format == "JPEG"
            assert fits(image.size)
            image.load()
        assert (folder / file).stat().st_size < 150_000, "they are in everybody's checkout"
    text = (folder / "ecr-science-description.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == list(SECTIONS)


def test_pictures_are_drawn_for_every_app() -> None:
    spec = importlib.util.spec_from_file_location("draw_pictures", SERVICES / "draw_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.APPS) == set(APPS)
    assert module.icon("node", {"rl-agent"}).size == module.ICON
    assert module.picture("A line", {"rl-agent"}).size == module.PICTURE


def test_a_branch_for_the_registry_has_the_apps_own_page_and_defaults(tmp_path: Path) -> None:
    """The commands of docs/waggle.md, in a checkout of services/ alone."""
    [commands] = re.findall(r"```\n(app=.*?)```", DOCUMENT, flags=re.DOTALL)
    subprocess.run(["cp", "-r", SERVICES, tmp_path], check=True)
    run = "set -eu\n" + re.sub(r"^git push.*\n", "", commands, flags=re.MULTILINE)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for line in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *line], cwd=tmp_path, check=True)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "t", f"GIT_{role}_EMAIL": "t@example.org"}
    subprocess.run(["bash", "-c", run], cwd=tmp_path, env=environment, check=True, timeout=30)
    head = subprocess.run(["git", "branch", "--show-current"], cwd=tmp_path, check=True, capture_output=True, text=True)
    [name] = re.findall(r"^app=(\S+)", commands, flags=re.MULTILINE)
    assert head.stdout.strip() == app(name)["source"]["branch"] == f"waggle-{name}"
    for file in (SERVICES / name / "ecr-meta").iterdir():
        assert (tmp_path / "ecr-meta" / file.name).read_bytes() == file.read_bytes()
    changed = subprocess.run(["git", "status", "--short"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert not changed.stdout, "all of it is committed"
    dockerfile = (tmp_path / "services" / name / "Dockerfile").read_text()
    assert "ARG PIP_EXTRA_INDEX_URL=…\n" in dockerfile
    assert re.search(r"^ARG EXTRAS=\w+,sftp$", dockerfile, flags=re.MULTILINE)


@pytest.mark.parametrize("name", JOBS)
def test_scheduler_takes_the_job(name: str) -> None:
    check_job(job(name))
    assert job(name)["name"] == f"ptzjepa-{Path(name).stem}"
    assert name in DOCUMENT


@pytest.mark.parametrize("spec", specs())
def test_plugin_is_one_of_our_apps_with_settings_that_it_reads(spec: dict[str, Any]) -> None:
    namespace, _, image = spec["image"].removeprefix("registry.sagecontinuum.org/").partition("/")
    name, _, version = image.partition(":")
    assert (namespace, version) == (app(name)["namespace"], app(name)["version"])
    if name == "node":
        known = set().union(*(table.variables(settings) for settings in table.SERVICES.values()))
    else:
        known = table.variables(table.SERVICES[name])
    assert set(spec["env"]) <= known
    assert {"request.cpu", "request.memory", "limit.memory"} <= spec["resource"].keys(), "a node's defaults are small"
    if "PTZ_REDIS_URL" in spec["env"]:
        assert spec["env"]["PTZ_REDIS_USER"] == name, "the user that may do what this service does"


@pytest.mark.parametrize("spec", specs())
def test_services_take_the_values_of_a_plugin(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    [name] = re.findall(r"/([\w-]+):", spec["image"])
    for variable, value in spec["env"].items():
        monkeypatch.setenv(variable, "not-a-real-secret" if SECRET.match(value) else value)
    for settings in table.SERVICES.values() if name == "node" else (table.SERVICES[name],):
        settings.from_environment()


@pytest.mark.parametrize("spec", specs())
def test_nothing_secret_stands_in_a_job(spec: dict[str, Any]) -> None:
    for variable, value in spec["env"].items():
        if re.search("PASSWORD|TOKEN|SECRET_KEY|ACCESS_KEY|PRIVATE_KEY", variable):
            found = SECRET.match(value)
            assert found, variable
            assert f"create secret generic {found[1]} " in DOCUMENT
            assert f"--from-file={found[2]}=" in DOCUMENT
    assert "@" not in spec["env"].get("PTZ_CAMERA_URL", ""), "a user in an address ends up in logs"


@pytest.mark.parametrize("spec", specs())
def test_a_plugin_asks_only_for_addresses_that_a_node_lets_it_reach(spec: dict[str, Any]) -> None:
    """Plugins reach the node's local network but for the node's own computers, .0 to .9, and no further."""
    for variable, value in spec["env"].items():
        for host in re.findall(r"://(?:\w+@)?([\d.]+)", value):
            network, _, last = host.rpartition(".")
            assert network == "10.31.81", variable
            assert int(last) > 9, variable


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda job: job.pop("nodes"), "Node is not selected"),
        (lambda job: job["plugins"].append(job["plugins"][0]), "unique"),
        (lambda job: job["plugins"][0].update(name="PTZ"), "plugin name"),
        (lambda job: job["plugins"][0]["pluginSpec"].update(image="ptzjepa/node:latest"), "image"),
        (lambda job: job["plugins"][0]["pluginSpec"]["env"].update(A="{secret.ptz_cam.password}"), "secret"),
        (lambda job: job["plugins"][0]["pluginSpec"]["env"].update(A="{secret.cam.pass_word}"), "secret"),
        (lambda job: job["plugins"][0]["pluginSpec"]["env"].update(A=1), "no text"),
        (lambda job: job["plugins"][0]["pluginSpec"]["resource"].update(memory="1Gi"), "device"),
        (lambda job: job["plugins"][0]["pluginSpec"]["resource"].update({"limit.memory": "6GB"}), "quantity"),
        (lambda job: job["plugins"][0]["pluginSpec"].pop("selector"), "nodeSelector"),
        (lambda job: job["plugins"][0]["pluginSpec"].update(volumes={}), "not read"),
        (lambda job: job.update(scienceRules=["schedule(other): True"]), "no plugin other"),
        (lambda job: job.update(scienceRules=[]), "no rule starts"),
    ],
)
def test_what_the_scheduler_refuses_is_found(change: Callable[[dict[str, Any]], object], says: str) -> None:
    described = copy.deepcopy(job("node.yaml"))
    change(described)
    with pytest.raises(Refused, match=says):
        check_job(described)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("schedule(plugin-b): True", Rule("schedule", "plugin-b", {}, "True")),
        ('schedule("plugin-b", duration=5m): True', Rule("schedule", "plugin-b", {"duration": "5m"}, "True")),
        ("publish(env.event, to='cloud'): v('a') == 1", Rule("publish", "env.event", {"to": "cloud"}, "v('a') == 1")),
        ("set(sys.sunrise, value=06:39:00): True", Rule("set", "sys.sunrise", {"value": "06:39:00"}, "True")),
    ],
)
def test_science_rules_are_read_as_the_scheduler_reads_them(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize(
    "text", ["schedule(plugin-a: True", "schedul(a): True", "a: cronjob('a', '* * * * *')", "schedule(a, 5m): True"]
)
def test_rules_that_the_scheduler_cannot_read_are_found(text: str) -> None:
    with pytest.raises(Refused):
        Rule.parse(text)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("True and", "syntax"),
        ("sunrise()", "sunrise is not defined"),
        ("cronjob('a', 'every day')", "pattern"),
        ("cronjob('a')", "takes"),
        ("time('hour')", "True/False"),
    ],
)
def test_conditions_that_cannot_be_evaluated_are_found(condition: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        Rule("schedule", "a", {}, condition).check_condition()


def test_rules_in_the_document_are_rules() -> None:
    rules = re.findall(r"`(schedule\(.*?\): .*?)`", DOCUMENT)
    assert len(rules) >= 3
    for text in rules:
        Rule.parse(text).check_condition()


def test_images_of_the_document_are_the_registrys() -> None:
    assert all(IMAGE.fullmatch(found) for found in re.findall(r"registry\.sagecontinuum\.org/\S+:[\d.]+\d", DOCUMENT))
