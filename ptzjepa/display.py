"""Progress of a run for people: a live table on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ptzjepa.supervisor import Health
from ptzjepa.timeline import Timeline
from shared.supervision import Child

LINE_SECONDS = 10.0
RECENT_VIEWS = 100
_COLOURS = {"ready": "green", "waiting": "yellow", "starting": "yellow", "away": "red", "gave up": "bold red"}


class Processes(Protocol):
    """What the display wants to know of the fleet."""

    health: dict[str, Health]

    @property
    def children(self) -> Mapping[str, Child]:
        """The processes by service name."""


class Display:
    """Shows a run for as long as its block lasts. Call ``show`` about twice a second."""

    def __init__(self, console: Console, seconds: float | None) -> None:
        self._console, self._seconds = console, seconds
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._next_line = 0.0

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, timeline: Timeline, processes: Processes, elapsed: float) -> None:
        """Show where the run stands."""
        facts = describe(timeline, elapsed, self._seconds)
        if self._live:
            self._live.update(_picture(facts, processes, elapsed, self._seconds))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            words = [f"{key} {value}" for key, value in facts.items()]
            self.say(" | ".join([*words, _troubles(processes)]))


def describe(timeline: Timeline, elapsed: float, seconds: float | None) -> dict[str, str]:
    """Return the run's numbers in words, in the order in which they are shown."""
    last = timeline.looks[-1] if len(timeline.looks) else None
    steered = f" ({timeline.steered_views / timeline.views:.0%} so far)" if timeline.views else ""
    return {
        "time": _clock(elapsed) if seconds is None else f"{_clock(max(0.0, seconds - elapsed))} left",
        "views": f"{timeline.views:,} ({timeline.views / max(elapsed, 1.0):.1f}/s)",
        "checkpoints": str(timeline.committed[timeline.world_model]),
        "error ÷ copy-last": recent_ratio(timeline),
        "dreams": f"{timeline.dreams:,}",
        "policy version": str(timeline.newest_version(timeline.agent) or "none yet"),
        "steering": (last.policy if last else "nobody") + steered,
    }


def recent_ratio(timeline: Timeline) -> str:
    """Return how the one-step error compares with copy-last on the newest views: below 1 is better than copying."""
    newest = [timeline.measured[index] for index in range(-min(RECENT_VIEWS, len(timeline.measured)), 0)]
    copy_last = sum(item.copy_last_error for item in newest)
    return f"{sum(item.error for item in newest) / copy_last:.2f}" if copy_last > 0 else "not measured yet"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"


def _troubles(processes: Processes) -> str:
    restarts = sum(child.restarts for child in processes.children.values())
    unwell = [f"{name} {health.state}" for name, health in processes.health.items() if health.state != "ready"]
    return f"restarts {restarts} | {', '.join(unwell) or 'all services ready'}"


def _picture(facts: Mapping[str, str], processes: Processes, elapsed: float, seconds: float | None) -> RenderableType:
    numbers = Table.grid(padding=(0, 2))
    numbers.add_column(style="dim", justify="right")
    numbers.add_column()
    for key, value in facts.items():
        numbers.add_row(key, value)
    services = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    services.add_column("service")
    services.add_column("health")
    services.add_column("restarts", justify="right")
    for name, health in processes.health.items():
        child = processes.children.get(name)
        state = Text(health.state, style=_COLOURS.get(health.state, ""))
        if health.detail:
            state.append(f"  {health.detail[:48]}", style="dim")
        services.add_row(name, state, str(child.restarts if child else 0))
    parts: list[RenderableType] = [numbers, "", services]
    if seconds is not None:
        # In a grid, since a bar by itself does not end its line.
        bar = Table.grid()
        bar.add_row(ProgressBar(total=seconds, completed=min(elapsed, seconds), width=60))
        parts.insert(0, bar)
    return Group(*parts)
