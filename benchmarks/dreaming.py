"""Dreaming and learning on one core, and how long the pilot takes to choose: ``python -m benchmarks.dreaming``."""

from __future__ import annotations

import io
import statistics
import sys
import time

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Row, main, median_rate
from dreamer_agent.agents import ActorCritic, ActorCriticConfig, PolicyCard
from dreamer_agent.dreaming import dream
from dreamer_agent.dreams import Dreams
from dreamer_agent.pilot import Brain, act
from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor
from dreamer_agent.settings import DreamSettings
from shared.actions import DEFAULT_ACTIONS
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits
from shared.streams import Received
from shared.world_model import WorldModel, WorldModelConfig

LOOKS = 400
BIG_BATCH = 256


def measure() -> list[Row]:
    """Return moves dreamed and learnt from per second, the share of each half, and the pilot's time to choose."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world_model = WorldModel(WorldModelConfig()).eval().requires_grad_(False)
    agent = ActorCritic(
        ActorCriticConfig(embedding_size=world_model.config.embedding_size, actions=len(DEFAULT_ACTIONS))
    )
    fields = DreamSettings.model_fields
    count, length = int(fields["number_of_dreams"].default), int(fields["dream_length"].default)
    rows = []
    for batch, target in ((count, None), (BIG_BATCH, 10_000.0)):
        both = median_rate(lambda batch=batch: agent.update(_dream(world_model, agent, batch, length)))  # type: ignore[misc]
        rows.append(Row(f"dream and learn, {batch} × {length}", batch * length * both, "moves/s", target))
    alone = median_rate(lambda: _dream(world_model, agent, BIG_BATCH, length))
    rows.append(Row(f"dream alone, {BIG_BATCH} × {length}", BIG_BATCH * length * alone, "moves/s"))
    p50, p95 = _looks(world_model, agent)
    rows.append(Row("pilot: JPEG to move, median", p50, "ms", better="lower"))
    rows.append(Row("pilot: JPEG to move, 95th percentile", p95, "ms", 5.0, better="lower"))
    return rows


def _dream(world_model: WorldModel, agent: ActorCritic, batch: int, length: int) -> Dreams:
    generator = torch.Generator().manual_seed(0)
    return dream(
        world_model,
        agent,
        torch.randn(batch, world_model.config.embedding_size, generator=generator),
        pose_tensor([Pose(pan=0.0, tilt=0.0)] * batch),
        limits_tensor([PoseLimits()] * batch),
        action_tensor(DEFAULT_ACTIONS),
        length=length,
        random_share=0.1,
        generator=generator,
    )


def _looks(world_model: WorldModel, agent: ActorCritic) -> tuple[float, float]:
    card = PolicyCard(
        agent="ag_00_00",
        policy_version=1,
        world_model="wm_00_00",
        world_model_version=1,
        action_table=DEFAULT_ACTIONS.digest,
        config=agent.config,
    )
    brain, view = Brain(agent, card, world_model), _view(world_model.config.image_size)
    times = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        act(brain, view, greedy_share=0.5, daring=0.2)
        times.append(1000.0 * (time.perf_counter() - started))
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
