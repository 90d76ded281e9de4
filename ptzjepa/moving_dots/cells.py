"""What a study consists of: methods × backgrounds × levels × seeds, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ptzjepa.moving_dots.config import TrainConfig, read_config
from ptzjepa.moving_dots.shipped import path_of
from world_model_trainer.laboratory.moving_dots.methods import METHODS

Background = Literal["none", "changing", "fixed"]
Texture = Literal["uniform", "structured"]
LEVELS = (0.5, 1.0, 2.0, 3.0)
MAIN_LEVEL = 1.0
THREE_DOTS = ("vicreg", "simclr", "sigreg", "vicreg+idm", "sigreg+idm", "idm", "supervised", "random")
"""Methods that are tried on three dots as well."""
_KINDS: tuple[tuple[Background, Texture], ...] = (
    ("fixed", "uniform"),
    ("changing", "uniform"),
    ("fixed", "structured"),
    ("changing", "structured"),
)


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    method: str
    background: Background
    texture: Texture
    level: float
    dots: Literal[1, 3]
    seed: int

    @property
    def name(self) -> str:
        """A name for its file."""
        dots = "" if self.dots == 1 else f"-{self.dots}dots"
        return f"{self.background}-{self.texture}-{self.level:g}{dots}-{self.method}-seed{self.seed}"

    @property
    def where(self) -> dict[str, Any]:
        """Its coordinates, for results."""
        return {
            "method": self.method,
            "background": self.background,
            "texture": self.texture,
            "level": self.level,
            "dots": self.dots,
            "seed": self.seed,
        }

    def config(self, values: tuple[str, ...] = ()) -> TrainConfig:
        """Return its options: those of the shipped configuration, then its own, then ``values``."""
        noise = "changing" if self.background == "none" else self.background
        key = "dataset_static_noise" if noise == "fixed" else "dataset_noise"
        own = [f"seed={self.seed}", f"{key}={self.level:g}", "probe_mpc=true"]
        if self.dots == 3:
            sections = ("vicreg", "simclr", "sigreg", "ema", "rssm")
            own += ["dataset_type=Multiple", *(f"{section}.channels=3" for section in sections)]
        return read_config([path_of(f"{noise}_{self.texture}.{self.method}")], [*own, *values])


def cells(methods: tuple[str, ...], levels: tuple[float, ...], seeds: int) -> Iterator[Cell]:
    """Yield all cells: level 1 before the others, there a whole seed before the next."""
    for seed in range(seeds):
        if MAIN_LEVEL in levels:
            for background, texture in _KINDS:
                yield from (Cell(method, background, texture, MAIN_LEVEL, 1, seed) for method in methods)
        yield from (Cell(method, "none", "uniform", 0.0, 1, seed) for method in methods)
        if MAIN_LEVEL in levels:
            for background, texture in _KINDS[:2]:
                some = [method for method in methods if method in THREE_DOTS]
                yield from (Cell(method, background, texture, MAIN_LEVEL, 3, seed) for method in some)
    for seed in range(seeds):
        for level in levels:
            if level != MAIN_LEVEL:
                for background, texture in _KINDS:
                    yield from (Cell(method, background, texture, level, 1, seed) for method in methods)


def known_methods() -> tuple[str, ...]:
    """Return all methods, cheap floors first."""
    first = ("random", "supervised")
    return (*first, *(name for name in METHODS if name not in first))
