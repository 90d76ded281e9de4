"""Run every benchmark, each in a process of its own, and print one table: ``python -m benchmarks [--json FILE]``."""

from __future__ import annotations

import argparse
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import benchmarks
from benchmarks.harness import Row, machine, read_rows, table, write_json
from shared.errors import EXIT_FAULT, EXIT_OK, EXIT_USER, UserError

TIMEOUT_SECONDS = 600
_NOT_BENCHMARKS = {
    "__main__",
    "harness",
    "probe_race",
    "ptzjepa_dream",
    "ptzjepa_step",
    "reward_maps",
    "world_model_sides",
}


def names() -> list[str]:
    """Return every benchmark's name."""
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in _NOT_BENCHMARKS
    )


def run(name: str) -> list[Row]:
    """Run one benchmark in a process of its own. ``RuntimeError`` says how it failed."""
    with tempfile.TemporaryDirectory(prefix="ptz-bench-") as directory:
        output = Path(directory) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(output)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"took longer than {TIMEOUT_SECONDS} s") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"exit code {done.returncode}: {last}")
        return read_rows(output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; exit code 1 when one of them could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every benchmark.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    parser.add_argument("--only", action="append", choices=names(), help="run only this one; may be repeated")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for name in options.only or names():
        try:
            rows += [replace(row, name=f"{name}: {row.name}") for row in run(name)]
        except RuntimeError as error:
            failed[name] = str(error)
    if rows:
        print(table(rows))
    for name, reason in failed.items():
        print(f"{name}: {reason}", file=sys.stderr)
    if options.json:
        document = {"machine": machine(), "failed": failed, "rows": [{**asdict(row), "met": row.met} for row in rows]}
        try:
            write_json(options.json, document)
        except UserError as error:
            parser.exit(EXIT_USER, f"error: {error}\n")
    return EXIT_FAULT if failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
