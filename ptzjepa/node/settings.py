"""The settings of a container that runs several services, ``PTZ_…`` in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ptzjepa.services import BROKER, REDIS, START_ORDER
from shared.settings import ServiceSettings

ALL = ",".join(START_ORDER)


class NodeSettings(ServiceSettings):
    """What runs here. The services read their own settings from the same environment."""

    node_services: str = Field(default=ALL, description="services that run in this container, with commas between them")
    redis_directory: Path = Field(
        default=Path("runs/node/redis"), description="where the Redis of this container keeps its data"
    )
    broker_port: int = Field(default=8700, ge=1, le=65535, description="port of the lock broker of this container")

    @model_validator(mode="after")
    def _services_fit(self) -> Self:
        unknown = [name for name in self.chosen if name not in START_ORDER]
        if unknown or not self.chosen:
            raise ValueError(f"takes some of {ALL}, not {unknown[0] if unknown else 'nothing'!r}")
        for service, field in ((REDIS, "redis_url"), (BROKER, "broker_url")):
            if service in self.chosen and field in self.model_fields_set:
                raise ValueError(
                    f"PTZ_NODE_SERVICES starts a {service} here and PTZ_{field.upper()} names another: leave one out"
                )
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The services that run here, each once, in the order in which they were named."""
        return tuple(dict.fromkeys(name.strip() for name in self.node_services.split(",") if name.strip()))
