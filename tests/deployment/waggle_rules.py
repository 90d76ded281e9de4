"""What Waggle's registry (ECR) and edge scheduler accept, as their code has it; neither has a validator to install.

Registry: ``sage-ecr`` as of May 2023. Scheduler: ``edge-scheduler`` 0.28. Science rules: ``sciencerule-checker``, which
evaluates conditions as Python.
"""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass
from typing import Any

from croniter import croniter

APP_FIELDS = {
    "namespace", "name", "version", "description", "keywords", "authors", "collaborators", "homepage", "funding",
    "license", "source", "depends_on", "baseCommand", "arguments", "inputs", "resources", "metadata", "frozen",
    "testing",
}  # fmt: skip
SOURCE_FIELDS = {"architectures", "url", "branch", "tag", "git_commit", "directory", "dockerfile", "build_args"}
ARCHITECTURES = {"linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"}
INPUT_TYPES = {"boolean", "int", "long", "float", "double", "string", "File"}

JOB_FIELDS = {"name", "plugins", "nodeTags", "nodes", "scienceRules", "successCriteria", "email", "notificationOn"}
PLUGIN_FIELDS = {
    "image", "args", "privileged", "selector", "entrypoint", "env", "develop", "resource", "volume",
}  # fmt: skip
RESOURCES = {"request.cpu", "request.memory", "limit.cpu", "limit.memory", "limit.gpu"}
IMAGE = re.compile(r"registry\.sagecontinuum\.org/[a-z0-9]{4,30}/[a-z0-9_-]{2,255}:(\d+\.\d+\.\d+)")
"""The uploads' agent besides takes only directories whose tag looks like a version."""
SECRET = re.compile(r"^{secret\.([a-z0-9-]+).([a-zA-Z0-9]+)}$")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?")
RULE = re.compile(r"^(\w+)\((.*?)\):(.*?)$")
ACTIONS = {"schedule", "publish", "set"}
CONDITIONS = {"v", "avg", "time", "cronjob", "after", "rate"}
"""Functions that a condition may call, beside Python's own."""


class Refused(ValueError):
    """What the registry or the scheduler would say."""


def demand(holds: object, text: str) -> None:
    if not holds:
        raise Refused(text)


def check_app(app: dict[str, Any]) -> None:
    """Raise ``Refused`` unless the registry takes this app."""
    for name, kind in (("description", str), ("source", dict)):
        demand(isinstance(app.get(name), kind) and app[name], f"Required field {name} is missing")
    for name in app:
        demand(name in APP_FIELDS, f"Field {name} not supported")
    demand(re.fullmatch(r"[a-z0-9]{4,30}", app.get("namespace", "")), "namespace: 4 to 30 of a-z and 0-9")
    demand(re.fullmatch(r"[a-z0-9_-]{2,255}", app.get("name", "")), "name: 2 to 255 of a-z, 0-9, _ and -")
    for name in ("version", "keywords", "authors", "collaborators", "homepage", "funding", "license"):
        demand(isinstance(app.get(name, ""), str), f"{name} is no text")
    for given in app.get("inputs", []):
        demand({"id", "type"} <= given.keys() <= {"id", "type", "description", "default"}, f"input {given}")
        demand(given["type"] in INPUT_TYPES, f"Input type {given['type']} not supported")
    demand(isinstance(app.get("resources", []), list), "resources has to be an array")
    demand(isinstance(app.get("metadata", {}), dict), "metadata has to be an object")
    check_source(app["source"])


def check_source(source: dict[str, Any]) -> None:
    for name in source:
        demand(name in SOURCE_FIELDS, f"source: {name} is not stored")
    demand(source.get("url"), "url missing in source")
    demand(source.get("tag") or source.get("branch"), "Neither tag nor branch specified")
    demand(source.get("architectures"), "architectures missing in source")
    for name in source["architectures"]:
        demand(name in ARCHITECTURES, f"Architecture {name} not supported")
    arguments = source.get("build_args", {})
    demand(isinstance(arguments, dict), "build_args needs to be a dictionary")
    demand(all(isinstance(value, str) for value in arguments.values()), "build_args values have to be strings")


