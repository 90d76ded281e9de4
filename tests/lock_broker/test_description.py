"""The API keeps to its own description: schemathesis tries it on a real broker, with right and with wrong data.

A longer run: ``PTZ_TEST_EXAMPLES=200 PTZ_TEST_SEED=7 pytest tests/lock_broker/test_description.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lock_broker.tokens import line
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.support import REPOSITORY, Process

HERE = Path(__file__).parent
EXAMPLES, SEED = os.environ.get("PTZ_TEST_EXAMPLES", "4"), os.environ.get("PTZ_TEST_SEED", "1")
SECONDS = 1800 if "PTZ_TEST_EXAMPLES" in os.environ else 110


@pytest.fixture(params=["open", "guarded"])
def broker(request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path) -> Iterator[Process]:
    """A broker that asks for tokens, and one that does not."""
    settings = {"broker_rate": "0"}
    if request.param == "guarded":
        tokens = tmp_path / "tokens"
        tokens.write_text(line("fuzzer", "admin", "the-right-token"))
        settings["broker_tokens_file"] = str(tokens)
    with broker_process(tmp_path / "broker", redis_server, **settings) as process:
        yield process.ready()


@pytest.mark.timeout(SECONDS + 10)
@pytest.mark.usefixtures("clients")
def test_the_broker_keeps_to_its_description(broker: Process, tmp_path: Path) -> None:
    options = ["--seed", SEED, "--max-examples", EXAMPLES, "--checks", "all", "--no-shrink", "--continue-on-failure"]
    if "PTZ_BROKER_TOKENS_FILE" in broker.environment:
        options += ["--header", "Authorization: Bearer the-right-token"]
    result = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", HERE / "schemathesis.toml"),
            *("run", f"{broker.url}/openapi.json", *options),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SCHEMATHESIS_HOOKS": "tests.lock_broker.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in broker.log
