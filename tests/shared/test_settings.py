from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from shared.errors import UserError
from shared.settings import ServiceSettings

SECRET = "p@ss:w/o?rd#%"


class WithList(ServiceSettings):
    hosts: list[str] = Field(default_factory=list)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("PTZ_"):
            monkeypatch.delenv(name)


def test_the_environment_counts_and_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_CAMERA", "north")
    monkeypatch.setenv("PTZ_SEED", "7")
    monkeypatch.setenv("PTZ_AGENT", "")
    monkeypatch.setenv("PTZ_BROKER_TOKEN", "")
    settings = ServiceSettings.from_environment(node="blade")
    assert (settings.camera, settings.seed, settings.agent, settings.node) == ("north", 7, "ag_00_00", "blade")
    assert settings.broker_token is None


def test_secrets_come_from_files_whatever_is_in_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    monkeypatch.setenv("PTZ_REDIS_PASSWORD_FILE", str(tmp_path / "secret"))
    settings = ServiceSettings.from_environment()
    assert settings.redis_password == SecretStr(SECRET)
    assert SECRET not in repr(settings) + settings.model_dump_json()


def test_secrets_come_from_the_secrets_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ptz_broker_token").write_text(SECRET)
    monkeypatch.setattr("shared.settings.SECRETS_DIR", tmp_path)
    assert ServiceSettings.from_environment().broker_token == SecretStr(SECRET)
    monkeypatch.setenv("PTZ_BROKER_TOKEN", "from the environment")
    assert ServiceSettings.from_environment().broker_token == SecretStr("from the environment")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("PTZ_BROKER_TOKEN_FILE", str(tmp_path / "secret"))
    with pytest.raises(UserError, match="PTZ_BROKER_TOKEN_FILE"):
        ServiceSettings.from_environment()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PTZ_SEED", "minus-one-xyz"), ("PTZ_CAMERA", "North Xyz"), ("PTZ_ADMIN_PORT", "70000"), ("PTZ_LOG_LEVEL", "xyz")],
)
def test_an_error_names_the_variable_and_never_the_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=variable) as error:
        ServiceSettings.from_environment()
    assert value not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_that_is_not_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_HOSTS", "[xyz")
    with pytest.raises(UserError, match="hosts") as error:
        WithList.from_environment()
    assert "xyz" not in str(error.value)


def test_the_hash_names_the_configuration_but_no_secret() -> None:
    first = ServiceSettings(node="n", broker_token=SecretStr("a"))
    assert first.config_hash == ServiceSettings(node="n", broker_token=SecretStr("b")).config_hash
    assert first.config_hash != ServiceSettings(node="n", seed=1, broker_token=SecretStr("a")).config_hash
    assert len(first.config_hash) == 16
