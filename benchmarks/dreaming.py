"""Dreaming and learning on one core beside PTZJEPA, and the pilot's time to choose: ``python -m benchmarks.dreaming``.

Rates and times count this process's own CPU seconds. A dreamed move of ours is dreamt, stored as a learner finds it,
and learnt from once, by policy and critic; one of PTZJEPA's is dreamt and learnt from once by Q-learning. (As it is
configured, PTZJEPA learns from each about a hundred times.)
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Row, main, median_rate
from benchmarks.ptzjepa_dream import Dreamer, Learner
from benchmarks.ptzjepa_step import BATCH
from dreamer_agent.agents import LearnedAgent, PolicyCard
from dreamer_agent.agents.registry import build, make_config
from dreamer_agent.dreaming import dream
from dreamer_agent.dreams import Dreams
from dreamer_agent.pilot import Brain, act
from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor
from dreamer_agent.rewards import make_rewards
from dreamer_agent.settings import AgentSettings, DreamSettings
from shared.actions import DEFAULT_ACTIONS
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits
from shared.streams import Received
from shared.world_model import WorldModel, WorldModelConfig

LOOKS, PLANS = 400, 40
BIG_BATCH = 256
STEPS_OF_PTZJEPA, TRANSITIONS_OF_PTZJEPA = 2, 4
"""Enough to time: a whole dream has ten steps, and a whole batch 64 transitions; time grows as they do."""
UPDATES, WARM_UP = 500, 100
_STATM = Path("/proc/self/statm")
"""Only Linux says how much memory a process has now."""


def measure() -> list[Row]:
    """Return moves dreamed and learnt from per second, of each agent, and what the pilot needs to choose."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world_model = WorldModel(WorldModelConfig(surprise="disagreement")).eval().requires_grad_(False)
    fields = DreamSettings.model_fields
    count, length = int(fields["number_of_dreams"].default), int(fields["dream_length"].default)
    theirs = _ptzjepa_rate()
    rows = []
    for algorithm, batch, target in (
        ("actor_critic", BIG_BATCH, 10_000.0),
        ("actor_critic", count, None),
        ("dqn", BIG_BATCH, None),
        ("ppo", BIG_BATCH, None),
        ("grpo", BIG_BATCH, None),
    ):
        agent = _agent(algorithm, world_model)
        both = _rate(lambda agent=agent, batch=batch: agent.update(_dream(world_model, agent, batch, length)))  # type: ignore[misc]
        rows.append(Row(f"{algorithm}, {batch} × {length}", batch * length * both, "moves/s", target, reference=theirs))
    rows.insert(1, Row("the same ÷ PTZJEPA", rows[0].value / theirs, "×", 1000.0))
    agent = _agent("actor_critic", world_model)
    alone = _rate(lambda: _dream(world_model, agent, BIG_BATCH, length))
    rows.append(Row(f"dream alone, {BIG_BATCH} × {length}", BIG_BATCH * length * alone, "moves/s"))
    if _STATM.exists():
        rows.append(Row("memory per 100 updates", _growth(world_model, agent, length), "MB", 1.0, better="lower"))
    p50, p95 = _looks(world_model, agent, LOOKS)
    rows.append(Row("pilot: JPEG to move, median", p50, "ms", better="lower"))
    rows.append(Row("pilot: JPEG to move, 95th percentile", p95, "ms", 5.0, better="lower"))
    planned, _ = _looks(world_model, _agent("planner", world_model), PLANS)
    rows.append(Row("the same, planner, median", planned, "ms", better="lower"))
    return rows


def _rate(work: Callable[[], object]) -> float:
    return median_rate(work, clock=time.process_time)


def _ptzjepa_rate() -> float:
    """Return moves that PTZJEPA dreams and learns from once, per second."""
    dreamer, learner = Dreamer(), Learner()
    dreamt = median_rate(lambda: dreamer.dream(STEPS_OF_PTZJEPA), repeats=2, clock=time.process_time)
    learnt = median_rate(lambda: learner.update(TRANSITIONS_OF_PTZJEPA), repeats=2, clock=time.process_time)
    return 1.0 / (1.0 / (dreamt * STEPS_OF_PTZJEPA * BATCH) + 1.0 / (learnt * TRANSITIONS_OF_PTZJEPA))


def _agent(algorithm: str, world_model: WorldModel) -> LearnedAgent:
    config = make_config(algorithm, embedding=world_model.config.embedding_size, actions=len(DEFAULT_ACTIONS))
    rewards = make_rewards(AgentSettings.model_fields["rewards"].default)
    return build(config, action_tensor(DEFAULT_ACTIONS), rewards=rewards)


def _dream(world_model: WorldModel, agent: LearnedAgent, batch: int, length: int) -> Dreams:
    generator = torch.Generator().manual_seed(0)
    group = 16 if agent.algorithm == "grpo" else 1
    starts = batch // group
    return dream(
        world_model,
        agent,
        torch.randn(starts, world_model.config.embedding_size, generator=generator),
        pose_tensor([Pose(pan=0.0, tilt=0.0)] * starts),
        limits_tensor([PoseLimits()] * starts),
        action_tensor(DEFAULT_ACTIONS),
        length=length,
        random_share=0.1,
        generator=generator,
        per_start=group,
    )


def _growth(world_model: WorldModel, agent: LearnedAgent, length: int) -> float:
    """Return by how many megabytes the process grows in 100 updates, dreams included, once it has warmed up."""
    for _ in range(WARM_UP):
        agent.update(_dream(world_model, agent, 16, length))
    before = _resident_bytes()
    for _ in range(UPDATES):
        agent.update(_dream(world_model, agent, 16, length))
    return (_resident_bytes() - before) / 1e6 / (UPDATES / 100)


def _resident_bytes() -> int:
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _looks(world_model: WorldModel, agent: LearnedAgent, looks: int) -> tuple[float, float]:
    card = PolicyCard(
        algorithm=agent.algorithm,
        agent="ag_00_00",
        policy_version=1,
        world_model="wm_00_00",
        world_model_version=1,
        action_table=DEFAULT_ACTIONS.digest,
        config=agent.config,
    )
    brain, view = Brain(agent, card, world_model), _view(world_model.config.image_size)
    times = []
    for _ in range(looks):
        started = time.process_time()
        act(brain, view, greedy_share=0.5, daring=0.2)
        times.append(1000.0 * (time.process_time() - started))
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _view(size: int) -> Received[View]:
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    pose = Pose(pan=0.0, tilt=0.0)
    view = View(
        camera="benchmark",
        pose=pose,
        pose_before=pose,
        captured_at=utc_now(),
        episode="benchmark",
        step=0,
        limits=PoseLimits(),
        policy="benchmark",
        width=size,
        height=size,
    )
    return Received("0-0", view, {View.JPEG: buffer.getvalue()})


if __name__ == "__main__":
    sys.exit(main("dreaming", measure))
