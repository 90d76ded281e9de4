"""Dots that move under known actions before a changing or a fixed background, drawn in batches on the device.

The data of Sobal et al., "Joint Embedding Predictive Architectures Focus on Slow Features", 2022 (arXiv 2211.10831).
A dot of deviation σ at x is exp(−|p − x|²/2σ²) / (2πσ²) at pixel p: the outer product of two vectors. It begins
anywhere in [2σ, 27 − 2σ]², moves by its actions and stops at that box. An action has a length from U(0, 4) pixels and
a direction from VonMises(heading, κ = 0.2), with one uniform heading a trajectory.

Noise of level n adds n times the dot's peak times an overlay in [0, 1], drawn anew for every frame (``noise``) or once
a trajectory (``static_noise``). Overlays are uniform noise, of 8 bits a pixel, or pictures (``backgrounds``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.laboratory.moving_dots.backgrounds import Backgrounds

SIDE = 28
MAX_STEP, CONCENTRATION = 4.0, 0.2
"""Pixels, and the κ of directions around a trajectory's heading: nearly isotropic."""
ACTION_SCALE = 0.4102 * MAX_STEP
"""Pixels that an action is divided by before anybody sees it: about its deviation along one axis."""
_ANGLES = 4096
_MOVING = 2
"""Dots that move, at most."""
_STATISTICS_SEED, _STATISTICS_TRAJECTORIES = 20_221, 2048


class DotsConfig(BaseModel):
    """What is drawn. ``dots``: one, or three of which the second moves by actions of its own and the third rests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=17, ge=2, le=256, description="frames of a trajectory")
    dots: Literal[1, 3] = 1
    channels: Literal[1, 3] = Field(default=1, description="three dots: one picture, or one each")
    dot_std: float = Field(default=1.3, gt=0.1, le=4.0, description="pixels")
    noise: float = Field(default=0.0, ge=0.0, description="level of the changing overlay")
    static_noise: float = Field(default=0.0, ge=0.0, description="level of the fixed overlay")
    static_noise_speed: float = Field(default=0.0, ge=0.0, description="pixels a frame that the fixed overlay rolls")
    structured_noise: bool = Field(default=False, description="overlays are pictures")
    normalize: bool = Field(default=True, description="to zero mean and unit deviation over many pictures")

    @property
    def margin(self) -> float:
        """How near a dot comes to the border, in pixels."""
        return 2.0 * self.dot_std

    @property
    def peak(self) -> float:
        """Brightness of a dot's middle: the unit of noise."""
        return 1.0 / (2.0 * math.pi * self.dot_std**2)

    @property
    def location_scale(self) -> float:
        """Deviation of a location along one axis if it were uniform, in pixels."""
        return (SIDE - 1 - 2.0 * self.margin) / math.sqrt(12.0)


@dataclass(frozen=True)
class Dots:
    """A batch: ``states [B, K, C, 28, 28]`` of the frames ``frames [K]`` int64, the first one among them; ``actions
    [B, T−1, N, 2]`` in ``ACTION_SCALE``, ``locations [B, T, N, 2]`` in pixels, x before y, of all ``T`` frames. ``N``
    dots; the model may see the first one's actions only.
    """

    states: Tensor
    actions: Tensor
    locations: Tensor
    frames: Tensor

    def __len__(self) -> int:
        return len(self.states)


