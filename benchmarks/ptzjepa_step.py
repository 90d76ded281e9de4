"""PTZJEPA's training step, written from a description of it: what the ``ptzjepa`` preset is measured against.

Networks and arithmetic are PTZJEPA's: ViT-tiny/14 at 224 px, a predictor of 12 blocks of 384, softmax attention
written out, all ordered pairs of a batch of four images with the pairs of an image and itself, every image encoded
once for each pair it is in, one pass more of everything for the reward, raw degrees through a linear layer, float32.
``Thrift`` leaves out what changes no result.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, PATCH, TOKENS = 224, 14, 256
WIDTH, DEPTH, HEADS, PREDICTOR_WIDTH = 192, 12, 3, 384
BATCH, ACCUMULATED, EPOCHS, WARM_UP_EPOCHS = 4, 8, 100, 5
_LIGHT = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_RATES, _DECAYS, _MOMENTA = (2e-6, 1e-4, 1e-6), (0.04, 0.4), (0.8, 1.0)


@dataclass(frozen=True)
class Thrift:
    """What to save, with the same result to rounding.

    ``one_query``: the predictor's 256 query tokens are equal, so one will do that weighs 256 times in the softmax.
    ``once``: every image is encoded once by each encoder, and the reward's pass serves the loss as well.
    """

    one_query: bool = False
    once: bool = False


LITERAL = Thrift()


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        parts = self.qkv(states).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        out: Tensor = self.proj((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))
        return out


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = _Attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        states = states + self.attention(self.norm1(states), bias)
        mixed: Tensor = states + self.mlp(self.norm2(states))
        return mixed


class Encoder(nn.Module):
    """ViT-tiny/14 without a class token; its 256 positions are fixed."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.register_buffer("positions", _grid(WIDTH))
        self.blocks = nn.ModuleList(_Block(WIDTH) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        _initialise(self)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map ``pixels [B, 3, 224, 224]`` to tokens ``[B, 256, 192]``."""
        states = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            states = block(states)
        tokens: Tensor = self.norm(states)
        return tokens


class Predictor(nn.Module):
    """Predicts the tokens and the reward of the view at another position; all of a view's 256 answers are equal."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(WIDTH, PREDICTOR_WIDTH)
        self.here, self.there = nn.Linear(3, PREDICTOR_WIDTH), nn.Linear(3, PREDICTOR_WIDTH)
        self.register_buffer("positions", _grid(PREDICTOR_WIDTH))
        self.blocks = nn.ModuleList(_Block(PREDICTOR_WIDTH) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(PREDICTOR_WIDTH, eps=1e-6)
        self.exit, self.reward = nn.Linear(PREDICTOR_WIDTH, WIDTH), nn.Linear(PREDICTOR_WIDTH, 1)
        _initialise(self)

    def forward(self, tokens: Tensor, here: Tensor, there: Tensor, *, one_query: bool) -> tuple[Tensor, Tensor]:
        """Map ``tokens [B, 256, 192]`` and raw positions ``[B, 3]`` to tokens and reward of the view there.

        These are ``[B, 256, 192]`` and ``[B, 256, 1]``; with one query ``[B, 1, …]``, the same for every token.
        """
        memory = self.entry(tokens) + self.here(here).unsqueeze(1) + self.positions
        queries = 1 if one_query else TOKENS
        asked = self.there(there).unsqueeze(1).expand(-1, queries, -1)
        states = torch.cat([memory, asked], dim=1)
        bias = None
        if one_query:
            bias = states.new_zeros(states.shape[1])
            bias[-1] = math.log(TOKENS)
        for block in self.blocks:
            states = block(states, bias)
        states = self.norm(states[:, -queries:])
        return self.exit(states), self.reward(states)


class Values(nn.Module):
    """PTZJEPA's agent: what each of 21 moves is worth, the mean over 256 tokens."""

    positions: Tensor

    def __init__(self, actions: int = 21) -> None:
        super().__init__()
        self.entry, self.here = nn.Linear(WIDTH, PREDICTOR_WIDTH), nn.Linear(3, PREDICTOR_WIDTH)
        self.register_buffer("positions", _grid(PREDICTOR_WIDTH))
        self.blocks = nn.ModuleList(_Block(PREDICTOR_WIDTH) for _ in range(DEPTH))
        self.norm, self.exit = nn.LayerNorm(PREDICTOR_WIDTH, eps=1e-6), nn.Linear(PREDICTOR_WIDTH, actions)
        _initialise(self)

    def forward(self, tokens: Tensor, here: Tensor) -> Tensor:
        """Map ``tokens [B, 256, 192]`` and raw positions ``[B, 3]`` to values ``[B, 21]``."""
        states = self.entry(tokens) + self.here(here).unsqueeze(1) + self.positions
        for block in self.blocks:
            states = block(states)
        values: Tensor = self.exit(self.norm(states)).mean(dim=1)
        return values


@dataclass(frozen=True)
class Losses:
    """What one micro-step came to: the two losses, and the mean absolute gradient that is the reward."""

    tokens: float
    reward: float
    gradient: float


class PtzjepaStep:
    """Encoder, target encoder, predictor and optimiser; ``micro_step`` is what PTZJEPA does with four images.

    ``micro_steps_per_epoch``: what the schedules of learning rate, weight decay and momentum are counted in.
    """

    def __init__(self, thrift: Thrift = LITERAL, *, micro_steps_per_epoch: int = 105) -> None:
        self.thrift = thrift
        self.encoder, self.predictor = Encoder(), Predictor()
        self.target = copy.deepcopy(self.encoder)
        weights = [*self.encoder.parameters(), *self.predictor.parameters()]
        matrices, vectors = [each for each in weights if each.ndim > 1], [each for each in weights if each.ndim <= 1]
        self.optimizer = torch.optim.AdamW(matrices)
        self.optimizer.add_param_group({"params": vectors, "weight_decay": 0.0})
        self._per_epoch = micro_steps_per_epoch
        self.done = 0

    def micro_step(self, images: Tensor, positions: Tensor) -> Losses:
        """Learn from ``images [4, 3, 224, 224]``, floats in [0, 1], seen at ``positions [4, 3]``, all pairs of them."""
        context, target = _pairs(len(images))
        pixels = normalise(images)
        here, there = positions[context], positions[target]
        if self.thrift.once:
            losses = self._thrifty(pixels, context, target, here, there)
        else:
            losses = self._literal(pixels[context], pixels[target], here, there)
        if self.done % ACCUMULATED == 0:
            self._schedule()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._follow()
        self.done += 1
        return losses

    def _literal(self, context: Tensor, target: Tensor, here: Tensor, there: Tensor) -> Losses:
        seen = _normal(self.target(target))
        with torch.no_grad():
            guessed, _ = self._predict(self.encoder(context), here, there)
        gradient = self._pull(guessed, seen)
        with torch.no_grad():
            seen = _normal(self.target(target))
        return self._learn(*self._predict(self.encoder(context), here, there), seen, gradient)

    def _thrifty(self, pixels: Tensor, context: Tensor, target: Tensor, here: Tensor, there: Tensor) -> Losses:
        seen = _normal(self.target(pixels))[target]
        guessed, reward = self._predict(self.encoder(pixels)[context], here, there)
        gradient = self._pull(guessed.detach(), seen)
        return self._learn(guessed, reward, seen.detach(), gradient)

    def _predict(self, tokens: Tensor, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        guessed, reward = self.predictor(tokens, here, there, one_query=self.thrift.one_query)
        return guessed.expand(-1, TOKENS, -1), reward.expand(-1, TOKENS, -1)

    def _pull(self, guessed: Tensor, seen: Tensor) -> Tensor:
        """Return the mean absolute gradient that the error exerts on the target encoder."""
        torch.autograd.backward(F.smooth_l1_loss(guessed, seen))
        gradients = [each.grad.abs().sum() for each in self.target.parameters() if each.grad is not None]
        self.target.zero_grad()
        return torch.stack(gradients).sum() / count(self.target)

    def _learn(self, guessed: Tensor, reward: Tensor, seen: Tensor, gradient: Tensor) -> Losses:
        tokens, rewards = F.smooth_l1_loss(guessed, seen), F.smooth_l1_loss(reward, gradient.expand_as(reward))
        torch.autograd.backward(tokens + rewards)
        return Losses(float(tokens.detach()), float(rewards.detach()), float(gradient))

    def _schedule(self) -> None:
        progress, warm_up = self.done / (EPOCHS * self._per_epoch), WARM_UP_EPOCHS * self._per_epoch
        if self.done < warm_up:
            rate = _RATES[0] + (_RATES[1] - _RATES[0]) * self.done / warm_up
        else:
            rate = _cosine(_RATES[1], _RATES[2], (self.done - warm_up) / (EPOCHS * self._per_epoch - warm_up))
        matrices, vectors = self.optimizer.param_groups
        matrices["lr"] = vectors["lr"] = rate
        matrices["weight_decay"] = _cosine(*_DECAYS, progress)

    @torch.no_grad()
    def _follow(self) -> None:
        momentum = _MOMENTA[0] + (_MOMENTA[1] - _MOMENTA[0]) * self.done / (EPOCHS * self._per_epoch)
        for slow, fast in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            slow.mul_(momentum).add_((1.0 - momentum) * fast)


def normalise(images: Tensor) -> Tensor:
    """Return ``images [B, 3, S, S]``, floats in [0, 1], as the encoders read them."""
    mean, deviation = (images.new_tensor(each)[:, None, None] for each in _LIGHT)
    return (images - mean) / deviation


def count(module: nn.Module) -> int:
    """Return how many numbers a network learns; the tables of positions are not among them."""
    return sum(each.numel() for each in module.parameters())


def _pairs(images: int) -> tuple[Tensor, Tensor]:
    context, target = torch.meshgrid(torch.arange(images), torch.arange(images), indexing="ij")
    return context.flatten(), target.flatten()


def _normal(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _grid(width: int) -> Tensor:
    """Return the fixed sine-cosine table ``[256, width]`` of the 16 × 16 patches."""
    scales = 10_000.0 ** (-torch.arange(width // 4) / (width // 4))
    place = torch.arange(SIDE // PATCH).float()
    wave = torch.cat([wave(place[:, None] * scales) for wave in (torch.sin, torch.cos)], dim=1)
    side = len(place)
    rows, columns = wave[:, None].expand(side, side, -1), wave[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
