"""Tracks are read back from our own files and from PTZJEPA's, into the same tables; no file can harm the reader."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_sampler.settings import SamplerSettings
from camera_sampler.tracking import Tracks as SamplerTracks
from dreamer_agent.settings import AgentSettings
from dreamer_agent.tracking import EMBEDDINGS, Thought, tracker
from ptzjepa import tracks
from ptzjepa.track_command import run
from ptzjepa.tracks import read
from shared.actions import DEFAULT_ACTIONS
from shared.errors import UserError
from shared.messages import Command, View, utc_now
from shared.pose import Pose, PoseLimits
from shared.telemetry import Metrics
from tests.support import REPOSITORY

STAMP = "2024-07-31_17:36:08.173102"
POSES = [(99.99, -12.39, 1.0), (101.99, -12.39, 1.0), (101.99, -10.39, 1.2)]
MOVES = [(2.0, 0.0, 0.0), (0.0, 2.0, 0.2)]


def write_old(root: Path, *, stamp: str = STAMP, moves: list[tuple[float, float, float]] = MOVES) -> None:
    """An iteration as PTZJEPA writes it: text without an end of line, tensors by torch.save, one stamp for all."""
    for folder in ("collected_positions", "collected_commands", "collected_embeds"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    poses = "\n".join(",".join(map(str, pose)) for pose in POSES)
    (root / "collected_positions" / f"positions_at_{stamp}.txt").write_text(poses)
    commands = "\n".join(f"{pan:.2f},{tilt:.2f},{zoom:.2f}" for pan, tilt, zoom in moves)
    (root / "collected_commands" / f"commands_at_{stamp}.txt").write_text(commands)
    count = len(moves)
    embeddings = [torch.arange(256 * 192, dtype=torch.float32).reshape(1, 256, 192) + step for step in range(count)]
    values = [torch.full((1, 21), float(step)) for step in range(count)]
    torch.save(torch.vstack(embeddings), root / "collected_embeds" / f"embeds_at_{stamp}.pt")
    torch.save(torch.vstack(values), root / "collected_embeds" / f"rewards_at_{stamp}.pt")


def view(step: int, previous: str | None = None) -> View:
    pose = Pose(pan=float(step), tilt=1.0, zoom=1.5)
    return View(
        camera="camera-0",
        pose=pose,
        pose_before=pose,
        captured_at=utc_now(),
        episode="episode",
        step=step,
        previous=previous,
        action=DEFAULT_ACTIONS[12] if previous else None,
        limits=PoseLimits(),
        policy="agent" if previous else "random-walk",
        policy_version=3 if previous else None,
        width=32,
        height=32,
    )


async def write_new(root: Path, sizes: tuple[int, ...] = (8, 8, 16)) -> tuple[list[View], list[Command]]:
    """A view, a command and a thought for each embedding size."""
    views, commands = [view(0)], []
    sampler = SamplerTracks(SamplerSettings(track=root), Metrics("sampler"))
    pilot = tracker(AgentSettings(track=root), Metrics("pilot"))
    async with sampler.open(), pilot.open():
        sampler.note_view(views[0])
        for step, size in enumerate(sizes, start=1):
            action, seen = DEFAULT_ACTIONS[12], views[-1].id
            command = Command(
                camera="camera-0", answers=seen, action=action, token=step, agent="ag_00_00", policy_version=3
            )
            commands.append(command)
            sampler.note_command(command, "followed")
            thought = Thought(
                view=seen,
                command=command.id,
                time=command.time,
                action=action.name,
                mode="greedy",
                agent="ag_00_00",
                policy_version=3,
                world_model="wm_00_00",
                world_model_version=2,
                embedding=np.full(size, step, np.float16),
                log_probabilities=np.full(21, -step, np.float32),
            )
            pilot.add(EMBEDDINGS, thought)
            views.append(view(step, seen))
            sampler.note_view(views[-1])
    return views, commands


async def test_new_tracks_join_by_the_view(tmp_path: Path) -> None:
    views, commands = await write_new(tmp_path)
    found = read(tmp_path)
    assert found.refused == []
    assert found.positions["view"].to_pylist() == [item.id for item in views]
    assert found.positions["pan"].to_pylist() == [0.0, 1.0, 2.0, 3.0]
    assert found.positions["captured_at"].to_pylist() == [item.captured_at for item in views]
    assert found.positions["action"].to_pylist() == [None, *["long_right"] * 3]
    assert found.commands["command"].to_pylist() == [item.id for item in commands]
    thoughts = found.embeddings.to_pylist()
    assert [row["view"] for row in thoughts] == [item.answers for item in commands]
    assert [row["embedding"] for row in thoughts] == [[1.0] * 8, [2.0] * 8, [3.0] * 16]
    assert [row["embedding_shape"] for row in thoughts] == [[8], [8], [16]]
    assert thoughts[1]["action_values"] == [-2.0] * 21
    assert {row["values_are"] for row in thoughts} == {"log-probability"}
    assert [row["time"] for row in thoughts] == [item.time for item in commands]
    joined = found.positions.join(found.embeddings.select(["view", "mode"]), "view", join_type="inner")
    assert joined.num_rows == 3


def test_old_tracks_come_into_the_same_tables(tmp_path: Path) -> None:
    write_old(tmp_path)
    found = read(tmp_path)
    assert found.refused == []
    positions, commands, thoughts = (table.to_pylist() for table in found.tables().values())
    assert [(row["pan"], row["tilt"], row["zoom"]) for row in positions] == POSES
    assert [row["view"] for row in positions] == [f"{STAMP}/{step}" for step in range(3)]
    assert [row["previous"] for row in positions] == [None, f"{STAMP}/0", f"{STAMP}/1"]
    assert [row["captured_at"] for row in positions] == [None] * 3
    assert (positions[2]["action_tilt"], positions[2]["action_zoom"]) == (2.0, 0.2)
    assert [(row["action_pan"], row["action_tilt"], row["action_zoom"]) for row in commands] == MOVES
    assert [row["answers"] for row in commands] == [row["view"] for row in thoughts] == [f"{STAMP}/0", f"{STAMP}/1"]
    assert [row["embedding_shape"] for row in thoughts] == [[256, 192]] * 2
    assert thoughts[1]["embedding"][:2] == [1.0, 2.0]
    assert thoughts[1]["action_values"] == [1.0] * 21
    assert {row["values_are"] for row in thoughts} == {"q-value"}


async def test_old_and_new_lie_in_one_directory(tmp_path: Path) -> None:
    write_old(tmp_path)
    await write_new(tmp_path)
    found = read(tmp_path)
    assert (found.positions.num_rows, found.commands.num_rows, found.embeddings.num_rows) == (7, 5, 5)


class Bomb:
    """What a pickle can do: run anything when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_tensor_is_refused_and_nothing_runs(tmp_path: Path, how: str) -> None:
    write_old(tmp_path)
    write_old(tmp_path, stamp="2024-07-31_18:00:00.000000")
    bad, marker = tmp_path / "collected_embeds" / f"embeds_at_{STAMP}.pt", tmp_path / "executed"
    if how == "torch":
        torch.save(Bomb(marker), bad)
    else:
        bad.write_bytes(pickle.dumps(Bomb(marker)))
    found = read(tmp_path)
    assert not marker.exists()
    assert len(found.refused) == 1
    assert str(bad) in found.refused[0]
    assert "\n" not in found.refused[0]
    assert (found.positions.num_rows, found.embeddings.num_rows) == (6, 2)
    with contextlib.suppress(RuntimeError):  # what torch says of a bare pickle, after having run it
        torch.load(io.BytesIO(bad.read_bytes()), weights_only=False)
    assert marker.exists(), "the file was harmless, so refusing it shows nothing"


