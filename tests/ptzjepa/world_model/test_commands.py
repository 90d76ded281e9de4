"""The real commands: train (in processes of its own, to be killed), go on, evaluate; wrong input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from camera_sampler.simulation.scenes import open_scene
from ptzjepa.cli import main
from ptzjepa.world_model import walking
from ptzjepa.world_model.scenes import render
from ptzjepa.world_model.stored import stored_place
from ptzjepa.world_model.targets import TARGETS
from ptzjepa.world_model.training_state import MODEL, STATE, read_state
from shared.errors import UserError
from shared.world_model import WorldModel, load_checkpoint, save_checkpoint
from tests.support import REPOSITORY
from tests.world_model_trainer.knowing import CONFIG

LONG = 100.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ptzjepa", "world-model", *arguments]


class Said(NamedTuple):
    """What a command that ran in this process came to."""

    code: int
    out: str
    error: str


WorldModelCommand = Callable[..., Said]


@pytest.fixture
def world_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> WorldModelCommand:
    """Runs a command in this process: to import torch takes longer than most of them."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ptzjepa", "world-model", *arguments])
        monkeypatch.setenv("COLUMNS", "80")
        return Said(main(), *capsys.readouterr())

    return run


def assert_one_clear_line(said: Said, *words: str) -> None:
    assert said.code == 2
    lines = said.error.splitlines()
    assert len(lines) == 1, said.error
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A panorama of blots: the generated scene takes seconds to paint in every process."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    path = tmp_path / "blots.png"
    Image.fromarray(coarse).resize((512, 256), Image.Resampling.BICUBIC).save(path)
    return path


def training(scene: Path, out: Path, minutes: float) -> list[str]:
    # By CPU time, so that a busy machine does as many steps.
    budget = ["--minutes", str(minutes), "--clock", "cpu", "--threads", "1"]
    return ["train", "--panorama", str(scene), *budget, "--out", str(out)]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + LONG
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def card_of(out: Path) -> dict[str, Any]:
    return read_state(out / STATE)[1]


@pytest.mark.timeout(300)
def test_training_is_killed_and_goes_on(tmp_path: Path, scene: Path, world_model: WorldModelCommand) -> None:
    out, card = tmp_path / "run", tmp_path / "card.json"
    asked = training(scene, out, 0.06)
    process = start(*asked)
    wait_for(out / STATE)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LONG)
    before = card_of(out)
    assert not before["finished"]
    assert not (out / MODEL).exists()

    result = world_model(*asked, "--json", str(card))
    assert result.code == 0, result.error
    assert "of 4 s | step" in result.out, "a plain line of progress, where no terminal is"
    after = json.loads(card.read_text())
    assert after["finished"]
    assert after["steps"] > before["steps"] > 0
    assert after["spent_seconds"] > before["spent_seconds"], "what was spent before the kill counts"
    assert after["views_rendered"] > before["views_rendered"]
    _, written = load_checkpoint((out / MODEL).read_bytes())
    assert written["run"]["data"][0]["name"] == "blots"
    assert written["steps"] == after["steps"]

    result = world_model(*asked)
    assert (result.code, "trained already" in result.out) == (0, True)
    assert_one_clear_line(world_model(*asked, "--seed", "1"), "another seed", "--out")
    (out / STATE).unlink()
    assert_one_clear_line(world_model(*asked), MODEL, "no training state")


@pytest.mark.timeout(300)
def test_an_evaluation_has_every_number_and_every_floor(tmp_path: Path, world_model: WorldModelCommand) -> None:
    torch.manual_seed(0)
    model, numbers = tmp_path / MODEL, tmp_path / "numbers.json"
    data = [{"name": "generated-0", "digest": "generated-0", "changes": True}]
    model.write_bytes(save_checkpoint(WorldModel(CONFIG), {"run": {"data": data, "cameras": 0}}))
    place = ["--generated", "--quick", "--stored-views", "210", "--threads", "1"]
    result = world_model("evaluate", "--model", str(tmp_path), *place, "--json", str(numbers))
    assert result.code == 0, result.error
    assert max(map(len, result.out.splitlines())) <= 80
    for words in ("floor: random, linear", "floor: look-up", "floor: oracle warp", "probe_r2.pan", "missed"):
        assert words in result.out
    found = json.loads(numbers.read_text())
    for name in TARGETS:
        top, *rest = name.split(".")
        assert top in found
        assert not rest or found[top] is None or rest[0] in found[top]
    measured = found["places"]["generated-0"]
    assert measured["trained_here"]
    assert measured["views"] == {"fit": 600, "held_out": 300, "walks": 64, "moves": 16, "lookup": 210}
    assert found["rollout_ratio"]["16"] == pytest.approx(1.0, abs=1e-3), "untrained, it is copy-last"
    assert found["rollout_vs_lookup"]["changing"] > 0.0
    assert found["rollout_vs_lookup"]["static"] is None


