"""``ptzjepa models`` against a real broker: what people see, what programs get, how it fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.ptzjepa.test_cli import assert_one_clear_line, ptzjepa

MODEL = "wm_00_03"


@pytest.fixture(scope="module")
def broker_url(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker_process(tmp_path_factory.mktemp("broker"), redis_server) as process:
        url = process.ready().url
        _fill(url)
        yield url


def _fill(url: str) -> None:
    """Three versions of a world model, one of an archived agent, one of a model with a name of its own."""
    with httpx.Client(base_url=f"{url}/v1") as http:
        for resource, versions in ((f"world-model/{MODEL}", 3), ("agent/ag_00_01", 1), ("world-model/mine", 1)):
            model = resource.partition("/")[2]
            lease = http.post("/leases", json={"resource": resource, "holder": "trainer@node-with-a-long-name"}).json()
            right = {"lease_id": lease["lease_id"], "token": lease["token"]}
            for head in range(versions):
                parents = [{"model": model, "version": head}] if head else []
                span = {"camera": "north", "first": "2026-05-04T11:00:00Z", "last": "2026-05-04T12:00:00Z", "views": 7}
                body = {
                    **right,
                    "expected_head": head,
                    "checkpoint": {"address": f"models/{head}", "sha256": f"{head:064x}", "size": 3},
                    "card": {"one_step_error": 0.5},
                    "lineage": {"generation": 0, "restart": 0, "parents": parents, "data": [span]},
                }
                assert http.post(f"/models/{model}/versions", json=body).status_code == 201
            if model.startswith("ag"):
                assert http.post(f"/models/{model}/archive", json={**right, "reason": "done"}).status_code == 200
            http.delete(f"/leases/{lease['lease_id']}")


def models(broker_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ptzjepa("models", *arguments, environment={"PTZ_BROKER_URL": broker_url})


def lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert result.returncode == 0, result.stderr
    found = result.stdout.splitlines()
    assert max(map(len, found)) <= 80
    return found


def test_people_and_programs_see_the_same(broker_url: str) -> None:
    listed = lines(models(broker_url, "list"))
    assert [line.split()[:4] for line in listed[1:]] == [
        ["ag_00_01", "agent", "archived", "1"],
        ["mine", "world-model", "active", "1"],
        [MODEL, "world-model", "active", "3"],
    ]
    only = json.loads(models(broker_url, "list", "--state", "active", "--kind", "world-model", "--json").stdout)
    assert [item["model"] for item in only] == ["mine", MODEL]
    shown = lines(models(broker_url, "show", MODEL))
    assert any("7 views" in line for line in shown)
    assert any(line.split() == ["one_step_error", "0.5"] for line in shown)
    assert json.loads(models(broker_url, "show", MODEL, "--json").stdout)["head"]["version"] == 3
    told = lines(models(broker_url, "history", MODEL, "--limit", "2"))
    assert [line.split()[0] for line in told] == ["VERSION", "3", "2"]


def test_a_rollback_and_the_export_of_it(broker_url: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=f"{broker_url}/v1") as http:
        held = http.post("/leases", json={"resource": f"world-model/{MODEL}", "holder": "somebody"}).json()
        refused = models(broker_url, "rollback", MODEL, "1")
        assert refused.returncode == 1
        assert "held by somebody" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        http.delete(f"/leases/{held['lease_id']}")
        assert lines(models(broker_url, "rollback", MODEL, "1", "--reason", "worse")) == [
            f"{MODEL}: version 4 is the head, with the weights of version 1"
        ]
        assert http.get("/leases").json() == {"leases": []}, "it gave the lease back"
        event = http.get("/events", params={"limit": 1000}).json()["events"][-2]
        assert (event["event"], event["detail"]) == ("rolled-back", "4 restores 1: worse")
    out = tmp_path / "persistence"
    written = models(broker_url, "export", str(out))
    assert "left out: mine" in written.stderr
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "finished_models/ag_00_01/model_info.yaml",
        "progress_model_names.txt",
        f"world_models/{MODEL}/model_info.yaml",
    ]
    info = yaml.safe_load((out / "world_models" / MODEL / "model_info.yaml").read_text())
    assert (info["num_restart"], info["restart_00"]["train"]["num_epochs"]) == (0, 3)
    progress = (out / "progress_model_names.txt").read_text().splitlines()
    assert [line.split(" @ ")[0] for line in progress] == ["Start lifelong learning", MODEL, "ag_00_01"]


def test_what_is_wrong_is_said_in_one_line(broker_url: str, tmp_path: Path) -> None:
    assert_one_clear_line(models(broker_url, "show", "nobody"), "no model 'nobody'")
    assert_one_clear_line(models(broker_url, "list", "--state", "asleep"), "--state asleep")
    assert_one_clear_line(models(broker_url, "rollback", MODEL, "9"), "version 9")
    (tmp_path / "file").write_text("in the way")
    assert_one_clear_line(models(broker_url, "export", str(tmp_path / "file")), "cannot write")
    assert_one_clear_line(models("http://127.0.0.1:9", "list"), "does not answer", "PTZ_BROKER_URL")
    assert max(len(line) for line in ptzjepa("models", "rollback", "--help").stdout.splitlines()) <= 80
