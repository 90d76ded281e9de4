"""The sampler's tracks: every view and every command of a real run, as the streams have them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from camera_sampler.settings import SamplerSettings
from camera_sampler.tracking import COLUMNS, COMMANDS, POSITIONS, Tracks, schema
from shared.errors import UserError
from shared.redis_client import RedisClients
from shared.telemetry import Metrics
from tests.camera_sampler.sampling import Agent, at_least, fast, metric, running, views
from tests.support import REPOSITORY


def rows(directory: Path, table: str) -> list[dict[str, object]]:
    folder = directory / "camera-0" / table
    found = [parquet.read_table(path, partitioning=None) for path in sorted(folder.glob("*.parquet"))]
    assert all(part.schema.equals(schema(table)) for part in found)
    return [row for part in found for row in part.to_pylist()]


async def test_it_tracks_what_the_streams_have(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent, tmp_path: Path
) -> None:
    settings = fast(
        sampler_settings.redis_url,
        track=tmp_path,
        track_seconds=0.2,
        movements=100,
        policy="follow",
        command_seconds=1.0,
    )
    async with running(settings, clients) as sampler:
        await agent.steer(6)
        await agent.command("no-such-view")
        await at_least(clients, 8)
    published = {received.message.id: received.message for received in await views(clients)}
    tracked = rows(tmp_path, POSITIONS)
    assert [row["view"] for row in tracked] == list(published)
    for row in tracked:
        view = published[str(row["view"])]
        assert (row["pan"], row["tilt"], row["zoom"]) == view.pose.as_tuple()
        assert (row["captured_at"], row["episode"], row["step"]) == (view.captured_at, view.episode, view.step)
        assert (row["previous"], row["policy"], row["policy_version"]) == (
            view.previous,
            view.policy,
            view.policy_version,
        )
        assert (row["settled"], row["original"]) == (view.settled, None)
        assert row["action"] == (view.action.name if view.action else None)
    commands = rows(tmp_path, COMMANDS)
    followed = [row for row in commands if row["outcome"] == "followed"]
    assert len(followed) == metric(sampler, "commands_total", outcome="followed") >= 1
    assert [row["outcome"] for row in commands if row["answers"] == "no-such-view"] == ["stale"]
    steered = {row["previous"] for row in tracked if row["policy"] == "agent"}
    assert steered <= {row["answers"] for row in followed}
    assert (followed[0]["action"], followed[0]["action_pan"]) == ("long_right", 2.0)
    assert (followed[0]["agent"], followed[0]["policy_version"], followed[0]["fencing_token"]) == ("ag_00_00", 3, 5)
    assert metric(sampler, "track_rows_total", table=POSITIONS) == len(tracked)
    assert metric(sampler, "track_rows_total", table=COMMANDS) == len(commands)


async def test_without_arrow_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"ptzjepa\[parquet\]"):
        async with Tracks(SamplerSettings(track=tmp_path), Metrics("test")).open():
            pass


def test_arrow_is_loaded_only_on_request() -> None:
    code = "import sys, camera_sampler.service; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_both_tables_name_the_action_alike() -> None:
    shared = COLUMNS[POSITIONS].keys() & COLUMNS[COMMANDS].keys()
    assert {"camera", "action", "action_pan", "action_tilt", "action_zoom", "policy_version"} <= shared
