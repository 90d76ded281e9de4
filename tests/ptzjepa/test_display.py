from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from ptzjepa.display import Display, describe
from ptzjepa.supervisor import Health
from ptzjepa.timeline import Timeline
from shared.supervision import Child
from tests.ptzjepa.synthetic import AGENT, WORLD_MODEL, SyntheticRun


class Fleet:
    def __init__(self, children: Mapping[str, Child]) -> None:
        self.children = children
        self.health = {name: Health("ready") for name in children}


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return SyntheticRun(2.0)


def shown(run: SyntheticRun, *, terminal: bool) -> str:
    output = io.StringIO()
    fleet = Fleet(run.children())
    fleet.health["rl-agent"] = Health("waiting", "policy: none [yet]")
    with Display(Console(file=output, force_terminal=terminal, width=100), 180.0) as display:
        for _ in range(5):
            display.show(run.timeline, fleet, 120.0)
    return output.getvalue()


def test_without_a_terminal_one_plain_line_in_ten_seconds(run: SyntheticRun) -> None:
    lines = shown(run, terminal=False).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("time 1:00 left | views 960 (8.0/s)")
    assert "\x1b" not in lines[0]
    assert "restarts 3 | rl-agent waiting" in lines[0]


def test_a_terminal_gets_the_table(run: SyntheticRun) -> None:
    text = shown(run, terminal=True)
    assert "world-model-trainer" in text
    assert not [line for line in text.splitlines() if "━" in line and "left" in line], "the bar has a line of its own"
    assert "policy: none [yet]" in text


def test_before_anything_happened() -> None:
    facts = describe(Timeline(WORLD_MODEL, AGENT), 0.0, None)
    assert facts["steering"] == "nobody"
    assert facts["error ÷ copy-last"] == "not measured yet"
    assert facts["time"] == "0:00"
