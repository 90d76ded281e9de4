"""Every variable that a deployment sets is one that the service reads, with a value it takes; the docs have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docs import configuration_table as table
from lock_broker.settings import BrokerSettings
from tests.deployment.manifests import (
    CONTAINERS,
    Dockerfile,
    compose_environment,
    compose_tls_environment,
    k8s_environment,
    k8s_tls_environment,
)

PLACES = {
    "compose": compose_environment,
    "compose with TLS": compose_tls_environment,
    "k8s": k8s_environment,
    "k8s with TLS": k8s_tls_environment,
}


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("PTZ_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("container", CONTAINERS)
def test_deployment_sets_only_variables_that_exist(container: str, place: str) -> None:
    environment = Dockerfile.of(container).environment | PLACES[place](container)
    unknown = environment.keys() - table.variables(table.SERVICES[container])
    assert not unknown, f"{container} reads no such variable"


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("container", CONTAINERS)
def test_service_takes_the_values_it_is_given(
    container: str, place: str, clean_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("not-a-real-token\n")
    environment = Dockerfile.of(container).environment | PLACES[place](container)
    for name, value in environment.items():
        secret = value and name.endswith(("_TOKEN_FILE", "_PASSWORD_FILE"))
        clean_environment.setenv(name, str(token) if secret else value)
    settings = table.SERVICES[container].from_environment()
    listens = settings.broker_host if isinstance(settings, BrokerSettings) else settings.admin_host
    port = settings.broker_port if isinstance(settings, BrokerSettings) else settings.admin_port
    assert (listens, port) == ("0.0.0.0", Dockerfile.of(container).port)  # noqa: S104
    assert settings.redis_url == environment["PTZ_REDIS_URL"]
    assert settings.redis_user == container
    assert settings.redis_password is not None
    assert (
        (settings.redis_ca_file is not None)
        == settings.redis_url.startswith("rediss:")
        == (place == "compose with TLS")
    )
    if isinstance(settings, BrokerSettings):
        # Only principals with roles: no token that is everybody's, and an admin's.
        assert settings.broker_token is None
        assert settings.broker_tokens_file is not None
        assert (settings.broker_certificate_file is not None) == ("TLS" in place)
    else:
        assert settings.broker_token is not None
        assert settings.broker_token.get_secret_value() == "not-a-real-token"
        assert settings.broker_url == ("https" if "TLS" in place else "http") + "://lock-broker:8700"
        assert (settings.broker_ca_file is not None) == ("TLS" in place)


def test_document_is_current() -> None:
    text = table.DOCUMENT.read_text(encoding="utf-8")
    assert text == table.current(text), "run `make docs`"


def test_document_names_every_variable() -> None:
    text = table.DOCUMENT.read_text(encoding="utf-8")
    for settings in table.SERVICES.values():
        for field in settings.model_fields:
            assert f"`{table.variable(field)}`" in text
