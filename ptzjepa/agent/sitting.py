"""One arm's sitting of the examination, in one process: a camera that is steered, a world model, dreams, an agent.

The parts are those of the services; only streams, leases and clocks are missing. Every arm makes as many updates of as
large batches after as many frames.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamer_agent.agents.base import LearnedAgent, Mode, certainty, views_to_stay
from dreamer_agent.agents.random import RandomAgent
from dreamer_agent.dream_buffer import DreamBuffer
from dreamer_agent.dreaming import dream
from dreamer_agent.dreams import DreamOrigin
from dreamer_agent.examination.oracle import OracleAgent
from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor
from dreamer_agent.settings import GROUP
from dreamer_agent.starts import Start, StartPool
from ptzjepa.agent import probes
from ptzjepa.agent.arms import Arm
from ptzjepa.agent.eyes import encode, look, with_eyes
from ptzjepa.agent.material import Material, Transitions
from ptzjepa.agent.protocol import LIMITS, MOVES, STILL, VIEW, Camera, Protocol
from ptzjepa.agent.zoned import ZonedScene
from shared.messages import View, utc_now
from shared.pose import Pose
from world_model_trainer.objectives import ObjectiveConfig, build_objective
from world_model_trainer.replay import Measured, Replay
from world_model_trainer.training import Trainer, TrainingConfig

STARTS = 512
DREAM_BATCHES = 4


@dataclass(frozen=True)
class _Look:
    """What the camera saw last, and where."""

    view: View
    pose: torch.Tensor
    embedding: torch.Tensor


class Sitting:
    """One arm with one seed. ``scene`` is what the camera sees; the arm itself is told of no zone."""

    def __init__(self, arm: Arm, seed: int, scene: ZonedScene, material: Material, protocol: Protocol) -> None:
        self._arm, self._seed, self._scene, self._material, self._protocol = arm, seed, scene, material, protocol
        self._model = with_eyes(material.eyes, arm.surprise, seed)
        self._fresh = with_eyes(material.eyes, "error", seed)
        self._trainer = Trainer(
            self._model,
            TrainingConfig(batch=protocol.batch, length=1),
            device=torch.device("cpu"),
            objective=build_objective(self._model.config, ObjectiveConfig(name="random")),
        )
        self._rewards = arm.mix()
        self._agent = arm.make(self._model, self._rewards, scene.layout, protocol.onset, seed)
        self._learner = self._agent if isinstance(self._agent, LearnedAgent) else None
        # Whoever wants moves made by chance need not be asked for others: a planner would think long about each.
        self._dreamer = RandomAgent(len(MOVES)) if self._agent.dreams_at_random else self._agent
        self._per_start = GROUP if arm.agent == "grpo" else 1
        self._pool = StartPool(STARTS)
        self._buffer = DreamBuffer(DREAM_BATCHES, protocol.frames, seed)
        self._deltas = action_tensor(MOVES)
        self._images = torch.empty((protocol.frames, 3, VIEW, VIEW), dtype=torch.uint8)
        self._embeddings = torch.empty((protocol.frames, self._model.config.embedding_size))
        self._poses = torch.empty((protocol.frames, 3))
        self._actions = torch.zeros((protocol.frames, 3))
        self._numbers: dict[str, int] = {}
        self._looks: list[dict[str, Any]] = []
        self._shuffled: list[dict[str, float]] = []
        self._staying = 0
        """Views still to be taken of the place where the camera is."""
        # The walk before anybody learns is the same for every arm, so it has a stream of its own.
        self._first_moves = random.Random(seed)
        self._daring = random.Random(seed + 1)
        self._generator = torch.Generator().manual_seed(seed)
        self._draws = np.random.default_rng((seed, 2_000_003))

    def take(self, scratch: Path, progress: Callable[[int], None]) -> dict[str, Any]:
        """Live through all frames and return what the grader needs; ``progress`` hears of every frame.

        The replay lies at ``scratch`` meanwhile; what a former, broken sitting left there is removed.
        """
        scratch.unlink(missing_ok=True)
        replay = Replay(scratch, VIEW, views=max(1024, self._protocol.frames), seed=self._seed)
        try:
            self._live(replay, progress)
        finally:
            replay.close()
            scratch.unlink()
        return {
            "poses": [[round(pan, 2), round(tilt, 2)] for pan, tilt, _ in self._poses.tolist()],
            "looks": self._looks,
            "fidelity": probes.fidelity(self._model, self._material.walks),
            "shuffled": self._shuffled,
            "fresh": self._fresh_curve(),
            "control": self._control(),
            "model_updates": self._trainer.steps,
            "agent_updates": self._learner.updates if self._learner else 0,
        }

    def _live(self, replay: Replay, progress: Callable[[int], None]) -> None:
        protocol, camera = self._protocol, Camera(self._seed)
        seen = self._see(0, camera.stand(), None, 0, replay)
        for frame in range(1, protocol.frames):
            action = self._choose(seen, frame)
            seen = self._see(frame, camera.move(MOVES[action]), seen, action, replay)
            if frame >= protocol.warm_up:
                self._learn(frame, replay)
            if frame % protocol.exam_every == 0 or frame == protocol.frames - 1:
                self._examine(frame)
            if frame in protocol.shuffled_at and self._learner:
                self._shuffled.append(probes.shuffled_cost(self._model, self._agent, self._scene, frame, self._seed))
            progress(frame + 1)

    @torch.no_grad()
    def _see(self, frame: int, stands: Pose, before: _Look | None, action: int, replay: Replay) -> _Look:
        """Take a view, note how wrong the world model was about it, and keep it."""
        pose, image = pose_tensor([stands]), look(self._scene, [stands], [frame])
        # Half precision and back, as in the dreams that the policy learns from.
        embedding = encode(self._model, image, pose).half().float()
        self._images[frame], self._embeddings[frame], self._poses[frame] = image[0], embedding[0], pose[0]
        view = View(
            camera="examined",
            pose=stands,
            pose_before=stands,
            captured_at=utc_now(),
            episode="0",
            step=frame,
            previous=before.view.id if before else None,
            action=MOVES[action] if before else None,
            limits=LIMITS,
            policy="agent",
            width=VIEW,
            height=VIEW,
        )
        measured = None
        if before is not None:
            self._actions[frame] = self._deltas[action]
            foreseen = self._model.predict(before.embedding, before.pose, self._deltas[action : action + 1], pose)
            measured = Measured(
                float((foreseen.embedding - embedding).square().mean()),
                float((before.embedding - embedding).square().mean()),
                float(foreseen.surprise),
            )
            self._pool.surprised(view.id, measured.error)
        replay.add(view, image[0].numpy(), measured)
        self._numbers[view.id] = frame
        self._pool.add(Start(view.id, b"", stands, LIMITS))
        self._rewards.saw(pose[0], float(frame))
        if isinstance(self._agent, OracleAgent):
            self._agent.frame = frame
        return _Look(view, pose, embedding)

    @torch.no_grad()
    def _choose(self, seen: _Look, frame: int) -> int:
        """Choose a move as the pilot does: the best one where the policy is sure, by ``greedy_share``."""
        if frame <= self._protocol.warm_up:
            return self._first_moves.randrange(len(MOVES))
        if self._staying > 0:
            self._staying -= 1
            return STILL
        log_probs = self._agent.log_probabilities(seen.embedding, seen.pose)
        sure = self._protocol.greedy_share * float(certainty(log_probs))
        mode = Mode.GREEDY if self._daring.random() < sure else Mode.SAMPLE
        chosen, _ = self._agent.act(seen.embedding, seen.pose, mode, generator=self._generator)
        if int(chosen) != STILL:
            self._staying = views_to_stay(self._protocol.dwell, self._daring.random())
        return int(chosen)

    def _learn(self, frame: int, replay: Replay) -> None:
        protocol = self._protocol
        if frame % protocol.train_every == 0:
            batch = replay.sample(protocol.batch, 1, self._draws)
            if batch is not None:
                self._trainer.step(batch)
        if self._learner and frame % protocol.dream_every == 0:
            self._dream(frame)
            for _ in range(protocol.updates_per_batch):
                self._learner.update(self._buffer.draw(2 * protocol.number_of_dreams))

    def _dream(self, frame: int) -> None:
        protocol = self._protocol
        starts = self._pool.draw(protocol.number_of_dreams // self._per_start, self._daring)
        rows = torch.tensor([self._numbers[start.view] for start in starts])
        dreams = dream(
            self._model,
            self._dreamer,
            self._embeddings[rows],
            self._poses[rows],
            limits_tensor([LIMITS] * len(rows)),
            self._deltas,
            length=protocol.dream_length,
            random_share=0.1,
            generator=self._generator,
            per_start=self._per_start,
            surprise=self._model.config.surprise,
        )
        origin = DreamOrigin(
            world_model="examined",
            world_model_version=frame,
            agent="examined",
            policy_version=self._learner.updates if self._learner else 0,
            camera="examined",
            action_table=MOVES.digest,
            surprise=self._model.config.surprise,
        )
        self._buffer.add(dreams, origin)

    def _examine(self, frame: int) -> None:
        asked = self._material.before if frame < self._protocol.onset else self._material.after
        wrong = probes.errors(self._model, asked)
        found: dict[str, Any] = {"frame": frame, "zones": probes.by_zone(self._scene.layout, asked, wrong)}
        if self._arm.rewards:
            # Some rewards remember what they were asked about, and nobody shall learn from the grader's questions.
            rewards = copy.deepcopy(self._rewards)
            found["calibration"] = probes.calibration(self._model, rewards, self._scene.layout, asked)
        self._looks.append(found)

    def _seen(self) -> Transitions:
        return Transitions(
            self._embeddings[:-1], self._poses[:-1], self._actions[1:], self._poses[1:], self._embeddings[1:]
        )

    def _fresh_curve(self) -> list[dict[str, Any]]:
        protocol = self._protocol
        points = [protocol.frames * (point + 1) // protocol.fresh_points for point in range(protocol.fresh_points)]
        return probes.fresh_curve(
            self._fresh, self._seen(), self._scene.layout, self._material.after, points, protocol.fresh_steps
        )

    def _control(self) -> float | None:
        """Return the calibration of PTZJEPA's reward where a random walk has filled the replay."""
        if self._arm.name != "random":
            return None
        return probes.batch_scalar_calibration(
            self._model, self._images[1:], self._seen(), self._scene.layout, self._material.after, self._seed
        )
