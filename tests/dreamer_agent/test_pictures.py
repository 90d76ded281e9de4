"""The decoder that nobody needs, and the filmstrip that it makes of dreams."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dreamer_agent.agents import RandomAgent
from dreamer_agent.dream_service import DreamGenerator
from dreamer_agent.film import HOLD, write_film
from dreamer_agent.pictures import Painter, filmstrip
from shared.actions import DEFAULT_ACTIONS
from shared.world_model import WorldModel, save_tensors
from shared.world_model.decoder import Decoder, DecoderConfig, load_decoder, save_decoder
from tests.dreamer_agent.conftest import TINY, System, eventually, running, sample
from tests.dreamer_agent.worlds import toy_dreams


def test_it_learns_to_paint_without_touching_the_world_model() -> None:
    torch.manual_seed(0)
    model = WorldModel(TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.zeros(16, 3, 32, 32, dtype=torch.uint8)
    images[:8, 0], images[8:, 2] = 255, 255
    poses = torch.tensor([[0.0, 0.0, 1.0]] * 8 + [[90.0, 0.0, 1.0]] * 8)
    painter = Painter(TINY.embedding_size, 32, seed=0)
    embedding = model.encode(images, poses).embedding
    first = painter.learn(embedding, poses, images)
    for _ in range(30):
        last = painter.learn(embedding, poses, images)
    assert last < 0.1 * first
    painted = painter.decoder(embedding, poses).detach()
    assert painted.shape == (16, 3, 32, 32)
    assert float(painted[:8, 0].mean()) > 0.8 > 0.2 > float(painted[8:, 0].mean())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("size", [8, 20, 64])
def test_a_decoder_survives_its_file(size: int) -> None:
    decoder = Decoder(DecoderConfig(embedding_size=5, image_size=size)).eval()
    again, card = load_decoder(save_decoder(decoder, {"world_model": "wm_00_00"}))
    assert card["world_model"] == "wm_00_00"
    seen = torch.randn(2, 5), torch.zeros(2, 3)
    assert torch.equal(again(*seen), decoder(*seen))
    assert again(*seen).shape == (2, 3, size, size)


def test_files_that_are_no_decoders_are_refused_with_the_reason() -> None:
    for data, reason in (
        (b"", "safetensors"),
        (save_tensors({}, {"format": "x"}), "format is 'x'"),
        (save_tensors({}, {"format": "ptzjepa-decoder-1", "config": {"embedding_size": 4}}), "not a decoder: Error"),
        (save_tensors({}, {"format": "ptzjepa-decoder-1"}), "not a decoder"),
    ):
        with pytest.raises(ValueError, match=reason):
            load_decoder(data)


def test_a_filmstrip_has_a_row_a_dream_and_a_picture_a_view() -> None:
    dreams = toy_dreams(RandomAgent(21), count=3, length=4)
    decoder = Decoder(DecoderConfig(embedding_size=8, image_size=16))
    strip = filmstrip(dreams, decoder, DEFAULT_ACTIONS, scale=2)
    assert strip.size == (5 * 34 - 2, 3 * (32 + 16) - 2)
    frame = decoder(dreams.embeddings[1, 2:3].float(), dreams.poses[1, 2:3])[0].detach() * 255.0
    shown = np.asarray(strip)[48:80, 68:100].mean(axis=(0, 1))
    assert shown.tolist() == pytest.approx(frame.mean(dim=(1, 2)).tolist(), abs=2.0)
    with pytest.raises(ValueError, match="reads embeddings of 9"):
        filmstrip(dreams, Decoder(DecoderConfig(embedding_size=9)), DEFAULT_ACTIONS)


def test_a_film_shows_the_columns_of_the_strip_one_after_the_other(tmp_path: Path) -> None:
    dreams = toy_dreams(RandomAgent(21), count=2, length=3)
    strip = filmstrip(dreams, Decoder(DecoderConfig(embedding_size=8, image_size=17)), DEFAULT_ACTIONS, scale=1)
    colours = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (200, 200, 200)]
    for place, colour in enumerate(colours):
        strip.paste(colour, (place * 19, 0, place * 19 + 17, strip.height))
    assert write_film(tmp_path / "film.mp4", strip, 4)
    with av.open(str(tmp_path / "film.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 4 * HOLD
    assert shown[0].shape[:2] == (strip.height, 18)
    for frame, colour in zip(shown[::HOLD], colours, strict=True):
        assert frame[2:-2, 2:15].mean(axis=(0, 1)).tolist() == pytest.approx(colour, abs=12.0)
    with pytest.raises(OSError, match="directory"):
        write_film(tmp_path / "none" / "film.mp4", strip, 4)


def test_without_pyav_there_is_no_film_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert not write_film(tmp_path / "film.mp4", Image.new("RGB", (40, 20)), 2)
    assert not list(tmp_path.iterdir())


async def test_the_newest_dreams_can_be_shown(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "strip.png"
    for name, value in system.environment.items():
        monkeypatch.setenv(f"PTZ_{name.upper()}", value)
    code, error = await shown(out)
    assert (code, "nobody has dreamt yet" in error) == (2, True)
    code, error = await shown(out.with_suffix(".mp4"))
    assert (code, "name the PNG" in error) == (2, True)
    await system.commit_world_model()
    await system.publish_views(20)
    async with running(DreamGenerator(system.dream_settings())) as service:
        await eventually(lambda: sample(service, "dreams_total") >= 8, "dreams")
    code, error = await shown(out)
    assert (code, "PTZ_DREAM_PICTURES" in error) == (2, True)
    async with running(DreamGenerator(system.dream_settings(dream_pictures=True))) as service:
        await eventually(lambda: sample(service, "decoder_error") > 0.0, "a lesson")
        await eventually(lambda: system.store.files("decoders/wm_00_00"), "a decoder")
    assert await shown(out) == (0, "")
    with Image.open(out) as strip:
        assert strip.format == "PNG"
        assert strip.size == (5 * 66 - 2, 6 * 80 - 2)
    with av.open(str(out.with_suffix(".mp4"))) as container:
        assert container.streams.video[0].frames == 5 * HOLD


async def shown(out: Path) -> tuple[int, str]:
    """Run the command in a process of its own, as people do; return its exit code and what it said of errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ptzjepa", "dream", "show", "--out", str(out), stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in error
    return process.returncode, error.decode()
