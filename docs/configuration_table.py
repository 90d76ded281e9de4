"""Write the tables of docs/configuration.md from the settings classes, so that they cannot differ from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from camera_sampler.settings import SamplerSettings
from docs.generated import renew
from dreamer_agent.settings import AgentSettings, DreamSettings
from lock_broker.settings import BrokerSettings
from ptzjepa.node.settings import NodeSettings
from shared.settings import ENV_PREFIX, ServiceSettings
from world_model_trainer.settings import TrainerSettings

DOCUMENT = Path(__file__).with_name("configuration.md")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}

SERVICES: dict[str, type[ServiceSettings]] = {
    "lock-broker": BrokerSettings,
    "camera-sampler": SamplerSettings,
    "world-model-trainer": TrainerSettings,
    "dream-generator": DreamSettings,
    "rl-agent": AgentSettings,
    "node": NodeSettings,
}
"""Which class each container reads its environment with."""


def variables(settings: type[ServiceSettings]) -> set[str]:
    """Return every environment variable that a service reads, with the ``_FILE`` form of its secrets."""
    names = {variable(name) for name in settings.model_fields}
    return names | {f"{variable(name)}_FILE" for name, field in settings.model_fields.items() if is_secret(field)}


def variable(name: str) -> str:
    """Return the environment variable of a settings field."""
    return f"{ENV_PREFIX}{name}".upper()


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a field holds a secret, which a file may give as well."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def tables() -> str:
    """Return all tables as Markdown: first what every service reads, then what each reads besides or otherwise."""
    parts = ["## Every service\n\n", _table(ServiceSettings.model_fields)]
    for service, settings in SERVICES.items():
        own = {name: field for name, field in settings.model_fields.items() if _differs(name, field)}
        parts += [f"\n## {service}\n\n", _table(own) if own else "Nothing besides.\n"]
    return "".join(parts)


def current(text: str) -> str:
    """Return the document's text with its generated part renewed. ``ValueError`` when the markers are missing."""
    return renew(text, "the settings classes", tables())


def _differs(name: str, field: FieldInfo) -> bool:
    common = ServiceSettings.model_fields.get(name)
    return common is None or common.default != field.default or common.description != field.description


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = ["| variable | default | takes | meaning |\n", "| --- | --- | --- | --- |\n"]
    for name, field in fields.items():
        cells = (f"`{variable(name)}`", _default(field), _takes(field), _meaning(field))
        rows.append(f"| {' | '.join(cells)} |\n")
    return "".join(rows)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "found out"
    value = field.default
    if value is PydanticUndefined:
        return "**required**"
    return "" if value is None or value == "" else f"`{value}`"


def _takes(field: FieldInfo) -> str:
    if is_secret(field):
        return "a secret"
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    bounds = [
        f"{sign} {_plain(getattr(limit, attribute))}"
        for limit in field.metadata
        for attribute, sign in BOUNDS.items()
        if getattr(limit, attribute, None) is not None
    ]
    return ", ".join(f"`{choice}`" for choice in choices) or ", ".join(bounds)


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Renew the document in place."""
    DOCUMENT.write_text(current(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
