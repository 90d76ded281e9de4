"""Training of the world model on one core beside PTZJEPA's own step: ``python -m benchmarks.world_model``.

The sides take turns, a step each in every round, and the medians are compared: in seconds of this process's CPU time,
which other work on the machine disturbs least; the JSON file has wall time as well. Peak memory is of processes that
do nothing else. ``--probe`` adds a race for the pose, which takes PTZJEPA minutes to hours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness, probe_race
from benchmarks.harness import Measured, Row, median_rate
from benchmarks.world_model_sides import (
    AS_THEIRS_BF16,
    AS_THEIRS_FLOAT32,
    BF16,
    FLOAT32,
    PTZJEPA,
    PTZJEPA_ONE_QUERY,
    SIDES,
    TINY,
    TINY_FLOAT32,
    Side,
    drawn,
)
from shared.world_model import WorldModel, WorldModelConfig, autocast, pick_device
from shared.world_model.device import bf16_is_fast

ENCODED, ALONE_STEPS, TINY_STEPS = 256, 2, 8
TARGETS = {FLOAT32: 3.0, BF16: 10.0}
TINY_PEAK_MIB, TRAINER_MINUTES = 1024.0, 0.5


@dataclass
class Times:
    """Seconds of each step of one side."""

    side: Side
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def take(self, steps: int = 1) -> None:
        """Take steps and note how long each took."""
        for _ in range(steps):
            wall, cpu = time.perf_counter(), time.process_time()
            self.side.step()
            self.cpu.append(time.process_time() - cpu)
            self.wall.append(time.perf_counter() - wall)

    @property
    def cpu_seconds(self) -> float:
        """Median CPU seconds of a step."""
        return statistics.median(self.cpu)

    @property
    def pairs_rate(self) -> float:
        """Ordered pairs learnt from per CPU second."""
        return self.side.pairs / self.cpu_seconds

    @property
    def images_rate(self) -> float:
        """Images learnt from per CPU second."""
        return self.side.images / self.cpu_seconds

    def document(self) -> dict[str, Any]:
        """Return everything for the JSON file."""
        return {
            "images": self.side.images,
            "pairs": self.side.pairs,
            "cpu_seconds": self.cpu,
            "wall_seconds": self.wall,
            "pairs_per_cpu_second": self.pairs_rate,
            "images_per_cpu_second": self.images_rate,
        }


def measure(options: argparse.Namespace) -> Measured:
    """Measure rates, peak memory and, if asked for, the race."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    # First of all: a child's peak begins with what its parent held when it forked.
    peaks = {name: peak_of_side(name) for name in (PTZJEPA, FLOAT32, BF16, AS_THEIRS_FLOAT32)}
    peaks[TINY] = peak_of_trainer()
    times = compare(options.rounds)
    rows = [*rate_rows(times), encode_row(), *peak_rows(peaks)]
    facts: dict[str, Any] = {
        "cpu": cpu(),
        "load": [load, os.getloadavg()[0]],
        "sides": {name: each.document() for name, each in times.items()},
        "ratios": ratios(times),
        "peak_mib": peaks,
    }
    if options.probe:
        race = probe_race.race(options.probe, times[PTZJEPA].cpu_seconds, options.panorama)
        rows += race.rows()
        facts["probe"] = race.document()
    return Measured(rows, facts)


def compare(rounds: int) -> dict[str, Times]:
    """Let all sides take turns. Without fast bfloat16 there is nothing to compare in it."""
    slow = () if bf16_is_fast(pick_device("cpu")) else (BF16, AS_THEIRS_BF16, TINY_FLOAT32)
    times = {name: Times(build()) for name, build in SIDES.items() if name not in slow}
    for _ in range(rounds):
        for name, each in times.items():
            each.take(TINY_STEPS if name.startswith(TINY) else 1)
    return times


