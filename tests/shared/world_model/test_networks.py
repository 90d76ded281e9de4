"""The networks' promises: shapes, geometry of the features, copy-last at birth, checkpoints that refuse bad bytes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.world_model import (
    WorldModel,
    WorldModelConfig,
    action_features,
    decode_images,
    load_checkpoint,
    load_tensors,
    pose_features,
    save_checkpoint,
    save_tensors,
)
from shared.world_model.device import parameter_count

SMALL = WorldModelConfig(image_size=32, widths=(8, 16), summary_hidden=0, embedding_size=16, hidden_size=32, blocks=1)


@pytest.fixture
def model() -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(SMALL)


def jpeg(size: int = 32, value: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, 50, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_the_tiny_preset_is_tiny() -> None:
    assert parameter_count(WorldModel(WorldModelConfig())) <= 1_500_000


def test_a_black_view_is_a_view(model: WorldModel) -> None:
    embedding = model.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).embedding
    assert bool(torch.isfinite(embedding).all())


def test_shapes(model: WorldModel) -> None:
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    encoding = model.encode(images)
    assert encoding.embedding.shape == (5, 16)
    assert encoding.tokens.shape == (5, 256, 8), "the finest map of at most 16 × 16 places"
    poses, actions = torch.rand(5, 4, 3) + 1.0, torch.rand(5, 3, 3)
    prediction = model.predict(encoding.embedding, poses[:, 0], actions[:, 0], poses[:, 1])
    assert prediction.embedding.shape == (5, 16)
    assert prediction.surprise.shape == (5,)
    assert bool((prediction.surprise >= 0).all())
    assert model.rollout(encoding.embedding, poses, actions).shape == (5, 3, 16)


def test_bytes_and_floats_encode_alike(model: WorldModel) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(model.encode(images).embedding, model.encode(images.float() / 255.0).embedding)


def test_untrained_it_predicts_no_change(model: WorldModel) -> None:
    embedding = torch.randn(4, 16)
    pose = torch.tensor([[10.0, 5.0, 1.0]]).expand(4, 3)
    torch.testing.assert_close(model.predict(embedding, pose, torch.ones(4, 3), pose + 1.0).embedding, embedding)


@torch.no_grad()
def test_no_move_means_no_change_however_it_was_trained(model: WorldModel) -> None:
    torch.nn.init.normal_(model.predictor.change.weight)
    embedding = torch.randn(3, 16)
    pose = torch.tensor([[179.9, 5.0, 1.5]]).expand(3, 3)
    nothing = torch.zeros(3, 3)
    assert torch.equal(model.predict(embedding, pose, nothing, pose).embedding, embedding)
    across = pose + torch.tensor([0.2 - 360.0, 0.0, 0.0])
    short = (model.predict(embedding, pose, nothing, across).embedding - embedding).norm()
    far = (model.predict(embedding, pose, nothing, pose + torch.tensor([-40.0, 0.0, 0.0])).embedding - embedding).norm()
    assert 0.0 < float(short) < 0.2 * float(far), "0.2° across the seam is a small move"


@torch.no_grad()
def test_the_same_place_by_less_light_looks_alike(model: WorldModel) -> None:
    bright = torch.rand(2, 3, 32, 32)
    day, dusk = model.encode(bright).embedding, model.encode(0.4 * bright + 0.05).embedding
    other = model.encode(torch.rand(2, 3, 32, 32)).embedding
    assert float((day - dusk).norm()) < 0.2 * float((day - other).norm())


def test_a_rollout_is_its_steps_in_a_row(model: WorldModel) -> None:
    torch.nn.init.normal_(model.predictor.change.weight)
    embedding, poses, actions = torch.randn(2, 16), torch.rand(2, 3, 3) + 1.0, torch.rand(2, 2, 3)
    rolled = model.rollout(embedding, poses, actions)
    first = model.predict(embedding, poses[:, 0], actions[:, 0], poses[:, 1]).embedding
    second = model.predict(first, poses[:, 1], actions[:, 1], poses[:, 2]).embedding
    torch.testing.assert_close(rolled, torch.stack([first, second], dim=1))


def test_the_surprise_head_bends_nothing_but_itself(model: WorldModel) -> None:
    embedding = torch.randn(3, 16, requires_grad=True)
    pose = torch.ones(3, 3)
    model.predict(embedding, pose, pose, pose).log_surprise.sum().backward()
    assert embedding.grad is None
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("judge."))


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(1, 30))
def test_pose_features_close_the_circle_and_stay_bounded(pan: float, tilt: float, zoom: float) -> None:
    here = pose_features(torch.tensor([pan, tilt, zoom], dtype=torch.float64), 4, 3, 2)
    there = pose_features(torch.tensor([pan + 360.0, tilt, zoom], dtype=torch.float64), 4, 3, 2)
    torch.testing.assert_close(here, there)
    assert here.shape == (18,)
    assert bool((here.abs() <= 1.0).all())


@given(st.floats(-90, 90), st.floats(-90, 90))
def test_tilt_features_tell_all_tilts_apart(a: float, b: float) -> None:
    if abs(a - b) < 1e-3 or abs(abs(a - b) - 180.0) < 1e-3:
        return
    features = [pose_features(torch.tensor([0.0, t, 1.0], dtype=torch.float64), 1, 1, 1) for t in (a, b)]
    assert not torch.allclose(*features, atol=1e-9)


def test_small_actions_stay_visible() -> None:
    none, short, jump = (action_features(torch.tensor([pan, 0.0, 0.0])) for pan in (0.0, 0.2, 10.0))
    assert float((short - none).abs().max()) > 0.1
    assert float(jump.abs().max()) == pytest.approx(1.0)
    torch.testing.assert_close(action_features(torch.tensor([-0.2, 0.0, 0.0])), -short)


def test_decode_gives_the_pixels() -> None:
    images = decode_images([jpeg(), jpeg(value=10)], 32)
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert np.allclose(images[0].float().mean(dim=(1, 2)).numpy(), [100, 50, 200], atol=4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a whole JPEG"),
        (b"hello", "not a whole JPEG"),
        (jpeg()[:300], "not a whole JPEG"),
        (jpeg(size=16), "16 × 16 pixels, not 32 × 32"),
    ],
)
def test_decode_says_which_view_is_bad_and_why(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"view 1: {reason}"):
        decode_images([jpeg(), data], 32)


def test_checkpoints_name_the_preset_and_the_objective(model: WorldModel) -> None:
    model.learnt_by = "sigreg+pose"
    _, outer = load_tensors(save_checkpoint(model, {}))
    assert (outer["preset"], outer["objective"]) == ("tiny", "sigreg+pose")


def test_checkpoints_round_trip(model: WorldModel) -> None:
    model.learnt_by = "vicreg+idm"
    torch.nn.init.normal_(model.predictor.change.weight)
    loaded, card = load_checkpoint(save_checkpoint(model, {"parents": ["wm_00_00@3"], "losses": {"total": 0.5}}))
    assert card == {"parents": ["wm_00_00@3"], "losses": {"total": 0.5}}
    assert loaded.config == model.config
    assert loaded.learnt_by == "vicreg+idm"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_checkpoints_refuse_what_does_not_fit(model: WorldModel) -> None:
    good = save_checkpoint(model, {})
    tensors, outer = load_tensors(good)
    for bad, reason in [
        (b"", "not a safetensors file"),
        (good[: len(good) // 2], "not a safetensors file"),
        (save_tensors(tensors, {**outer, "format": "something"}), "format is 'something'"),
        (save_tensors(tensors, {**outer, "format": "ptzjepa-world-model-1"}), "-1', of networks that are no more"),
        (save_tensors(tensors, {**outer, "config": {"image_size": 1}}), "configuration does not fit"),
        (save_tensors({**tensors, "encoder.summary.bias": torch.zeros(3)}, outer), "weights do not fit"),
        (save_tensors({k: v for k, v in tensors.items() if "summary.bias" not in k}, outer), "weights do not fit"),
        (save_tensors({**tensors, "encoder.summary.bias": torch.full((16,), float("nan"))}, outer), "not finite"),
    ]:
        with pytest.raises(ValueError, match=reason):
            load_checkpoint(bad)


def test_broken_weights_are_not_saved(model: WorldModel) -> None:
    with torch.no_grad():
        model.encoder.summary.bias[0] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        save_checkpoint(model, {})


def test_a_card_must_be_json(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(model, {"loss": float("nan")})
    assert json.dumps(load_checkpoint(save_checkpoint(model, {"a": 1}))[1]) == '{"a": 1}'
