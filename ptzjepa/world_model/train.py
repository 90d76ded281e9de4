"""``ptzjepa world-model train``: a world model from nothing but a scene, with no service running.

The budget is time: minutes by the clock, or by CPU time over threads, which is what the run takes where nobody else
uses its cores. The learning rate follows a cosine over it. Stopped by Ctrl-C or killed, the same command goes on.
"""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console

from ptzjepa.run_directory import write_atomically
from ptzjepa.world_model.choices import DEFAULT_OBJECTIVE, make_objective, networks
from ptzjepa.world_model.fresh_walks import MOVES, FreshWalks
from ptzjepa.world_model.json_file import write_json
from ptzjepa.world_model.motion_head import save_head
from ptzjepa.world_model.progress_line import ProgressLine
from ptzjepa.world_model.scenes import Source
from ptzjepa.world_model.training_state import MODEL, STATE, claimed, read_state, restore, save_state
from shared.errors import EXIT_OK, UserError
from shared.world_model import WorldModel, pick_device, save_checkpoint
from world_model_trainer.training import DivergedError, Trainer, TrainingConfig, seed_everything

EXIT_INTERRUPTED = 130
SAVE_SECONDS, SAVE_SHARE = 20.0, 0.1
"""How often the state is saved: the smaller of these seconds and this share of the budget."""
LEARNING_RATE, WARM_UP_STEPS = 3e-3, 50
"""Higher than a service's, which has no end to slow down for."""
LEAST_RATE = 0.02
"""Of the learning rate, where the cosine ends."""
SMOOTHING = 0.98


Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks of a training run. ``cameras`` is the number of fixed overlays; 0 for none."""

    sources: tuple[Source, ...]
    out: Path
    minutes: float = 10.0
    seed: int = 0
    preset: str = "tiny"
    objective: str = DEFAULT_OBJECTIVE
    cameras: int = 0
    threads: int = 1
    clock: Clock = "wall"

    def card(self) -> dict[str, Any]:
        """What decides the result, for cards; a run goes on only under the same."""
        return {
            "data": [
                {"name": source.name, "digest": source.digest, "changes": source.changes} for source in self.sources
            ],
            "minutes": self.minutes,
            "seed": self.seed,
            "preset": self.preset,
            "objective": self.objective,
            "cameras": self.cameras,
            "clock": self.clock,
        }


def train(options: TrainOptions, console: Console, json_file: Path | None = None) -> int:
    """Train until the budget is spent and return the exit code; the run's card goes to ``json_file``.

    ``UserError`` if the input is wrong.
    """
    if not (math.isfinite(options.minutes) and options.minutes > 0):
        raise UserError(f"--minutes {options.minutes:g}: must be more than 0")
    with claimed(options.out):
        training = Training(options, console)
        code = training.go()
        if code == EXIT_OK and json_file is not None:
            write_json(json_file, training.card)
        return code


class Training:
    """One life of a training run."""

    def __init__(self, options: TrainOptions, console: Console) -> None:
        torch.set_num_threads(options.threads)
        self._options, self._console = options, console
        self._path = options.out / STATE
        self._budget = options.minutes * 60.0
        seed_everything(options.seed)
        config = networks(options.preset, options.objective)
        # The model first: one seed begins with the same weights, whatever the objective.
        model, objective = WorldModel(config), make_objective(options.objective, config)
        learning = TrainingConfig(learning_rate=LEARNING_RATE, warm_up_steps=WARM_UP_STEPS)
        self._trainer = Trainer(model, learning, device=pick_device(), objective=objective)
        self.card: dict[str, Any] = {}
        """What the run is and came to, as last saved."""
        self._losses: dict[str, float] = {}
        self._resume()
        self._former = {name: float(self.card.get(f"{name}_seconds", 0.0)) for name in ("spent", "cpu", "wall")}
        self._began = _now()
        self._stopping = False

    def go(self) -> int:
        """Train until the budget is spent or somebody stops it."""
        if self.card.get("finished"):
            done = f"{self._options.out} is trained already; give another --out for another run"
            self._console.print(done, soft_wrap=True)
            return EXIT_OK
        with _stopped_by(self._stop), ProgressLine(self._console, self._budget) as line:
            walks = self._prepare(line)
            if not self._stopping:
                self._learn(walks, line)
                self._save(walks, finished=not self._stopping)
                save_head(self._options.out, self._trainer.objective)
                write_atomically(self._options.out / MODEL, save_checkpoint(self._trainer.model, self.card))
        if self._stopping:
            print(f"stopped after {self._trainer.steps} steps; the same command goes on", file=sys.stderr)
            return EXIT_INTERRUPTED
        self._console.print(f"{self._trainer.steps} steps; wrote {self._options.out / MODEL}", soft_wrap=True)
        return EXIT_OK

    def _resume(self) -> None:
        """Go on from the state there is."""
        if not self._path.exists():
            if (self._options.out / MODEL).exists():
                raise UserError(
                    f"{self._options.out / MODEL} is there already and no training state: give another --out"
                )
            return
        tensors, card = read_state(self._path)
        for name, value in self._options.card().items():
            if card["run"].get(name) != value:
                known = [each["name"] for each in card["run"][name]] if name == "data" else card["run"].get(name)
                raise UserError(f"{self._options.out} holds a run with another {name} ({known}); give another --out")
        restore(self._path, tensors, self._trainer, card["steps"])
        self.card, self._losses = card, card["losses"]

    def _prepare(self, line: ProgressLine) -> FreshWalks:
        line.say("rendering views")
        options, size = self._options, self._trainer.model.config.image_size
        walks = FreshWalks(options.sources, size, options.seed, cameras=options.cameras)
        walks.fill(self.card.get("walks_rendered", 0), lambda: self._stopping)
        if self.card:
            # What is rendered again after a stop was paid for in the former life.
            self._began = _now()
        return walks

    def _learn(self, walks: FreshWalks, line: ProgressLine) -> None:
        config = self._trainer.config
        every = min(SAVE_SECONDS, SAVE_SHARE * self._budget)
        next_save = self._spent() + every
        # However short the budget, what is written has learnt something.
        while not self._stopping and ((spent := self._spent()) < self._budget or not self._trainer.steps):
            generator = np.random.default_rng((self._options.seed, 2_000_003, self._trainer.steps))
            decay = LEAST_RATE + (1.0 - LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, spent / self._budget)))
            try:
                terms = self._trainer.step(walks.sample(generator, config.batch, config.length), decay=decay)
            except DivergedError as error:
                raise UserError(f"training failed: {error}; try another --seed or --objective") from error
            walks.refresh()
            for name, value in terms.items():
                self._losses[name] = SMOOTHING * self._losses.get(name, value) + (1.0 - SMOOTHING) * value
            line.show(spent, self._trainer.steps, self._losses["total"])
            if spent >= next_save:
                self._save(walks, finished=False)
                next_save = spent + every

    def _stop(self) -> None:
        self._stopping = True

    def _seconds(self, clock: Clock) -> float:
        return self._former[clock] + _now()[clock] - self._began[clock]

    def _spent(self) -> float:
        """Return the seconds of the budget that are spent."""
        clock = self._options.clock
        share = self._options.threads if clock == "cpu" else 1
        return self._former["spent"] + (_now()[clock] - self._began[clock]) / share

    def _save(self, walks: FreshWalks, *, finished: bool) -> None:
        trainer, steps = self._trainer, self._trainer.steps
        self.card = {
            "run": self._options.card(),
            "finished": finished,
            "steps": steps,
            "views_trained": steps * trainer.config.batch * (trainer.config.length + 1),
            "walks_rendered": walks.rendered,
            "views_rendered": walks.rendered * (MOVES + 1),
            "views_in_buffer": walks.walks * (MOVES + 1),
            "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "losses": self._losses,
            "spent_seconds": round(self._spent(), 3),
            "cpu_seconds": round(self._seconds("cpu"), 3),
            "wall_seconds": round(self._seconds("wall"), 3),
            "threads": self._options.threads,
            "device": str(trainer.device),
            "torch": torch.__version__,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        save_state(self._path, trainer, self.card)


def _now() -> dict[Clock, float]:
    return {"cpu": time.process_time(), "wall": time.monotonic()}


@contextlib.contextmanager
def _stopped_by(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGINT and SIGTERM for as long as the block lasts; a step is never torn."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
