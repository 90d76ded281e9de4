"""The lock broker's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.settings import ServiceSettings


class BrokerSettings(ServiceSettings):
    """``PTZ_BROKER_…``. With ``PTZ_BROKER_TOKEN`` or a tokens file, requests under ``/v1`` have to bear a token."""

    broker_host: str = Field(default="127.0.0.1", description="where the REST API listens")
    broker_port: int = Field(default=8700, ge=0, le=65535, description="0 takes a free port")
    broker_versions: int = Field(default=1000, ge=1, le=100_000, description="versions remembered per model")
    broker_resources: int = Field(default=10_000, ge=1, le=100_000, description="resources that may ever be leased")

    broker_tokens_file: Path | None = Field(
        default=None, description="file of principals, roles and digests of their tokens; read again when it changes"
    )
    broker_rate: float = Field(
        default=500.0,
        ge=0.0,
        le=1e9,
        allow_inf_nan=False,
        description="requests a second of one principal; 0: no limit",
    )
    broker_burst: float = Field(
        default=2000.0, ge=1.0, le=1e9, allow_inf_nan=False, description="requests of one principal at once"
    )
    broker_connections: int = Field(default=1024, ge=8, le=65536, description="connections open at a time")
    broker_slow_seconds: float = Field(
        default=10.0, gt=0.0, le=300.0, description="time for a request's head to arrive, and for its body, seconds"
    )
    broker_certificate_file: Path | None = Field(default=None, description="certificate chain: the broker speaks TLS")
    broker_key_file: Path | None = Field(default=None, description="its key, where it is a file of its own")
    broker_client_ca_file: Path | None = Field(
        default=None, description="clients have to show a certificate that one of these has signed"
    )
