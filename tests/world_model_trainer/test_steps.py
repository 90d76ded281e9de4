"""How a step is taken: its rate, its parts, its team, and going on from where it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.world_model import WorldModel, WorldModelConfig
from tests.support import REPOSITORY
from world_model_trainer.objectives import ObjectiveConfig, Trajectories, build_objective
from world_model_trainer.parts import split
from world_model_trainer.plateau import Plateau
from world_model_trainer.schedule import rate_share
from world_model_trainer.state import StateFile, new_card, pack_state, read_card, restore
from world_model_trainer.team import Leader, Team, join
from world_model_trainer.training import Trainer, TrainingConfig

CPU = torch.device("cpu")
NETWORKS = WorldModelConfig(image_size=32, widths=(8, 16), embedding_size=16, hidden_size=32, blocks=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def some_batch(seed: int = 0, count: int = 16, cameras: int = 2) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    return Trajectories(
        images=torch.randint(0, 256, (count, 4, 3, 32, 32), dtype=torch.uint8, generator=generator),
        poses=torch.rand(count, 4, 3, generator=generator) * 20.0 + 1.0,
        actions=torch.randn(count, 3, 3, generator=generator),
        cameras=torch.arange(count) % cameras,
    )


def trainer_of(*, means_only: bool = False, team: Team | None = None, seed: int = 0, **config: object) -> Trainer:
    torch.manual_seed(seed)
    model = WorldModel(NETWORKS)
    torch.nn.init.normal_(model.predictor.change.weight, std=0.1)
    spread = {"variance": 0.0, "covariance": 0.0} if means_only else {"variance": 1.0}
    objective = build_objective(NETWORKS, ObjectiveConfig(name="vicreg+idm+pose", weights=spread))
    settings = TrainingConfig.model_validate({"batch": 16, "length": 3, "mixed_precision": False, **config})
    return Trainer(model, settings, device=CPU, objective=objective, team=team)


def gradients(trainer: Trainer, batch: Trajectories) -> dict[str, torch.Tensor]:
    trainer.step(batch)
    return {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters()}  # type: ignore[union-attr]


@given(
    horizon=st.integers(1, 10_000), warm_up=st.integers(0, 100), floor=st.floats(0.01, 1.0), step=st.integers(0, 20_000)
)
def test_the_rate_warms_up_falls_once_and_never_below_its_floor(
    horizon: int, warm_up: int, floor: float, step: int
) -> None:
    def share(at: int) -> float:
        return rate_share(at, since_start=at, warm_up=warm_up, horizon=horizon, floor=floor)

    assert 0.0 < share(step) <= 1.0
    if step >= warm_up:
        assert share(step + 1) <= share(step) + 1e-12
        assert share(step) >= floor - 1e-12
    if step >= max(horizon, warm_up):
        assert share(step) == pytest.approx(floor)
    middle = horizon // 2
    if horizon % 2 == 0 and middle >= warm_up:
        assert share(middle) == pytest.approx((1.0 + floor) / 2.0)


def test_a_new_optimiser_warms_up_again_whatever_the_age_of_the_world_model() -> None:
    trainer = trainer_of(warm_up_steps=10, schedule_steps=100, learning_rate=1.0, floor=0.1)
    assert trainer.learning_rate == pytest.approx(0.1)
    trainer.continue_from(1000)
    assert trainer.learning_rate == pytest.approx(0.01)
    trainer.steps += 20
    assert trainer.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 16, 40])
def test_parts_are_the_batch_and_keep_cameras_together(parts: int) -> None:
    batch = some_batch(count=16, cameras=4)
    found = split(batch, parts)
    assert len(found) == min(parts, 16)
    sizes = [len(part.images) for part in found]
    assert sum(sizes) == 16
    assert max(sizes) - min(sizes) <= 1
    joined = torch.cat([part.images for part in found]).flatten(1)
    assert sorted(map(tuple, joined.tolist())) == sorted(map(tuple, batch.images.flatten(1).tolist()))
    if parts == 4:
        assert all(len(set(part.cameras.tolist())) == 1 for part in found if part.cameras is not None)
    for part in found:
        for index in range(len(part.images)):
            place = int((batch.images == part.images[index]).flatten(1).all(dim=1).nonzero()[0])
            assert torch.equal(batch.poses[place], part.poses[index])


@pytest.mark.parametrize("micro_batches", [2, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro_batches: int) -> None:
    batch = some_batch()
    whole = gradients(trainer_of(means_only=True), batch)
    parts = gradients(trainer_of(means_only=True, micro_batches=micro_batches), batch)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_terms_are_averaged_over_parts_likewise() -> None:
    batch = some_batch()
    whole = trainer_of(means_only=True).step(batch)
    parts = trainer_of(means_only=True, micro_batches=4).step(batch)
    assert whole == pytest.approx(parts, rel=1e-4)
    assert whole["total"] == pytest.approx(sum(term for name, term in whole.items() if name != "total"), rel=1e-5)


def test_statistics_are_those_of_each_part() -> None:
    """What the documentation says of variance and covariance under accumulation."""
    batch = some_batch(count=16, cameras=1)
    trainer = trainer_of(micro_batches=2)
    with torch.no_grad():
        encoded = trainer.model.encode(batch.images.flatten(0, 1)).embedding.reshape(16, 4, -1)
    halves = [torch.relu(1.0 - torch.sqrt(half.var(dim=0) + 1e-4)).mean() for half in encoded.split(8)]
    assert trainer.step(batch)["variance"] == pytest.approx(float(sum(halves)) / 2.0, rel=1e-4)


def test_going_on_from_a_state_is_going_on() -> None:
    trainer = trainer_of(schedule_steps=40)
    for seed in range(5):
        trainer.step(some_batch(seed))
    data = pack_state(trainer, new_card(trainer, "wm_00_00", head="a" * 64))
    torch.manual_seed(99)
    again = restore(*read_card(data), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), read_card(data)[0]["random.cpu"])
    assert (again.steps, again.learning_rate) == (trainer.steps, trainer.learning_rate)
    for seed in range(5, 10):
        trainer.step(some_batch(seed))
        again.step(some_batch(seed))
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_state_that_is_no_state_says_so(tmp_path: Path) -> None:
    trainer = trainer_of()
    trainer.step(some_batch())
    data = pack_state(trainer, new_card(trainer, "wm_00_00"))
    file = StateFile(tmp_path / "state.safetensors")
    assert file.read() is None
    for damaged in (b"", data[:100], data[:-1], b"\0" * 64):
        file.path.write_bytes(damaged)
        with pytest.raises(ValueError, match="safetensors"):
            file.read()
    tensors, card = read_card(data)
    tensors.pop("model.encoder.stages.0.0.weight")
    with pytest.raises(ValueError, match="does not fit"):
        restore(tensors, card, device=CPU)
    with pytest.raises(UserError, match="training state"):
        StateFile(Path("/dev/null/state")).write(data)
    file.write(data)
    assert [each.name for each in tmp_path.iterdir()] == ["state.safetensors"]


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """With each camera on a process of its own, statistics are the same as when one takes the batch in two parts."""
    store = dist.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    file = tmp_path / "weights"
    command = [sys.executable, "-m", "tests.world_model_trainer.follower", str(store.port), str(file)]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        try:
            join(store, 0, 2)
            leader = Leader()
            together, alone = trainer_of(team=leader), trainer_of(micro_batches=2)
            leader.send_state(pack_state(together, new_card(together, "wm_00_00")))
            leader.idle()
            for seed in range(3):
                terms, expected = together.step(some_batch(seed), decay=0.5), alone.step(some_batch(seed), decay=0.5)
                assert terms == pytest.approx(expected, rel=1e-4)
            leader.stop()
            assert process.wait(60.0) == 0
        finally:
            process.kill()
            if dist.is_initialized():
                dist.destroy_process_group()
    ours, theirs = together.model.state_dict(), safetensors.torch.load(file.read_bytes())
    single = alone.model.state_dict()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
        torch.testing.assert_close(tensor, single[name], rtol=1e-3, atol=1e-5, msg=name)


def test_smoothed_errors_that_stop_falling_are_a_plateau_until_they_rise() -> None:
    plateau = Plateau(patience=5, improvement=0.01, rise=0.1)
    assert not any(plateau.note(0.9**step, 0.9**step) for step in range(30))
    level = 0.9**29
    reached = [plateau.note(level * wobble, level) for wobble in np.tile([1.002, 0.998], 10)]
    assert reached[-1]
    assert not reached[3], "not before it has waited"
    assert plateau.note(level, None)
    assert plateau.note(None, level * 1.05), "a little is no rise"
    assert not any([plateau.note(None, level * 1.4), plateau.note(None, level * 1.4)]), "fresh views are new again"
    assert not plateau.note(level, level), "and it has its patience back"


def test_a_plateau_survives_a_restart() -> None:
    plateau = Plateau(patience=2, improvement=0.01, rise=0.1)
    for _ in range(4):
        plateau.note(0.5, 0.5)
    assert plateau.reached
    stored = plateau.state.model_validate_json(plateau.state.model_dump_json())
    again = Plateau(patience=2, improvement=0.01, rise=0.1, state=stored)
    assert again.reached
    assert not again.note(0.9, None)
