"""Presets, and what a configuration refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shared.world_model import WorldModel, WorldModelConfig, autocast, save_checkpoint
from shared.world_model.device import bf16_is_fast, parameter_count
from tests.shared.world_model.networks import tokens_config


@pytest.mark.parametrize("size", [64, 80, 96])
def test_tiny_is_tiny(size: int) -> None:
    model = WorldModel(WorldModelConfig.from_preset("tiny", image_size=size))
    assert parameter_count(model) <= 1_500_000
    assert model.config.preset == "tiny"


def test_the_defaults_are_tiny() -> None:
    assert WorldModelConfig() == WorldModelConfig.from_preset("tiny")


def test_small_is_larger_and_as_conventional() -> None:
    config = WorldModelConfig.from_preset("small")
    assert (config.preset, config.image_size, config.predictor) == ("small", 96, "mlp")
    assert 2_000_000 < parameter_count(WorldModel(config)) < 20_000_000


@torch.no_grad()
def test_ptzjepa_has_the_sizes_of_ptzjepa() -> None:
    with torch.device("meta"):
        model = WorldModel(WorldModelConfig.from_preset("ptzjepa"))
    assert parameter_count(model.encoder) - parameter_count(model.encoder.summary) == 5_451_840, "ViT-tiny/14"
    assert (model.encoder.tokens, model.encoder.token_width) == (256, 192)
    assert len(model.predictor.blocks) == 12
    assert parameter_count(model.predictor.blocks) == 12 * 1_774_464, "blocks of width 384"
    assert model.config.pairs


@torch.no_grad()
def test_ptzjepa_encodes_and_foresees_at_full_size() -> None:
    torch.manual_seed(0)
    model = WorldModel(WorldModelConfig.from_preset("ptzjepa", encoder_depth=1, blocks=1)).eval()
    encoding = model.encode(torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8))
    assert encoding.tokens.shape == (1, 256, 192)
    assert encoding.embedding.shape == (1, 192)
    pose = torch.ones(1, 3)
    foreseen = model.predict(encoding.embedding, pose, pose, pose + 1.0, encoding.tokens)
    assert foreseen.tokens is not None
    assert foreseen.tokens.shape == (1, 256, 192)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("huge", {}, "no preset 'huge': there are tiny, small, ptzjepa"),
        ("tiny", {"image_size": 8}, "image_size: Input should be greater"),
        ("tiny", {"surprise": "joy"}, "surprise: Input should be 'error'"),
        ("tiny", {"width": 9}, "width: Extra inputs"),
        ("ptzjepa", {"image_size": 64}, "64 is no multiple of patch_size 14"),
        ("ptzjepa", {"encoder_heads": 5}, "192 is no multiple of 4 × encoder_heads"),
        ("ptzjepa", {"predictor_heads": 5}, "384 is no multiple of predictor_heads"),
        ("tiny", {"encoder": "external"}, "needs a name"),
        ("tiny", {"encoder": "external", "external": "x", "external_width": 9}, "9 is not embedding_size 128"),
        (
            "tiny",
            {"encoder": "external", "external": "x", "external_width": 9, "zoom_channel": True},
            "reads three channels",
        ),
        (
            "tiny",
            {"encoder": "external", "external": "x", "external_width": 128, "surprise": "gradient"},
            "needs an encoder that learns",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        WorldModelConfig.from_preset(name, **changes)
    assert "\n" not in str(caught.value)


def test_every_size_is_a_field() -> None:
    config = WorldModelConfig.from_preset(
        "tiny",
        widths=(8, 16),
        embedding_size=24,
        hidden_size=40,
        blocks=3,
        pan_harmonics=2,
        tilt_harmonics=3,
        zoom_harmonics=1,
    )
    model = WorldModel(config)
    assert model.predictor.condition[0].in_features == 4 * (2 + 3 + 1) + 6
    assert model.encode(torch.rand(2, 3, 64, 64)).embedding.shape == (2, 24)
    assert len(model.predictor.blocks) == 3


@pytest.mark.parametrize("kind", ["conv", "tokens"])
@torch.no_grad()
def test_zoom_as_a_fourth_channel_needs_the_pose_and_heeds_it(kind: str) -> None:
    torch.manual_seed(0)
    config = tokens_config(zoom_channel=True) if kind == "tokens" else WorldModelConfig(zoom_channel=True)
    model = WorldModel(config).eval()
    images = torch.rand(2, 3, config.image_size, config.image_size)
    with pytest.raises(ValueError, match="encode needs the poses"):
        model.encode(images)
    wide, narrow = (model.encode(images, torch.tensor([[10.0, 5.0, zoom]] * 2)).embedding for zoom in (1.0, 3.0))
    turned = model.encode(images, torch.tensor([[90.0, 50.0, 1.0]] * 2)).embedding
    assert not torch.equal(wide, narrow)
    assert torch.equal(wide, turned), "zoom and nothing else"


def test_pixels_alone_by_default() -> None:
    model, images = WorldModel(WorldModelConfig()), torch.rand(1, 3, 64, 64)
    assert model.pixels(images, torch.tensor([[10.0, 5.0, 3.0]])).shape[1] == 3


@torch.no_grad()
def test_normal_embeddings_have_no_mean_and_unit_variance() -> None:
    model = WorldModel(WorldModelConfig(normal_embedding=True))
    embedding = model.encode(torch.rand(4, 3, 64, 64)).embedding
    torch.testing.assert_close(embedding.mean(dim=-1), torch.zeros(4), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(embedding.var(dim=-1, correction=0), torch.ones(4), atol=1e-2, rtol=0.0)


@pytest.mark.parametrize("kind", ["conv", "tokens"])
@torch.no_grad()
def test_half_precision_is_close_to_full(kind: str) -> None:
    torch.manual_seed(0)
    model = WorldModel(tokens_config() if kind == "tokens" else WorldModelConfig()).eval()
    torch.nn.init.normal_(model.predictor.change.weight, std=0.05)
    size = model.config.image_size
    images, pose = torch.rand(4, 3, size, size), torch.rand(4, 3) * 20.0 + 1.0
    full = model.encode(images)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.encode(images)
        foreseen = model.predict(half.embedding, pose, pose, pose + 3.0, half.tokens)
    expected = model.predict(full.embedding, pose, pose, pose + 3.0, full.tokens)
    for ours, theirs in ((half.embedding, full.embedding), (foreseen.embedding, expected.embedding)):
        assert float((ours.float() - theirs).norm()) < 0.05 * float(theirs.norm())
    with autocast(torch.device("cpu")):
        dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert dtype == (torch.bfloat16 if bf16_is_fast(torch.device("cpu")) else torch.float32)


def test_the_same_seed_draws_the_same_networks() -> None:
    def born(seed: int) -> bytes:
        torch.manual_seed(seed)
        return save_checkpoint(WorldModel(tokens_config(surprise="disagreement")), {})

    assert born(3) == born(3)
    assert born(3) != born(4)
