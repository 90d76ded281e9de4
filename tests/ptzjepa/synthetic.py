"""A made-up run that looks like a real one: for tests of the summary and the report, and for looking at the report."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camera_sampler.simulation.scenes import Scene
from ptzjepa.summary import Identity, summarise
from ptzjepa.timeline import Timeline
from shared.actions import DEFAULT_ACTIONS
from shared.leases import ModelVersion
from shared.messages import Checkpoint, DreamBatch, Surprise, TrainingProgress, View
from shared.pose import Pose, PoseLimits
from shared.supervision import Child

START = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
WORLD_MODEL, AGENT = "wm_00_00", "ag_00_00"
SERVICES = ("redis", "lock-broker", "camera-sampler", "world-model-trainer", "dream-generator", "rl-agent")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def version(model: str, number: int, seconds: float, **card: Any) -> ModelVersion:
    checkpoint = Checkpoint.of(f"models/{number}", b"weights")
    return ModelVersion(
        model=model, version=number, token=1, committed_at=at(seconds), checkpoint=checkpoint, card=card
    )


class SyntheticRun:
    """``minutes`` of a run at eight views a second, on a scene or without pictures."""

    def __init__(self, minutes: float = 3.0, *, scene: Scene | None = None, originals: Path | None = None) -> None:
        self.seconds = minutes * 60.0
        self.timeline = Timeline(WORLD_MODEL, AGENT, started=START.timestamp())
        self._scene, self._originals = scene, originals
        self._random = np.random.default_rng(7)
        self._limits = PoseLimits()
        self._weights = self._random.dirichlet(np.full(len(DEFAULT_ACTIONS), 3.0))
        self._look_around()
        self._learn()

    def _look_around(self) -> None:
        pose, previous = Pose(pan=0.0, tilt=10.0), None
        for step in range(int(self.seconds * 8)):
            seconds = step / 8.0
            steered = seconds > 55 and step % 7 != 0
            weights = self._weights if steered else None
            action = DEFAULT_ACTIONS[int(self._random.choice(len(DEFAULT_ACTIONS), p=weights))]
            pose = action.apply(pose, self._limits)
            view = View(
                id=f"view-{step:06d}",
                time=at(seconds),
                camera="camera-0",
                pose=pose,
                pose_before=pose,
                captured_at=at(seconds),
                episode=f"episode-{step // 300}",
                step=step % 300,
                previous=previous,
                action=action if previous else None,
                limits=self._limits,
                policy="agent" if steered else "random-walk",
                policy_version=1 + int(seconds // 30) if steered else None,
                width=64,
                height=64,
                original=f"{step}.jpg" if self._originals else None,
            )
            previous = view.id
            self.timeline.add_view(view, self._picture(pose, step))
            if step > 60:
                self._surprise(view, seconds)

    def _picture(self, pose: Pose, step: int) -> bytes | None:
        if self._scene is None:
            return None
        if self._originals and step % 3 == 0:
            (self._originals / f"{step}.jpg").write_bytes(_jpeg(self._scene.render(pose, 320, 180, 0.0)))
        return _jpeg(self._scene.render(pose, 64, 64, 0.0))

    def _surprise(self, view: View, seconds: float) -> None:
        place = 1.0 + 0.8 * math.sin(math.radians(view.pose.pan * 2.0)) * math.cos(math.radians(view.pose.tilt * 3.0))
        scale = 0.2 + 0.8 * (1.0 - math.exp(-seconds / 30.0))
        copy_last = scale * place * float(self._random.lognormal(-1.0, 0.5))
        share = 0.35 + 0.9 * math.exp(-seconds / 25.0)
        self.timeline.add_surprise(
            Surprise(
                id=f"surprise-{view.id}",
                time=view.captured_at,
                camera=view.camera,
                view=view.id,
                world_model=WORLD_MODEL,
                world_model_version=int(seconds // 20),
                error=copy_last * share * float(self._random.lognormal(0.0, 0.3)),
                copy_last_error=copy_last,
                predicted=scale * share * 0.4,
            )
        )

    def _learn(self) -> None:
        for number, seconds in enumerate(np.arange(10.0, self.seconds, 2.0)):
            decay = math.exp(-seconds / 40.0)
            terms = {"prediction": 0.1 + decay, "variance": 0.05 + 0.4 * decay, "covariance": 0.02 + 0.1 * decay}
            terms |= {"inverse_dynamics": 0.3 + 2 * decay, "surprise": 0.01 + 0.03 * decay, "total": 0.5 + 3.5 * decay}
            self._progress(WORLD_MODEL, number, float(seconds), terms)
            if seconds > 40:
                terms = {"policy": -0.1 * decay, "value": decay, "entropy": 3.0 - seconds / 200, "return": 1 - decay}
                self._progress(AGENT, number, float(seconds), terms)
        for number, seconds in enumerate(np.arange(20.0, self.seconds, 20.0), start=1):
            card = {
                "one_step_error": 0.3 * math.exp(-seconds / 60),
                "copy_last_error": 0.4,
                "fresh_views": 160,
                "training_steps": 110 * number,
                "views_seen": 160 * number,
            }
            self.timeline.add_versions(WORLD_MODEL, [version(WORLD_MODEL, number, float(seconds), **card)])
        for number, seconds in enumerate(np.arange(50.0, self.seconds, 10.0), start=1):
            self.timeline.add_versions(AGENT, [version(AGENT, number, float(seconds))])
        for number, seconds in enumerate(np.arange(24.0, self.seconds, 2.0)):
            self.timeline.add_dreams(
                DreamBatch(
                    id=f"dreams-{number:06d}",
                    time=at(float(seconds)),
                    address="dreams/x",
                    sha256="0" * 64,
                    size=10,
                    dreams=64,
                    length=10,
                    camera="camera-0",
                    world_model=WORLD_MODEL,
                    world_model_version=1,
                    agent=AGENT,
                    policy_version=0,
                )
            )

    def _progress(self, learner: str, number: int, seconds: float, terms: dict[str, float]) -> None:
        self.timeline.add_progress(
            TrainingProgress(
                id=f"{learner}-{number:06d}", time=at(seconds), learner=learner, step=number * 10, terms=terms
            )
        )

    def children(self) -> dict[str, Child]:
        return {name: Child(name, ["true"], exit_code=0, restarts=index % 2) for index, name in enumerate(SERVICES)}

    def summary(self) -> dict[str, Any]:
        versions = {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "redis_server": "valkey 9.1.2"}
        identity = Identity(0, "0123456789abcdef", versions, "ptzjepa demo --minutes 3 --seed 0")
        return summarise(self.timeline, self.children(), identity, seconds=self.seconds, interrupted=False)


def _jpeg(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