def ratios(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    """Return how many times as many pairs, and images, our sides learn from as each of theirs."""
    return {
        f"{name} ÷ {reference}": {
            "pairs": times[name].pairs_rate / times[reference].pairs_rate,
            "images": times[name].images_rate / times[reference].images_rate,
        }
        for name in (FLOAT32, BF16, AS_THEIRS_FLOAT32, AS_THEIRS_BF16)
        for reference in (PTZJEPA, PTZJEPA_ONE_QUERY)
        if name in times
    }


def rate_rows(times: dict[str, Times]) -> list[Row]:
    """Return pairs per CPU second with PTZJEPA's beside them, the ratios, and the views of ``tiny``."""
    literal = times[PTZJEPA].pairs_rate
    rows = [Row(PTZJEPA_ONE_QUERY, times[PTZJEPA_ONE_QUERY].pairs_rate, "pairs/s", reference=literal)]
    ours = [name for name in (FLOAT32, BF16, AS_THEIRS_FLOAT32, AS_THEIRS_BF16) if name in times]
    rows += [Row(name, times[name].pairs_rate, "pairs/s", reference=literal) for name in ours]
    for name, each in ratios(times).items():
        target = next((goal for side, goal in TARGETS.items() if name == f"{side} ÷ {PTZJEPA}"), None)
        rows.append(Row(name.replace("preset ptzjepa", "ours"), each["pairs"], "×", target))
    float32 = times[TINY_FLOAT32].images_rate if TINY_FLOAT32 in times else None
    return [*rows, Row("tiny, train", times[TINY].images_rate, "views/s", reference=float32)]


def encode_row() -> Row:
    """Return how many views ``tiny`` encodes per CPU second."""
    device, model = pick_device("cpu"), WorldModel(WorldModelConfig())
    images = drawn(model.config, 1, ENCODED).images[0]

    def encode() -> None:
        with torch.inference_mode(), autocast(device):
            model.encode(images)

    return Row("tiny, encode", ENCODED * median_rate(encode, clock=time.process_time), "views/s")


def peak_of_side(name: str) -> float:
    """Return the peak resident memory of a process that takes a few steps of one side, MiB."""
    return _peak_mib("benchmarks.world_model", "--alone", name)


def peak_of_trainer() -> float:
    """Return the peak resident memory of ``ptzjepa world-model train``, MiB: ``tiny``, on the generated scene."""
    with tempfile.TemporaryDirectory(prefix="ptz-bench-") as directory:
        minutes = ("--minutes", str(TRAINER_MINUTES), "--clock", "cpu", "--threads", "1")
        return _peak_mib(
            "ptzjepa", "world-model", "train", "--generated", "--preset", "tiny", *minutes, "--out", directory
        )


def _peak_mib(module: str, *arguments: str) -> float:
    child = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with exit code {child.returncode}")
    return usage.ru_maxrss / 1024.0


def peak_rows(peaks: dict[str, float]) -> list[Row]:
    """Return peak memory, the presets' beside PTZJEPA's."""
    beside = [name for name in peaks if name not in (PTZJEPA, TINY)]
    rows = [Row(f"peak, {name}", peaks[name], "MiB", None, "lower", peaks[PTZJEPA]) for name in beside]
    return [*rows, Row("peak, trainer of tiny", peaks[TINY], "MiB", TINY_PEAK_MIB, "lower")]


def cpu() -> dict[str, Any]:
    """Return what of the CPU decides: by what instructions it multiplies bfloat16."""
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "avx512_bf16": bool(torch.cpu._is_avx512_bf16_supported()),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "threads": torch.get_num_threads(),
    }


def options_parser() -> argparse.ArgumentParser:
    """Return the options besides ``--json``."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds that medians are taken over")
    parser.add_argument(
        "--probe",
        type=int,
        default=0,
        metavar="N",
        help="also race for the pose, N micro-steps of PTZJEPA's (0: no race; about 8 CPU seconds each)",
    )
    parser.add_argument("--panorama", type=Path, metavar="FILE", help="where to race; without it the generated scene")
    parser.add_argument("--alone", choices=SIDES, help="take a few steps of one side and measure nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = options_parser()
    options, _ = parser.parse_known_args(arguments)
    if options.alone:
        torch.set_num_threads(1)
        Times(SIDES[options.alone]()).take(ALONE_STEPS)
        return 0
    return harness.main("world_model", lambda: measure(options), arguments, parents=[parser])


if __name__ == "__main__":
    sys.exit(main())