@pytest.mark.timeout(300)
def test_ctrl_c_saves_what_there_is(tmp_path: Path, scene: Path) -> None:
    process = start(*training(scene, tmp_path, 30.0))
    assert process.stdout is not None
    deadline = time.monotonic() + LONG
    while "step" not in process.stdout.readline():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert card_of(tmp_path)["steps"] >= 1
    assert (tmp_path / MODEL).exists()


def test_nobody_starts_anew_over_a_broken_state(tmp_path: Path, scene: Path, world_model: WorldModelCommand) -> None:
    (tmp_path / STATE).write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 no tensors")
    assert_one_clear_line(world_model(*training(scene, tmp_path, 0.1)), STATE, "cannot be gone on from", "--out")
    assert (tmp_path / STATE).read_bytes().endswith(b"no tensors")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ["--out"]),
        (["train", "--out", "{tmp}/o"], ["no scene", "--panorama"]),
        (["train", "--out", "{tmp}/o", "--generated", "--minutes", "nan"], ["--minutes nan"]),
        (["train", "--out", "{tmp}/o", "--generated", "--preset", "huge"], ["--preset huge", "tiny"]),
        (["train", "--out", "{tmp}/o", "--generated", "--objective", "magic"], ["--objective magic", "vicreg"]),
        (["train", "--out", "{tmp}/o", "--generated", "--clock", "sun"], ["--clock sun", "wall"]),
        (["train", "--out", "{tmp}/o", "--panorama", "{tmp}/none.jpg"], ["none.jpg"]),
        (["evaluate", "--model", "{tmp}/none", "--generated"], ["--model", "none", "world-model train"]),
        (["evaluate", "--model", "{tmp}/m"], ["nothing to evaluate on"]),
        (["evaluate", "--model", "{tmp}/m", "--generated", "--overlaid", "{tmp}/m"], ["--cameras 1"]),
        (["evaluate", "--model", "{tmp}/m", "--views", "{tmp}/few"], ["--views"]),
        (
            ["study", "--out", "{tmp}/o", "--panorama", "{tmp}/picture.png", "--transfer", "{tmp}/picture.png"],
            ["--transfer", "7"],
        ),
    ],
)
def test_bad_input_costs_one_line(
    arguments: list[str], words: list[str], tmp_path: Path, world_model: WorldModelCommand
) -> None:
    (tmp_path / "m").write_bytes(save_checkpoint(WorldModel(CONFIG), {}))
    Image.new("RGB", (64, 32)).save(tmp_path / "picture.png")
    result = world_model(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert_one_clear_line(result, *words)


def test_stored_views_are_held_out_by_time(tmp_path: Path, scene: Path) -> None:
    poses, _ = walking.walk(np.random.default_rng(0), 1, 239)
    images = render(open_scene(scene), poses[0], np.arange(240.0), 32)
    rows = []
    for number, (image, pose) in enumerate(zip(images, poses[0].tolist(), strict=True)):
        name = f"{number:03}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name)
        pan, tilt, zoom = pose
        when = f"2026-05-04T{number // 60:02}:{number % 60:02}:00Z"
        rows.append(json.dumps({"path": name, "pan": pan, "tilt": tilt, "zoom": zoom, "captured_at": when}))
    index = tmp_path / "index.jsonl"
    index.write_text("\n".join(rows) + "\n")
    place = stored_place(index, 32, 60.0)
    assert (place.kind, len(place.fit), len(place.held_out)) == ("stored", 144, 96)
    assert place.fit.seconds.max() < place.held_out.seconds.min()
    assert place.walks.moves == 4, "too few for walks of sixteen"
    assert np.allclose(place.fit.poses.numpy(), poses[0, :144], atol=1e-3)
    apart = (place.fit.images[10].float() - images[10].float()).abs().mean()
    assert apart < 12.0, "the picture of that pose, after a JPEG"
    with pytest.raises(UserError, match="--views: no pictures"):
        stored_place(index, 32, 60.0, "elsewhere")
    index.write_text("\n".join(rows[:100]) + "\n")
    with pytest.raises(UserError, match="100 sound pictures of 100"):
        stored_place(index, 32, 60.0)
