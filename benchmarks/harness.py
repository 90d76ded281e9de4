"""What every benchmark shares: medians over repeats, one table of at most 80 columns, one JSON format.

A benchmark is a module with ``measure() -> list[Row]``, or ``Measured``, that ends in
``sys.exit(main("name", measure))``. Threads are limited to one when the package is imported, so that numbers are per
core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shared.errors import EXIT_OK, EXIT_USER, UserError

TABLE_COLUMNS = 80
_HEADER = ("measured", "value", "unit", "target", "reference", "")


@dataclass(frozen=True)
class Row:
    """One measured number, with the target it should meet and what a reference needs for the same, if there is one."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"
    reference: float | None = None
    """The same measure of the reference implementation that stands beside ours."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is no target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


def median_rate(
    work: Callable[[], object],
    *,
    repeats: int = 5,
    seconds: float = 0.3,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return calls per second of ``work``: the median over repeats of about ``seconds`` each, after one warm-up.

    With ``time.process_time`` as the clock it counts this process's own CPU seconds: for work that never waits, on a
    machine that has other work, too.
    """
    work()
    rates = []
    for _ in range(repeats):
        calls, started = 0, clock()
        while (elapsed := clock() - started) < seconds or not calls:
            work()
            calls += 1
        rates.append(calls / elapsed)
    return statistics.median(rates)


def median_seconds(work: Callable[[], object], *, repeats: int = 5) -> float:
    """Return the median seconds that one call of ``work`` takes, after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned table; no line is longer than 80 columns."""
    cells = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    # The names give way when the numbers need the room.
    widths[0] = min(widths[0], TABLE_COLUMNS - sum(widths[1:]) - 2 * (len(widths) - 1))
    lines = []
    for line in cells:
        name = line[0] if len(line[0]) <= widths[0] else line[0][: widths[0] - 1] + "…"
        numbers = (line[1].rjust(widths[1]), line[2].ljust(widths[2]), line[3].rjust(widths[3]))
        lines.append("  ".join((name.ljust(widths[0]), *numbers, line[4].rjust(widths[4]), line[5])).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    sign = "≥ " if row.better == "higher" else "≤ "
    target = "" if row.target is None else sign + number(row.target)
    reference = ""
    if row.reference:
        ratio = row.value / row.reference if row.better == "higher" else row.reference / row.value
        reference = f"{number(row.reference)} ({ratio:.1f}×)"
    verdict = {None: "", True: "ok", False: "missed"}[row.met]
    return row.name, number(row.value), row.unit, target, reference, verdict


def number(value: float) -> str:
    """Return a number as people read it: thousands separated, three significant digits below 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document; ``UserError`` where that is impossible."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: {error.strerror}; give a writable file") from error


def machine() -> dict[str, str | int | None]:
    """Describe where the numbers were taken."""
    return {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}


def read_rows(path: Path) -> list[Row]:
    """Read back the rows of a JSON file that ``main`` wrote."""
    fields = Row.__dataclass_fields__
    document = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**{key: value for key, value in row.items() if key in fields}) for row in document["rows"]]


@dataclass(frozen=True)
class Measured:
    """Rows, and what else belongs into the JSON file beside them."""

    rows: list[Row]
    facts: dict[str, Any]


def main(
    name: str,
    measure: Callable[[], list[Row] | Measured],
    arguments: Sequence[str] | None = None,
    *,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> int:
    """Run one benchmark from the command line. A missed target is reported; it is no failure: machines differ.

    ``parents`` hold options of its own, which it has read already.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", parents=list(parents))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    options = parser.parse_args(arguments)
    try:
        measured = measure()
        rows, facts = (measured.rows, measured.facts) if isinstance(measured, Measured) else (measured, {})
        print(table(rows))
        if options.json:
            document = {
                "benchmark": name,
                "machine": machine(),
                **facts,
                "rows": [{**asdict(row), "met": row.met} for row in rows],
            }
            write_json(options.json, document)
    except UserError as error:
        parser.exit(EXIT_USER, f"error: {error}\n")
    return EXIT_OK