@dataclass(frozen=True)
class Rule:
    """A science rule: what to do with what, how, and when."""

    action: str
    subject: str
    parameters: dict[str, str]
    condition: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        found = RULE.match(text)
        demand(found, f"{text!r}: rule must consist of an action, target object, and corresponding condition")
        assert found is not None
        demand(found[1] in ACTIONS, f"{text!r}: unknown action type")
        subject, *parameters = found[2].split(",")
        pairs = [parameter.split("=") for parameter in parameters]
        demand(all(len(pair) == 2 for pair in pairs), f"{text!r}: failed to parse param")
        named = {name.strip(): value.strip(" \"'") for name, value in pairs}
        return cls(found[1], subject.strip(" \"'"), named, found[3].strip())

    def check_condition(self) -> None:
        """Raise ``Refused`` unless the condition is Python that calls what there is, with patterns that cron has."""
        try:
            tree = ast.parse(self.condition, mode="eval")
        except SyntaxError as error:
            raise Refused(f"{self.condition!r}: {error}") from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                demand(node.id in CONDITIONS or hasattr(builtins, node.id), f"{node.id} is not defined")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cronjob":
                demand(len(node.args) == 2 and not node.keywords, "cronjob takes a program and a pattern")
                pattern = ast.literal_eval(node.args[1])
                demand(croniter.is_valid(pattern), f"pattern {pattern} is not supported")
        readings = {name: lambda *_, **__: [1.0] for name in ("v", "rate")} | {
            "avg": lambda _: 1.0,
            "time": lambda _: 12,
        }
        decisions = {"cronjob": lambda *_: True, "after": lambda *_, **__: True}
        result = eval(compile(tree, "<rule>", "eval"), {}, readings | decisions)  # noqa: S307
        demand(isinstance(result, bool), "rule produced not True/False")


def check_job(job: dict[str, Any]) -> None:
    """Raise ``Refused`` unless the scheduler takes this job, and can make pods of it."""
    demand(job.keys() <= JOB_FIELDS, f"{sorted(job.keys() - JOB_FIELDS)} is not read")
    demand(job.get("nodes") or job.get("nodeTags"), "Node is not selected")
    names = [plugin["name"] for plugin in job.get("plugins", [])]
    demand(names and len(set(names)) == len(names), "plugin names must be unique")
    for plugin in job["plugins"]:
        demand(plugin.keys() == {"name", "pluginSpec"}, f"{sorted(plugin)} is not a plugin")
        demand(re.fullmatch(r"[a-z0-9-]{1,200}", plugin["name"]), f"plugin name {plugin['name']!r}")
        check_plugin(plugin["pluginSpec"])
    rules = [Rule.parse(text) for text in job.get("scienceRules", [])]
    for rule in rules:
        rule.check_condition()
        demand(rule.action != "schedule" or rule.subject in names, f"no plugin {rule.subject}")
    demand({rule.subject for rule in rules if rule.action == "schedule"} == set(names), "a plugin that no rule starts")


def check_plugin(spec: dict[str, Any]) -> None:
    demand(spec.keys() <= PLUGIN_FIELDS, f"{sorted(spec.keys() - PLUGIN_FIELDS)} is not read")
    demand(IMAGE.fullmatch(spec.get("image", "")), f"image {spec.get('image')!r}")
    for value in [*spec.get("args", []), *spec.get("env", {}).values(), *spec.get("selector", {}).values()]:
        demand(isinstance(value, str), f"{value!r} is no text")
    for value in spec.get("env", {}).values():
        demand(not value.startswith("{") or SECRET.match(value), f"{value!r} names no secret")
    for name, value in spec.get("resource", {}).items():
        demand(name in RESOURCES, f"{name} is taken for a device")
        demand(QUANTITY.fullmatch(str(value)), f"{value!r} is no quantity")
    volumes = spec.get("volume", {})
    demand(all(path.startswith("/") for pair in volumes.items() for path in pair), "volumes are absolute paths")
    demand(not volumes or spec.get("selector"), "volume mounting requires nodeSelector")
