"""Every variable that a deployment sets is one that the service reads, with a value it takes; the docs have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import configuration_table as table
from lock_broker.settings import BrokerSettings
from tests.deployment.manifests import (
    CONTAINERS,
    FOLDERS,
    Dockerfile,
    compose_environment,
    compose_tls_environment,
    k8s_environment,
    workloads,
)


def places() -> Iterator[tuple[str, str]]:
    """Every container with every place that it is deployed in."""
    for container in CONTAINERS:
        yield container, "compose"
        yield container, "compose tls"
        yield from ((container, folder) for folder in FOLDERS if container in workloads(folder))


def deployed(container: str, place: str) -> dict[str, str]:
    """A container's environment there: what its image brings, and what the deployment sets."""
    if place == "compose":
        found = compose_environment(container)
    elif place == "compose tls":
        found = compose_tls_environment(container)
    else:
        found = {name: value for name, value in k8s_environment(container, place).items() if name.startswith("PTZ_")}
    return Dockerfile.of(container).environment | found


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("PTZ_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(("container", "place"), list(places()))
def test_deployment_sets_only_variables_that_exist(container: str, place: str) -> None:
    unknown = deployed(container, place).keys() - table.variables(table.SERVICES[container])
    assert not unknown, f"{container} reads no such variable"


@pytest.mark.parametrize(("container", "place"), list(places()))
def test_service_takes_the_values_it_is_given(
    container: str, place: str, clean_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not-a-real-secret\n")
    environment = deployed(container, place)
    secrets = {
        table.variable(name) for name, field in table.SERVICES[container].model_fields.items() if table.is_secret(field)
    }
    for name, value in environment.items():
        is_file = value and name.removesuffix("_FILE") in secrets
        clean_environment.setenv(name, str(secret) if is_file else value)
    settings = table.SERVICES[container].from_environment()
    listens = settings.broker_host if isinstance(settings, BrokerSettings) else settings.admin_host
    port = settings.broker_port if isinstance(settings, BrokerSettings) else settings.admin_port
    assert (listens, port) == ("0.0.0.0", Dockerfile.of(container).port)  # noqa: S104
    assert settings.redis_url == environment["PTZ_REDIS_URL"]
    assert settings.redis_user == container
    assert settings.redis_password is not None
    assert (settings.redis_ca_file is not None) == settings.redis_url.startswith("rediss:") == ("tls" in place)
    if isinstance(settings, BrokerSettings):
        # Only principals with roles: no token that is everybody's, and an admin's.
        assert settings.broker_token is None
        assert settings.broker_tokens_file is not None
        assert (settings.broker_certificate_file is not None) == ("tls" in place)
    else:
        assert settings.broker_token is not None
        assert settings.broker_token.get_secret_value() == "not-a-real-secret"
        assert settings.broker_url == ("https" if "tls" in place else "http") + "://lock-broker:8700"
        assert (settings.broker_ca_file is not None) == ("tls" in place)


def test_the_node_s_image_sets_only_variables_that_its_services_read() -> None:
    read = set().union(*(table.variables(settings) for settings in table.SERVICES.values()))
    assert not Dockerfile.of("node").environment.keys() - read


def test_document_is_current() -> None:
    text = table.DOCUMENT.read_text(encoding="utf-8")
    assert text == table.current(text), "run `make docs`"


def test_document_names_every_variable() -> None:
    text = table.DOCUMENT.read_text(encoding="utf-8")
    for settings in table.SERVICES.values():
        for field in settings.model_fields:
            assert f"`{table.variable(field)}`" in text