class MovingDots:
    """Draws batches from a stream of its own. ``backgrounds`` are needed for structured noise: ``ValueError`` else."""

    def __init__(
        self,
        config: DotsConfig,
        seed: int,
        *,
        backgrounds: Backgrounds | None = None,
        device: torch.device | None = None,
    ) -> None:
        if config.structured_noise and backgrounds is None:
            raise ValueError("structured noise needs pictures")
        if config.channels > config.dots:
            raise ValueError("one dot has one channel")
        self.config, self.device = config, device or torch.device("cpu")
        self._backgrounds = None if backgrounds is None else backgrounds.to(self.device)
        self._quantiles = heading_quantiles().to(self.device)
        self._pixels = torch.arange(SIDE, device=self.device, dtype=torch.float32)
        self._mean, self._deviation = 0.0, 1.0
        if config.normalize:
            self._mean, self._deviation = self._statistics()
        self._generator = self._seeded(seed)

    def draw(self, batch: int, pairs: int | None = None) -> Dots:
        """Draw ``batch`` trajectories; of their pictures all, or the first and some ``pairs`` of neighbours or none."""
        frames = self._frames(pairs)
        start, actions = self._walks(batch, self.config.dots)
        places = self.follow(start, actions)
        shown = places if len(frames) == self.config.steps else places[:, frames]
        states = self._pictures(shown, frames.tolist(), self.config.channels)
        return Dots(states, actions / ACTION_SCALE, places, frames)

    def _statistics(self) -> tuple[float, float]:
        """Return mean and deviation of pictures of one dot with its noise."""
        self._generator = self._seeded(_STATISTICS_SEED)
        places = self.follow(*self._walks(_STATISTICS_TRAJECTORIES, 1))
        states = self._pictures(places, list(range(self.config.steps)), 1)
        return float(states.mean()), float(states.std())

    def _seeded(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator, device=self.device)

    def _frames(self, pairs: int | None) -> Tensor:
        """Return which frames are drawn, in order: all, or the first and ``pairs`` of neighbours without overlap."""
        moves = self.config.steps - 1
        if pairs is None or 2 * pairs >= moves:
            return torch.arange(moves + 1, device=self.device)
        shift = int(torch.randint(2, (), generator=self._generator, device=self.device))
        places = (moves - shift) // 2
        chosen = torch.randperm(places, generator=self._generator, device=self.device)[:pairs].sort().values
        first = 2 * chosen + 1 + shift
        return torch.cat([first.new_zeros(1), torch.stack([first, first + 1], dim=1).flatten()])

    def _walks(self, batch: int, dots: int) -> tuple[Tensor, Tensor]:
        """Return where dots begin ``[B, N, 2]``, and their actions ``[B, T−1, N, 2]``, in pixels. The third rests."""
        low, high = self.config.margin, SIDE - 1 - self.config.margin
        start = low + (high - low) * self._uniform(batch, dots, 2)
        moves, moving = self.config.steps - 1, min(dots, _MOVING)
        heading = 2.0 * math.pi * self._uniform(batch, 1, moving)
        place = self._uniform(batch, moves, moving) * _ANGLES
        cell = place.long().clamp_max_(_ANGLES - 1)
        angle = heading + torch.lerp(self._quantiles[cell], self._quantiles[cell + 1], place - cell)
        length = MAX_STEP * self._uniform(batch, moves, moving, 1)
        actions = length * torch.stack([angle.cos(), angle.sin()], dim=-1)
        return start, F.pad(actions, (0, 0, 0, dots - moving))

    def follow(self, start: Tensor, actions: Tensor) -> Tensor:
        """Return where ``actions [B, T−1, …, 2]`` lead from ``start [B, …, 2]``, in pixels: ``[B, T, …, 2]``."""
        low, high = self.config.margin, SIDE - 1 - self.config.margin
        places = [start]
        for action in actions.unbind(1):
            places.append((places[-1] + action).clamp_(low, high))
        return torch.stack(places, dim=1)

    def _pictures(self, places: Tensor, frames: list[int], channels: int) -> Tensor:
        """Draw the dots at ``places [B, K, N, 2]`` with their noise, normalised: ``[B, K, C, 28, 28]``.

        A channel shows ``N / C`` dots: the sum of as many outer products, which is a product of matrices.
        """
        config, scale = self.config, 1.0 / self._deviation
        together = places.shape[2] // channels
        bell = torch.exp((self._pixels - places.unsqueeze(-1)).square_().mul_(-0.5 / config.dot_std**2))
        bell = bell.view(*places.shape[:2], channels, together, 2, SIDE)
        across, down = bell[..., 0, :], (bell[..., 1, :] * (config.peak * scale)).transpose(-1, -2)
        # One outer product is quicker by multiplication with broadcasting.
        pictures = down * across if together == 1 else down @ across
        offset = -self._mean * scale * together
        if config.static_noise:
            shape = (len(places), 1, channels, together)
            fixed = self._overlay(shape, config.static_noise * config.peak * scale, 0.0 if config.noise else offset)
            if config.static_noise_speed:
                rolls = [int(frame * config.static_noise_speed) for frame in frames]
                fixed = torch.cat([fixed.roll(roll, dims=-1) for roll in rolls], dim=1)
            pictures.add_(fixed)
        if config.noise:
            shape = (len(places), len(frames), channels, together)
            pictures.add_(self._overlay(shape, config.noise * config.peak * scale, offset))
        return pictures if config.noise or config.static_noise else pictures.add_(offset)

    def _overlay(self, shape: tuple[int, int, int, int], level: float, offset: float) -> Tensor:
        """Return ``offset`` + ``level`` × the sum of ``shape[3]`` overlays: ``[*shape[:3], 28, 28]``."""
        *pictures, together = shape
        count = math.prod(pictures)
        greys = self._greys(count).float()
        for _ in range(together - 1):
            greys.add_(self._greys(count))
        if self.config.structured_noise:
            return greys.mul_(level / 255.0).add_(offset).view(*pictures, SIDE, SIDE)
        return greys.mul_(level / 256.0).add_(offset + together * level / 512.0).view(*pictures, SIDE, SIDE)

    def _greys(self, count: int) -> Tensor:
        """Draw ``count`` overlays, of 8 bits a pixel: ``[count, 28, 28]``."""
        if self.config.structured_noise and self._backgrounds is not None:
            return self._backgrounds.draw(count, self._generator)
        # One random number makes eight pixels: drawing one each would take most of the time.
        words = torch.empty(count * SIDE * SIDE // 8, dtype=torch.int64, device=self.device)
        words.random_(-(2**63), None, generator=self._generator)
        return words.view(torch.uint8).view(count, SIDE, SIDE)


def heading_quantiles(concentration: float = CONCENTRATION) -> Tensor:
    """Return the quantiles 0, 1/4096, … 1 of VonMises(0, κ) in radians, by integrating its density."""
    angles = torch.linspace(-math.pi, math.pi, 4 * _ANGLES + 1, dtype=torch.float64)
    density = torch.exp(concentration * angles.cos())
    mass = torch.cumulative_trapezoid(density, angles)
    mass = torch.cat([mass.new_zeros(1), mass]) / mass[-1]
    wanted = torch.linspace(0.0, 1.0, _ANGLES + 1, dtype=torch.float64)
    right = torch.searchsorted(mass, wanted).clamp_(1, len(mass) - 1)
    share = (wanted - mass[right - 1]) / (mass[right] - mass[right - 1])
    return torch.lerp(angles[right - 1], angles[right], share).float()
