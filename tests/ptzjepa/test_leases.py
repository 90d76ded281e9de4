"""``ptzjepa broker token`` and ``ptzjepa leases`` as people use them: real processes against a real, guarded broker."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.ptzjepa.test_cli import ROOT, assert_one_clear_line, ptzjepa
from tests.support import Process, until

MODEL = "world-model/wm_00_03"


@dataclass
class Guarded:
    """A broker that knows the tokens made by the command."""

    process: Process
    directory: Path

    def environment(self, name: str) -> dict[str, str]:
        return {"PTZ_BROKER_URL": self.process.url, "PTZ_BROKER_TOKEN_FILE": str(self.directory / name)}

    def leases(self, *arguments: str, name: str = "ops") -> subprocess.CompletedProcess[str]:
        return ptzjepa("leases", *arguments, environment=self.environment(name))

    def http(self, name: str) -> httpx.Client:
        token = (self.directory / name).read_text().strip()
        return httpx.Client(base_url=f"{self.process.url}/v1", headers={"Authorization": f"Bearer {token}"})

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.leases("--json").stdout)
        return found


@pytest.fixture(scope="module")
def guarded(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    made = [
        ptzjepa("broker", "token", "--name", name, "--role", role, "--out", str(directory / name))
        for name, role in (("ops", "admin"), ("blade", "worker"), ("page", "reader"))
    ]
    tokens = directory / "tokens"
    tokens.write_text("".join(result.stdout for result in made))
    with broker_process(directory / "broker", redis_server, broker_tokens_file=str(tokens)) as process:
        yield Guarded(process.ready(), directory)


@pytest.fixture(autouse=True)
async def _empty(clients: Any) -> None:
    """Every test begins on an empty Redis."""


def body(resource: str = MODEL, **changes: Any) -> dict[str, Any]:
    return {"resource": resource, "holder": "world-model-trainer@blade", "ttl_ms": 90_000, **changes}


def test_a_token_is_made_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "blade.token"
    asked = ("broker", "token", "--name", "blade", "--role", "worker", "--out", str(path))
    result = ptzjepa(*asked)
    assert result.returncode == 0, result.stderr
    secret = path.read_text().strip()
    assert len(secret) >= 40
    assert secret not in result.stdout + result.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    name, role, digest = result.stdout.split()
    assert (name, role, len(digest), len(result.stdout.splitlines())) == ("blade", "worker", 64, 1)
    assert_one_clear_line(ptzjepa(*asked), str(path), "--out")
    assert path.read_text().strip() == secret, "a token in use is not written over"
    for wrong, words in (("--role", "there is no role 'owner'"), ("--name", "no name")):
        other = [*asked, wrong, "owner" if wrong == "--role" else "Blade", "--out", str(tmp_path / "other")]
        assert_one_clear_line(ptzjepa(*other), words)
    assert not (tmp_path / "other").exists()
    assert_one_clear_line(ptzjepa(*asked, "--out", str(tmp_path / "away" / "x")), "cannot write")


def test_people_and_programs_see_who_holds_what(guarded: Guarded) -> None:
    assert guarded.leases(name="page").stdout == "no leases\n"
    with guarded.http("blade") as http:
        first = http.post("/leases", json=body()).json()
        http.post("/leases", json=body("camera/north", mode="shared", holder="a\x1b[2Jb", ttl_ms=20_000))
        http.post("/leases", json=body("camera/north", mode="shared", holder="x" * 128))
        waiting = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(guarded.directory / "blade"), f"{guarded.process.url}/v1/leases"]
        )
        try:
            until(lambda: [len(it["waiting"]) for it in guarded.shown()] == [0, 1])
            result = guarded.leases(name="page")
        finally:
            waiting.kill()
            waiting.wait()
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) == 80
    assert "\x1b" not in result.stdout
    assert lines[0].split() == ["RESOURCE", "MODE", "HOLDER", "PRINCIPAL", "TOKEN", "EXPIRES", "WAITING"]
    rows = [line.split() for line in lines[1:]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("camera/north", "shared", "0"),
        ("camera/north", "shared", "0"),
        (MODEL, "exclusive", "1"),
    ]
    assert rows[2][3:5] == ["blade", "1"]
    assert rows[2][-2].startswith("1:")
    assert any(line.split()[2] == "a?[2Jb" for line in lines)
    assert first["lease_id"] in guarded.leases("--ids").stdout.splitlines()


WAIT = """
import pathlib, sys, httpx
token = pathlib.Path(sys.argv[1]).read_text().strip()
body = {"resource": "world-model/wm_00_03", "holder": "second", "wait_ms": 30000}
httpx.post(sys.argv[2], json=body, headers={"Authorization": f"Bearer {token}"}, timeout=40)
"""


def test_an_admin_takes_leases_away(guarded: Guarded) -> None:
    named = ("force", MODEL, "--reason")
    with guarded.http("blade") as http:
        lease = http.post("/leases", json=body()).json()
        assert_one_clear_line(guarded.leases(*named, "mine", name="blade"), "403", "admin")
        assert_one_clear_line(guarded.leases(*named, ""), "--reason")
        assert_one_clear_line(guarded.leases("force", f"{MODEL}0", "--reason", "x"), "nobody holds")
        assert len(guarded.shown()) == 1, "a refusal takes nothing"
        result = guarded.leases(*named, "the blade hangs")
        assert (result.returncode, result.stderr) == (0, "")
        assert "token 1" in result.stdout
        assert "world-model-trainer@blade" in result.stdout
        assert http.patch(f"/leases/{lease['lease_id']}", json={}).json()["ended"] == "forced"
        event = http.get("/events").json()["events"][-1]
        assert (event["event"], event["principal"], event["detail"]) == ("forced", "ops", "the blade hangs")
        readers = [http.post("/leases", json=body(mode="shared", holder=f"r{n}")).json() for n in range(3)]
        assert len(guarded.leases("force", readers[0]["lease_id"], "--reason", "one").stdout.splitlines()) == 1
        assert len(guarded.leases(*named, "all").stdout.splitlines()) == 2
        assert guarded.shown() == []
    assert_one_clear_line(guarded.leases(*named, "again"), "nobody holds")


def test_watching_sees_what_changes_until_interrupted(guarded: Guarded, tmp_path: Path) -> None:
    out = tmp_path / "watched"
    with out.open("wb") as file:
        watching = subprocess.Popen(
            [sys.executable, "-m", "ptzjepa", "leases", "--watch", "--json"],
            stdout=file,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **guarded.environment("page")},
        )
        try:
            until(lambda: out.read_text().splitlines()[:1] == ["[]"])
            with guarded.http("blade") as http:
                http.post("/leases", json=body())
            until(lambda: out.read_text().splitlines()[-1] != "[]")
            watching.send_signal(signal.SIGINT)
            said = watching.communicate(timeout=90)[1]
        finally:
            watching.kill()
            watching.wait()
    assert watching.returncode == 130
    assert b"Traceback" not in said
    assert json.loads(out.read_text().splitlines()[-1])[0]["resource"] == MODEL


def test_no_broker_and_no_right_cost_one_line(guarded: Guarded) -> None:
    for arguments in ([], ["--watch"], ["force", "x", "--reason", "y"]):
        away = ptzjepa("leases", *arguments, environment={"PTZ_BROKER_URL": "http://127.0.0.1:9"})
        assert_one_clear_line(away, "127.0.0.1:9 does not answer", "PTZ_BROKER_URL")
    (guarded.directory / "wrong").write_text("wrong")
    assert_one_clear_line(guarded.leases(name="wrong"), "401", "PTZ_BROKER_TOKEN_FILE")
    for arguments in (["leases"], ["leases", "force"], ["broker"], ["broker", "token"]):
        help_text = ptzjepa(*arguments, "--help").stdout
        assert max(map(len, help_text.splitlines())) <= 80
