"""What a study consists of: methods × backgrounds × levels × seeds, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from ptzjepa.moving_dots.config import TrainConfig, read_config
from ptzjepa.moving_dots.shipped import path_of
from world_model_trainer.laboratory.moving_dots.methods import METHODS

Background = Literal["none", "changing", "fixed"]
Texture = Literal["uniform", "structured"]
Kind = tuple[Background, Texture]
LEVELS = (0.5, 1.0, 2.0, 3.0)
MAIN_LEVEL = 1.0
THREE_DOTS = ("vicreg", "simclr", "sigreg", "vicreg+idm", "sigreg+idm", "idm", "supervised", "random")
"""Methods that are tried on three dots as well."""
_KINDS: tuple[Kind, ...] = (
    ("fixed", "uniform"),
    ("fixed", "structured"),
    ("changing", "uniform"),
    ("changing", "structured"),
)
_KINDS_OF_THREE_DOTS = _KINDS[:3]
_EXPECTED: tuple[dict[Background, tuple[str, ...]], ...] = (
    {"fixed": ("random", "vicreg+idm", "vicreg-trajectory+idm"), "changing": ("random", "vicreg")},
    {"fixed": ("vicreg", "sigreg", "simclr", "vicreg-trajectory"), "changing": ("vicreg+idm",)},
)
"""Methods that expectations are about: who is to see the dot, beside the floor; then who is not, and controls."""


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
    """Yield all cells, those first that expectations are about; all seeds of a group before the next group."""
    for group in _groups(methods, levels):
        for seed in range(seeds):
            yield from (replace(cell, seed=seed) for cell in group)


def _groups(methods: tuple[str, ...], levels: tuple[float, ...]) -> Iterator[list[Cell]]:
    others = [level for level in levels if level != MAIN_LEVEL]
    if MAIN_LEVEL in levels:
        for expected in _EXPECTED:
            yield from (_group(kind, MAIN_LEVEL, 1, expected[kind[0]], methods) for kind in _KINDS)
        for expected in _EXPECTED:
            yield from (_group(kind, MAIN_LEVEL, 3, expected[kind[0]], methods) for kind in _KINDS_OF_THREE_DOTS)
        yield from (_group(kind, MAIN_LEVEL, 1, _rest(methods, kind), methods) for kind in _KINDS)
    yield _group(("none", "uniform"), 0.0, 1, methods, methods)
    for level in others:
        for expected in _EXPECTED:
            yield from (_group(kind, level, 1, expected[kind[0]], methods) for kind in _KINDS)
    if MAIN_LEVEL in levels:
        for kind in _KINDS_OF_THREE_DOTS:
            yield _group(kind, MAIN_LEVEL, 3, [name for name in _rest(methods, kind) if name in THREE_DOTS], methods)
    for level in others:
        yield from (_group(kind, level, 1, _rest(methods, kind), methods) for kind in _KINDS)


def _group(
    kind: Kind, level: float, dots: Literal[1, 3], wanted: Iterable[str], methods: tuple[str, ...]
) -> list[Cell]:
    return [Cell(name, *kind, level, dots, 0) for name in wanted if name in methods]


def _rest(methods: tuple[str, ...], kind: Kind) -> list[str]:
    """Return the methods that nothing is expected of."""
    judged = {name for expected in _EXPECTED for name in expected[kind[0]]}
    return [name for name in methods if name not in judged]


def known_methods() -> tuple[str, ...]:
    """Return all methods, cheap floors first."""
    first = ("random", "supervised")
    return (*first, *(name for name in METHODS if name not in first))
