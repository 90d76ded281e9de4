"""What disagreement says of the examined scene's zones, after a random walk through it: the exam in small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.reward_maps import Student, walked
from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.protocol import networks
from ptzjepa.agent.zoned import ZonedScene
from shared.world_model import WorldModel

SEED, FRAMES, LESSONS = 3, 1000, 300


def blots() -> ZonedScene:
    coarse = np.random.default_rng(SEED).integers(0, 256, (16, 32, 3), np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((1024, 512), Image.Resampling.BICUBIC))
    return ZonedScene(picture, ZoneLayout.drawn(SEED), onset=0, seed=SEED)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.timeout(900)
def test_disagreement_is_where_there_is_something_to_learn_and_not_where_there_is_noise() -> None:
    torch.manual_seed(SEED)
    # The encoder stays as it was drawn: it tells blots apart well enough.
    scene, student = blots(), Student(WorldModel(networks("disagreement")), SEED)
    seen = walked(scene, student.model, FRAMES, SEED)
    for _ in range(LESSONS):
        student.learn(seen)
    found = student.map(walked(scene, student.model, FRAMES, SEED + 1, begin=10**6), scene.layout, FRAMES)
    assert found.true_error[Zone.TV] > found.true_error[Zone.HARD], (
        "most wrong about noise: who seeks errors watches it"
    )
    assert found.expected_error[Zone.TV] > found.expected_error[Zone.HARD]
    assert found.disagreement[Zone.TV] < 0.7 * min(found.disagreement[Zone.HARD], found.disagreement[Zone.NEW]), found
