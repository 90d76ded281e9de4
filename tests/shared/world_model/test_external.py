"""Frozen encoders from outside: any module, never trained, and known again by its weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shared.world_model import WorldModel, WorldModelConfig, load_checkpoint, save_checkpoint

CONFIG = WorldModelConfig(
    image_size=32, encoder="external", external="patches", external_tokens=16, external_width=12, embedding_size=8
)


class Patches(nn.Module):
    """An encoder as others might bring it: tokens ``[B, 16, 12]``, with dropout that must stay off."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.patches(images).flatten(2).transpose(1, 2))
        return out


def pooled() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(1), nn.Linear(12, 8))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_tokens_come_from_outside_and_their_summary_is_learnt() -> None:
    network = Patches()
    model = WorldModel(CONFIG, external=network).train()
    images = torch.rand(2, 3, 32, 32)
    encoding = model.encode(images)
    torch.testing.assert_close(encoding.tokens, network.patches(images).flatten(2).transpose(1, 2))
    encoding.embedding.sum().backward()
    assert model.encoder.summary.summary.weight.grad is not None
    assert all(not weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert not network.training


def test_an_embedding_is_taken_as_it_is() -> None:
    network = pooled()
    config = CONFIG.model_copy(update={"external_tokens": 0, "external_width": 8})
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    encoding = WorldModel(config, external=network).encode(images)
    torch.testing.assert_close(encoding.embedding, network(images / 255.0))
    assert encoding.tokens.shape == (2, 1, 8)


def test_a_network_of_another_shape_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"returned \(2, 8\), not \[B, 16, 12\]"):
        WorldModel(CONFIG, external=pooled()).encode(torch.rand(2, 3, 32, 32))


def test_it_must_be_given_where_it_is_needed_and_only_there() -> None:
    with pytest.raises(ValueError, match="needs the external encoder 'patches', and none was given"):
        WorldModel(CONFIG)
    with pytest.raises(ValueError, match="has its own"):
        WorldModel(WorldModelConfig(), external=Patches())


def test_a_checkpoint_leaves_it_out_and_knows_it_again() -> None:
    network = Patches()
    model = WorldModel(CONFIG, external=network)
    data = save_checkpoint(model, {})
    loaded, _ = load_checkpoint(data, external=network)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded.encode(images).embedding, model.encode(images).embedding)
    with pytest.raises(ValueError, match="not the 'patches' that this world model learnt with"):
        load_checkpoint(data, external=Patches())
    with pytest.raises(ValueError, match="needs the external encoder 'patches'"):
        load_checkpoint(data)


def test_a_checkpoint_can_hold_its_weights() -> None:
    model = WorldModel(CONFIG, external=Patches())
    data = save_checkpoint(model, {}, with_external=True)
    assert len(data) > len(save_checkpoint(model, {}))
    loaded, _ = load_checkpoint(data, external=Patches())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded.encode(images).tokens, model.encode(images).tokens)
