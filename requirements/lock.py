"""Write the lock files: every package that an image installs, by version and by the SHA-256 of each of its files.

A file is called after the extras of pyproject.toml that it is for, as an image's build argument ``EXTRAS`` names them.
``make lock`` writes all anew, with ``uv`` on the path and a package registry to ask; ``make lock EXTRAS=node,parquet``
one. The files hold for every platform and Python that the project supports, and name no registry. torch itself stands
in none: which of its builds is wanted, for the CPU or a CUDA, is chosen when an image is built, they come from
different registries, and each has other files. tests/deployment/test_locks.py holds the files to pyproject.toml without
asking anybody.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent

# What torch says that it needs, whatever the build; its CUDA libraries, where it has some, are the build's own.
TORCH_NEEDS = ("filelock", "fsspec>=0.8.5", "jinja2", "networkx>=2.5.1", "setuptools>=77.0.3", "sympy>=1.13.3",
               "typing-extensions>=4.10.0")  # fmt: skip
_OWN = re.compile(r"ptzjepa\[([\w,-]+)\]")
_HEADER = "# Made by `make lock` from pyproject.toml: {extras}. pip install --require-hashes --no-deps --requirement\n"


def locks() -> list[str]:
    """Return what there are lock files for: extras with commas between them."""
    return sorted(path.stem for path in FOLDER.glob("*.lock"))


def project() -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    with (FOLDER.parent / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def requirements(extras: str) -> list[str]:
    """Return what the project needs with these extras, sorted; in torch's place, what torch needs.

    ``KeyError`` with the name of an extra that there is not.
    """
    described = project()
    found = set(described["dependencies"])
    waiting = extras.split(",")
    while waiting:
        for requirement in described["optional-dependencies"][waiting.pop()]:
            own = _OWN.fullmatch(requirement)
            if own:
                waiting += own[1].split(",")
            elif requirement.startswith("torch=="):
                found |= set(TORCH_NEEDS)
            else:
                found.add(requirement)
    return sorted(found)


def compile_lock(extras: str) -> str:
    """Ask the registry for the newest packages that fit. ``CalledProcessError`` where there are none."""
    options = ["--universal", "--python-version", project()["requires-python"].removeprefix(">=")]
    options += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"]
    done = subprocess.run(
        ["uv", "pip", "compile", *options, "-"],
        input="\n".join(requirements(extras)), text=True, capture_output=True, check=True,
    )  # fmt: skip
    return _HEADER.format(extras=extras) + done.stdout


def main(wanted: list[str]) -> int:
    """Write the lock files of ``wanted`` extras, or every one anew."""
    for extras in wanted or locks():
        try:
            text = compile_lock(extras)
        except KeyError as error:
            print(
                f"error: pyproject.toml has no extra {error}; name others, with commas and no spaces", file=sys.stderr
            )
            return 2
        except FileNotFoundError:
            print("error: uv is not installed; pip install uv", file=sys.stderr)
            return 2
        except subprocess.CalledProcessError as error:
            print(f"error: {extras}: {error.stderr.strip()}", file=sys.stderr)
            return 1
        (FOLDER / f"{extras}.lock").write_text(text, encoding="utf-8")
        print(f"requirements/{extras}.lock: {text.count(chr(10) + ' ' * 4 + '--hash')} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
