"""The token predictor: its answers differ from token to token, where PTZJEPA's were all the same."""

from __future__ import annotations

import pytest
import torch

from shared.world_model import Encoding, WorldModel
from shared.world_model.predictor import normal_tokens
from shared.world_model.transformer import Block, VisionTransformer, attend, grid_positions
from tests.shared.world_model.networks import tokens_config


@pytest.fixture
def model() -> WorldModel:
    """Return a world model that foresees some change, as if trained."""
    torch.manual_seed(0)
    model = WorldModel(tokens_config()).eval()
    for layer in (model.predictor.change, model.predictor.token_change):
        torch.nn.init.normal_(layer.weight)
    with torch.no_grad():  # attention that was just drawn looks everywhere alike
        for weight in model.predictor.blocks.parameters():
            weight *= 5.0
    return model


def draw(views: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    poses = torch.rand(views, 3) * torch.tensor([60.0, 30.0, 1.0]) + 1.0
    return torch.randn(views, 16), torch.randn(views, 16, 24), poses


@torch.no_grad()
def test_different_tokens_get_different_vectors(model: WorldModel) -> None:
    embedding, _, pose = draw()
    # Tokens that are all alike: only the position of what is asked for can make the answers differ.
    alike = torch.randn(3, 1, 24).expand(3, 16, 24)
    foreseen = model.predict(embedding, pose, torch.ones(3, 3), pose + 5.0, alike).tokens
    assert foreseen is not None
    change = foreseen - normal_tokens(alike)
    distance = torch.cdist(change, change) + torch.eye(16) * 1e9
    assert float(distance.min()) > 0.01 * float(change.norm(dim=-1).mean()), "no two tokens get the same"


@torch.no_grad()
def test_where_a_token_stood_matters(model: WorldModel) -> None:
    embedding, tokens, pose = draw()
    next_pose = pose + 5.0
    one = model.predict(embedding, pose, torch.ones(3, 3), next_pose, tokens).embedding
    other = model.predict(embedding, pose, torch.ones(3, 3), next_pose, tokens.flip(1)).embedding
    assert float((one - other).norm()) > 1e-3 * float(one.norm())


@torch.no_grad()
def test_no_move_means_no_change_of_the_map(model: WorldModel) -> None:
    embedding, tokens, pose = draw()
    foreseen = model.predict(embedding, pose, torch.zeros(3, 3), pose, tokens)
    assert torch.equal(foreseen.embedding, embedding)
    assert foreseen.tokens is not None
    assert torch.equal(foreseen.tokens, normal_tokens(tokens))


@torch.no_grad()
def test_without_a_map_it_foresees_none(model: WorldModel) -> None:
    embedding, _, pose = draw()
    assert model.predict(embedding, pose, torch.ones(3, 3), pose + 5.0).tokens is None


@torch.no_grad()
def test_all_pairs_at_once_are_the_pairs_one_by_one(model: WorldModel) -> None:
    views = [draw(4) for _ in range(2)]
    embedding, tokens, poses = (torch.stack(parts) for parts in zip(*views, strict=True))
    poses[:, 1, 0] = -175.0
    poses[:, 2, 0] = 175.0
    places = torch.tensor([14, 3, 7])
    pairs = model.predict_pairs(Encoding(tokens, embedding), poses, places)
    assert pairs.tokens is not None
    assert pairs.tokens.shape == (2, 4, 4, 3, 24)
    for start in range(4):
        for end in range(4):
            action = poses[:, end] - poses[:, start]
            action[:, 0] = (action[:, 0] + 180.0) % 360.0 - 180.0
            alone = model.predict(embedding[:, start], poses[:, start], action, poses[:, end], tokens[:, start])
            torch.testing.assert_close(pairs.embedding[:, start, end], alone.embedding, atol=1e-4, rtol=1e-4)
            assert alone.tokens is not None
            torch.testing.assert_close(pairs.tokens[:, start, end], alone.tokens[:, places], atol=1e-4, rtol=1e-4)


def test_an_error_of_the_map_does_not_teach_views_to_look_alike(model: WorldModel) -> None:
    embedding, tokens, pose = draw()
    tokens.requires_grad_()
    torch.nn.init.zeros_(model.predictor.token_change.weight)
    foreseen = model.predict(embedding, pose, torch.ones(3, 3), pose + 5.0, tokens).tokens
    assert foreseen is not None
    foreseen.sum().backward()
    assert tokens.grad is None or not bool(tokens.grad.any()), "what is copied carries no gradient"


def test_it_learns_what_no_single_vector_could_say() -> None:
    torch.manual_seed(0)
    model = WorldModel(tokens_config())
    target = normal_tokens(torch.randn(16, 24))
    optimizer = torch.optim.Adam(model.predictor.parameters(), lr=3e-3)
    for _ in range(60):
        embedding, _, pose = draw()
        foreseen = model.predict(embedding, pose, torch.ones(3, 3), pose + 5.0, torch.zeros(3, 16, 24)).tokens
        assert foreseen is not None
        error = (foreseen - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    floor = float((target - target.mean(dim=0)).square().mean())
    assert error.item() < 0.5 * floor, "the best single vector for all tokens is the mean of them"


def test_no_two_places_share_a_position() -> None:
    for tokens, width in ((256, 384), (16, 48), (7, 50)):
        positions = grid_positions(tokens, width)
        assert positions.shape == (tokens, width)
        assert float((torch.cdist(positions, positions) + torch.eye(tokens) * 9.0).min()) > 1e-2


@torch.no_grad()
def test_the_encoder_knows_where_its_patches_are() -> None:
    torch.manual_seed(0)
    encoder = VisionTransformer(tokens_config())
    flat = encoder(torch.ones(1, 3, 32, 32)).tokens[0]
    assert float((torch.cdist(flat, flat) + torch.eye(16) * 9.0).min()) > 1e-3, "equal patches, different tokens"


@torch.no_grad()
def test_queries_change_nothing_but_themselves() -> None:
    torch.manual_seed(0)
    block, states = Block(24, 3), torch.randn(2, 7, 24)
    whole = block(states, 4)
    torch.testing.assert_close(whole[:, :4], block(states[:, :4]))
    torch.testing.assert_close(whole[:, 5:6], block(states[:, [0, 1, 2, 3, 5]], 4)[:, 4:])
    torch.testing.assert_close(whole[:, 4:], block(states, 4, last=True))


def test_attention_is_the_same_in_either_precision() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, count, 16, requires_grad=True) for count in (9, 5, 5)]
    halves = [part.detach().bfloat16().requires_grad_() for part in parts]
    whole, half = attend(*parts), attend(*halves)
    torch.testing.assert_close(half.float(), whole, atol=0.03, rtol=0.03)
    weights = torch.randn_like(whole)
    (whole * weights).sum().backward()
    (half * weights.bfloat16()).sum().backward()
    for part, rounded in zip(parts, halves, strict=True):
        torch.testing.assert_close(rounded.grad.float(), part.grad, atol=0.1, rtol=0.1)
