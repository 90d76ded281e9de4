"""The examination in minutes: the default agent with the default rewards, for once through a whole sitting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamer_agent.examination.zones import Zone
from dreamer_agent.settings import AgentSettings
from ptzjepa.agent.arms import Arm
from ptzjepa.agent.material import material, scene_of
from ptzjepa.agent.protocol import Protocol
from ptzjepa.agent.sitting import Sitting
from ptzjepa.world_model.scenes import Source

SEED, FRAMES = 0, 1500
CHANCE = 0.25
"""The share of HARD and NEW together in all directions, and twice that of the TV."""


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.timeout(900)
def test_the_default_agent_looks_at_what_can_be_learnt_and_away_from_noise(tmp_path: Path) -> None:
    torch.manual_seed(SEED)
    settings = AgentSettings()
    protocol = replace(Protocol.of(FRAMES), exam_every=FRAMES, fresh_points=1, fresh_steps=1)
    scene = scene_of(Source(None, SEED), SEED, protocol.onset)
    prepared = material(tmp_path / "material.safetensors", Source(None, SEED), SEED, protocol)
    arm = Arm(settings.algorithm, tuple(settings.rewards.items()))
    taken = Sitting(arm, SEED, scene, prepared, protocol).take(tmp_path / "replay", lambda _: None)
    zones = scene.layout.zone_at(np.array(taken["poses"])[protocol.onset :, 0])
    shares = {zone: float((zones == zone).mean()) for zone in Zone}
    assert shares[Zone.HARD] + shares[Zone.NEW] > 1.3 * CHANCE, shares
    assert shares[Zone.TV] < 0.5 * CHANCE, shares
