"""Commands in a page and the answers printed below them: found, run as one shell script, compared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import REPOSITORY

SECONDS = 90
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "\x1e"
_VOLATILE = (
    (re.compile(r"~[0-9a-f]{16}"), "~0123456789abcdef"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "2026-05-04T12:00:00Z"),
    (re.compile(r'"\d{13}-\d+"'), '"1777896000000-0"'),
    (re.compile(r'("expires_in_ms"): *\d+'), r"\1:0"),
    (re.compile(r"\b\d+ ms\b"), "0 ms"),
    (re.compile(r"\b\d:\d\d\b"), "0:00"),
)


@dataclass(frozen=True)
class Example:
    """A command, and what the page says that it answers; None where it says nothing."""

    command: str
    answer: str | None


def parts(page: Path, starts: str, *, beginning: str = "", ending: str = "\\Z") -> list[list[Example]]:
    """The examples of a page, or of a piece of it, apart at the blocks that start a broker: those hold ``starts``."""
    text = page.read_text(encoding="utf-8")
    piece = re.search(f"{beginning}(.*?){ending}", text, re.DOTALL | re.MULTILINE)
    assert piece is not None, f"{page.name} has no {beginning!r}"
    blocks = [(match[1], match[2]) for match in _BLOCK.finditer(piece[1])]
    found: list[list[Example]] = [[]]
    for place, (kind, content) in enumerate(blocks):
        if kind == "sh":
            follows = blocks[place + 1] if place + 1 < len(blocks) else ("", "")
            found[-1].append(Example(content, follows[1] if follows[0] in ("json", "text") else None))
        elif starts in content:
            found.append([])
    return found


def run(examples: list[Example], directory: Path, url: str = "") -> list[str]:
    """What each example answers, in a real shell; ``url`` is the broker that the page has at its usual port."""
    script = "".join(f"{example.command}printf '{_END}'\n" for example in examples)
    for scheme in ("http", "https"):
        script = script.replace(f"{scheme}://127.0.0.1:8700", url.replace("http", scheme, 1))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PTZ_")}
    environment |= {"PATH": path, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    answers = done.stdout.split(_END)
    if done.returncode:
        raise AssertionError(f"{examples[len(answers) - 1].command}ended with {done.returncode}: {done.stderr}")
    return answers[:-1]


def same(expected: str, answer: str) -> None:
    """Compare but for what is another one each time: times, durations, nonces."""
    assert _comparable(answer) == _comparable(expected)


def _comparable(text: str) -> Any:
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    try:
        return json.loads(text)
    except ValueError:
        return [line.rstrip() for line in text.strip().splitlines()]
