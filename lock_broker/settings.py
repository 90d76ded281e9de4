"""The lock broker's settings."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class BrokerSettings(ServiceSettings):
    """``PTZ_BROKER_…``. With ``PTZ_BROKER_TOKEN`` set, every request under ``/v1`` has to bear it."""

    broker_host: str = Field(default="127.0.0.1", description="where the REST API listens")
    broker_port: int = Field(default=8700, ge=0, le=65535, description="0 takes a free port")
    broker_versions: int = Field(default=1000, ge=1, le=100_000, description="versions remembered per model")
    broker_resources: int = Field(default=10_000, ge=1, le=100_000, description="resources that may ever be leased")
