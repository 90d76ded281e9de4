"""Settings: the environment first (``PTZ_…``), secrets from files, defaults that work on a laptop.

A secret ``PTZ_X`` may be given as ``PTZ_X_FILE`` (a file's path), or as the file
``/run/secrets/ptz_x``; never on a command line.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from shared.errors import UserError
from shared.messages import Name

ENV_PREFIX = "PTZ_"
SECRETS_DIR = Path("/run/secrets")

S = TypeVar("S", bound="ServiceSettings")


class SecretFileSource(PydanticBaseSettingsSource):
    """Read ``PTZ_FIELD_FILE`` or ``/run/secrets/ptz_field`` for every field that is a secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret's text, or ``None`` where no file holds it."""
        if SecretStr not in _types_of(field):
            return None, field_name, False
        variable = f"{ENV_PREFIX}{field_name}_FILE".upper()
        named = os.environ.get(variable)
        path = Path(named) if named else SECRETS_DIR / f"{ENV_PREFIX}{field_name}".lower()
        if not named and not path.is_file():
            return None, field_name, False
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"{variable}: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise UserError(f"{variable}: {path} is not a text file") from None
        if not secret:
            raise UserError(f"{variable}: {path} is empty; remove it or put the secret into it")
        return secret, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return every secret that a file holds."""
        values = (
            (name, self.get_field_value(field, name)[0]) for name, field in self.settings_cls.model_fields.items()
        )
        return {name: value for name, value in values if value is not None}


def _types_of(field: FieldInfo) -> tuple[Any, ...]:
    annotation = field.annotation
    return getattr(annotation, "__args__", (annotation,))


def _default_node() -> str:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in socket.gethostname().lower())[:63]
    return name.strip("._-") or "node"


class ServiceSettings(BaseSettings):
    """What every service needs to know. A service's own settings extend this class."""

    # Compose files pass unset variables on as empty ones: empty means not set.
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    node: Name = Field(default_factory=_default_node, description="name of this machine")
    camera: Name = Field(default="camera-0", description="name of the camera that this service works for")
    world_model: Name = Field(default="wm_00_00", description="world model to train and to dream from")
    agent: Name = Field(default="ag_00_00", description="agent to train and to steer with")
    seed: int = Field(default=0, ge=0, description="seed of every random choice")

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="redis://, rediss:// or unix:// URL")
    redis_user: str | None = Field(default=None, description="user of that Redis; without one its default user")
    redis_password: SecretStr | None = Field(default=None, description="that user's password")
    redis_ca_file: Path | None = Field(default=None, description="certificates to believe a rediss:// server by")
    broker_url: str = Field(default="http://127.0.0.1:8700", description="address of the lock broker")
    broker_token: SecretStr | None = Field(default=None, description="bearer token of the lock broker")
    broker_ca_file: Path | None = Field(default=None, description="certificates to believe an https:// broker by")
    broker_client_certificate_file: Path | None = Field(
        default=None, description="certificate to show a broker that asks for one"
    )
    broker_client_key_file: Path | None = Field(default=None, description="its key, where it is a file of its own")
    model_store: str = Field(
        default="runs/model-store", description="a directory, s3://BUCKET/FOLDER or sftp://USER@HOST/FOLDER"
    )
    model_store_endpoint: str | None = Field(default=None, description="URL of an S3 server that is not Amazon's")
    model_store_access_key: SecretStr | None = Field(default=None, description="access key of the S3 server")
    model_store_secret_key: SecretStr | None = Field(default=None, description="secret key of the S3 server")
    model_store_password: SecretStr | None = Field(default=None, description="password of the SFTP server")
    model_store_private_key: SecretStr | None = Field(default=None, description="private key for the SFTP server")
    model_store_known_hosts: Path | None = Field(
        default=None, description="file with the SFTP server's host key; ~/.ssh/known_hosts where not given"
    )
    model_store_most_bytes: int = Field(default=2 * 2**30, ge=1024, description="largest file written or read, bytes")

    admin_host: str = Field(default="0.0.0.0", description="where /healthz, /readyz and /metrics listen")  # noqa: S104  # nosec B104
    admin_port: int = Field(default=9100, ge=0, le=65535, description="0 takes a free port")
    admin_port_file: Path | None = Field(default=None, description="file that gets the port really taken")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="auto: console on a terminal")

    views_stream_length: int = Field(default=8192, ge=16, description="views kept in the stream, about")
    threads: int = Field(default=1, ge=1, le=256, description="threads of numerical work in this process")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over secret files."""
        return init_settings, env_settings, SecretFileSource(settings_cls)

    @classmethod
    def from_environment(cls, **overrides: Any) -> Self:
        """Read the settings; a wrong one becomes a ``UserError`` that names the variable but not its value."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(f"setting {ENV_PREFIX}{field.upper()}: {first['msg']}") from None
        except SettingsError as error:  # a list or table that is not JSON; the cause would quote it
            raise UserError(f"settings {ENV_PREFIX}…: {error}") from None

    @property
    def config_hash(self) -> str:
        """Sixteen hex digits that name this configuration; secrets do not enter it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
