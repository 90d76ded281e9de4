"""Progress of one training run: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class ProgressLine:
    """Shows a run of ``seconds`` for as long as its block lasts."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._console, self._seconds = console, seconds
        columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=seconds) if self._bar else None
        self._next = 0.0

    def __enter__(self) -> ProgressLine:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Say what is going on before the first step."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=text)
        else:
            self._print(text)

    def show(self, spent: float, steps: int, loss: float) -> None:
        """Show where the run stands: fair seconds spent, steps, and the smoothed loss."""
        if self._bar and self._task is not None:
            self._bar.update(
                self._task, completed=min(spent, self._seconds), description=f"step {steps}, loss {loss:.3f}"
            )
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            self._print(f"{spent:.0f} of {self._seconds:.0f} s | step {steps} | loss {loss:.3f}")

    def _print(self, text: str) -> None:
        # A pipe is buffered in blocks, and whoever reads a log wants the lines as they come.
        self._console.print(text, soft_wrap=True)
        self._console.file.flush()
