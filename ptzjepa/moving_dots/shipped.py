"""The configurations that come with the package: one for each method and kind of noise, at level 1."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_SUFFIX = ".yaml"


def names() -> list[str]:
    """Return their names: ``fixed_uniform.vicreg+idm`` and so on."""
    return sorted(each.name.removesuffix(_SUFFIX) for each in _folder().iterdir() if each.name.endswith(_SUFFIX))


def path_of(name: str | Path) -> Path:
    """Return the shipped configuration called ``name``; a file of that name goes before it."""
    given = Path(name)
    shipped = Path(str(_folder() / f"{name}{_SUFFIX}"))
    return shipped if not given.exists() and shipped.is_file() else given


def _folder() -> Path:
    return Path(str(files(__package__))) / "configs"
