"""What the pages say about the broker is so: every command in them runs, with curl, and answers as printed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from lock_broker.principals import Role
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.lock_broker.documentation import parts, run, same
from tests.support import REPOSITORY, Process, until

PAGE, README = REPOSITORY / "docs" / "lock_broker.md", REPOSITORY / "README.md"
STARTS = "python -m lock_broker"
MISSING = [tool for tool in ("bash", "curl", "jq", "openssl") if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"the pages' examples need {', '.join(MISSING)}: install them")


@pytest.fixture(autouse=True)
async def _empty(clients: Any) -> None:
    """Every test begins on an empty Redis."""


@needs_tools
def test_every_command_of_the_page_answers_as_printed(redis_server: RedisServer, tmp_path: Path) -> None:
    before, plain, by_tls = parts(PAGE, STARTS)
    run(before, tmp_path)
    tokens = {"broker_tokens_file": str(tmp_path / "tokens")}
    with broker_process(tmp_path / "plain", redis_server, **tokens) as broker:
        answers = run(plain, tmp_path, broker.ready().url)
        for example, answer in zip(plain, answers, strict=True):
            same(example.answer or "", answer)
        assert "Traceback" not in broker.log
    files = {
        "certificate_file": "broker_certificate.pem",
        "key_file": "broker_key.pem",
        "client_ca_file": "broker_ca.pem",
    }
    settings = tokens | {f"broker_{name}": str(tmp_path / file) for name, file in files.items()}
    with broker_process(tmp_path / "tls", redis_server, **settings) as broker:
        until(lambda: "listening" in broker.log, lambda: broker.log)
        for example, answer in zip(by_tls, run(by_tls, tmp_path, broker.url), strict=True):
            same(example.answer or "", answer)


@needs_tools
def test_every_command_of_the_readme_answers_as_printed(broker_module: Process, tmp_path: Path) -> None:
    [examples] = parts(README, STARTS, beginning="^## The lock broker$", ending="^## ")
    for example, answer in zip(examples, run(examples, tmp_path, broker_module.url), strict=True):
        same(example.answer or "", answer)


def test_a_wrong_answer_is_seen() -> None:
    same('{"token": 1, "expires_in_ms": 3}', '{"expires_in_ms":59999,"token":1}')
    same("a 0:59\n", "a 1:00")
    for wrong in ('{"token": 2, "expires_in_ms": 3}', '{"token": 1}', "a"):
        with pytest.raises(AssertionError):
            same('{"token": 1, "expires_in_ms": 3}', wrong)


def test_the_page_names_every_route_status_key_and_role(broker_module: Process) -> None:
    page = PAGE.read_text(encoding="utf-8")
    described = httpx.get(f"{broker_module.url}/openapi.json").json()["paths"]
    for path, operations in described.items():
        shown = re.sub(r"\\\{\w+\\\}", r"[^/\\s\"'`|]+", re.escape(path))
        assert re.search(shown + r"[\s\"'`?|)]", page), f"the page does not show {path}"
        for status in (status for operation in operations.values() for status in operation["responses"]):
            assert path.endswith("z") or status[0] == "2" or re.search(rf"^\| (.*, )?{status}\b", page, re.MULTILINE), (
                status
            )
    keys = re.findall(r"\{?\{lk\}\}?:[a-z]+", (REPOSITORY / "lock_broker" / "keys.py").read_text(encoding="utf-8"))
    assert len(keys) > 10
    for key in keys:
        assert f"`{key.replace('{{', '{').replace('}}', '}')}" in page, key
    for role in get_args(Role):
        assert f"| `{role}` |" in page