def test_what_is_torn_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    write_old(tmp_path)
    embeddings = tmp_path / "collected_embeds" / f"embeds_at_{STAMP}.pt"
    embeddings.write_bytes(embeddings.read_bytes()[:-1000])
    write_old(tmp_path, stamp="A", moves=MOVES[:1])
    (tmp_path / "collected_positions" / "positions_at_B.txt").write_text("1.0,2.0,1.0")
    (tmp_path / "collected_positions" / "positions_at_C.txt").write_text("1.0;2.0;1.0")
    for table, suffix in (("positions", "parquet"), ("embeddings", "safetensors")):
        (tmp_path / "camera-0" / table).mkdir(parents=True)
        (tmp_path / "camera-0" / table / f"torn.{suffix}").write_bytes(b"PAR1")
    found = read(tmp_path)
    reasons = dict(line.partition(": ")[::2] for line in found.refused)
    assert {Path(path).name for path in reasons} == {
        *("torn.parquet", "torn.safetensors"),
        *("positions_at_A.txt", "positions_at_B.txt", "positions_at_C.txt"),
        f"embeds_at_{STAMP}.pt",
    }
    assert "3 poses and 1 commands" in reasons[str(tmp_path / "collected_positions" / "positions_at_A.txt")]
    assert "line 1" in reasons[str(tmp_path / "collected_positions" / "positions_at_C.txt")]
    assert found.positions.num_rows == 3


@settings(max_examples=50, deadline=None, derandomize=True)
@given(text=st.text(alphabet="0123456789.,-+einfa\n ", max_size=40))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("old")
    for folder, prefix in (("collected_positions", "positions"), ("collected_commands", "commands")):
        (root / folder).mkdir()
        (root / folder / f"{prefix}_at_X.txt").write_text(text)
    assert read(root).positions.num_rows == 0
    assert len(read(root).refused) == 1


def test_no_tracks_are_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tracks"):
        read(tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / "nowhere")


def test_the_text_part_needs_no_torch(tmp_path: Path) -> None:
    write_old(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom ptzjepa.tracks import read\nfrom shared.errors import UserError\n"
        f"root = Path({str(tmp_path)!r})\n"
        "assert read(root, embeddings=False).positions.num_rows == 3\n"
        "try:\n    read(root)\nexcept UserError as error:\n    assert 'needs torch' in str(error), error\n"
        "else:\n    raise SystemExit('read tensors without torch')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


async def test_the_command_shows_rows_and_says_what_it_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_old(tmp_path)
    views, _ = await write_new(tmp_path)
    (tmp_path / "collected_positions" / "positions_at_B.txt").write_text("nonsense")
    out = io.StringIO()
    assert run(tmp_path, as_json=False, embeddings=True, out=out) == 0
    first, second, third = out.getvalue().splitlines()
    assert first.split()[:3] == ["positions", "7", "rows"]
    assert f"{views[0].captured_at:%Y-%m-%d %H:%M:%S}" in first
    assert second.split()[:3] == ["commands", "5", "rows"]
    assert third.split()[:3] == ["embeddings", "5", "rows"]
    assert "warning: not read" in capsys.readouterr().err
    out = io.StringIO()
    run(tmp_path, as_json=True, embeddings=False, out=out)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {row["table"] for row in rows} == {"positions", "commands"}
    assert sum(row["table"] == "positions" for row in rows) == 7
    assert rows[0]["view"] == views[0].id


def test_the_tables_have_the_columns_that_the_docs_name() -> None:
    text = (REPOSITORY / "docs" / "cameras.md").read_text(encoding="utf-8")
    for names in (tracks.schema("positions").names, tracks.schema("commands").names, tracks.THOUGHTS.names):
        missing = [name for name in names if f"`{name}`" not in text]
        assert not missing
