"""torchrun starts the ranks, by the very command of the Job in ``k8s/components/training-job``."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
import yaml

from shared.leases import ModelVersion
from tests.support import REPOSITORY, Process
from tests.world_model_trainer.test_service import MODEL, Bench, bench, eventually
from tests.world_model_trainer.views import walk
from world_model_trainer.launching import Launched, launched

__all__ = ["bench"]


def job_command(ranks: int) -> list[str]:
    """What the Job's container runs, with another number of ranks and a port that is free here."""
    [job] = yaml.safe_load_all((REPOSITORY / "k8s" / "components" / "training-job" / "job.yaml").read_text())
    [container] = job["spec"]["template"]["spec"]["containers"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.replace("$(GPUS)", str(ranks)).replace("29500", str(port)) for word in container["command"]]
    assert command[0] == "torchrun"
    return ["-m", "torch.distributed.run", *command[1:]]


def test_a_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")
    assert launched() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched() == Launched(3, 4)
    assert Launched(3, 4).settings == {"processes": 4}


async def patient_head(bench: Bench) -> ModelVersion:
    """Wait for the first version as long as a busy machine may need to start torch in three processes."""
    found: list[ModelVersion] = []

    async def committed() -> bool:
        head = await bench.broker.head(MODEL)
        found.extend([head] if head else [])
        return bool(found)

    await eventually(committed, 240.0)
    return found[0]


@contextlib.contextmanager
def ranks_of(bench: Bench, ranks: int) -> Iterator[Process]:
    """Run the Job's command; nobody whom torchrun started outlives the block."""
    # Seconds from one renewal to the next: starting torch twice keeps a small machine busy.
    trainer = bench.trainer(replay_ratio="20", device="cpu", lease_ttl_ms="30000")
    trainer.arguments = (*job_command(ranks),)
    with trainer:
        process = psutil.Process(trainer.running.pid)
        try:
            yield trainer
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in process.children(recursive=True):
                    child.kill()


def ranks(torchrun: Process) -> dict[str, psutil.Process]:
    """The processes that it started, by rank."""
    children = psutil.Process(torchrun.running.pid).children(recursive=True)
    return {rank: child for child in children if (rank := child.environ().get("RANK")) is not None}


@pytest.mark.timeout(480)
async def test_torchruns_ranks_train_together_and_end_in_order(bench: Bench) -> None:
    await bench.publish(walk(120))
    with ranks_of(bench, 2) as torchrun:
        head = await patient_head(bench)
        assert head.card["training_steps"] > 0
        found = ranks(torchrun)
        assert found.keys() == {"0", "1"}, "the leader starts nobody itself"
        torchrun.send(signal.SIGTERM)
        torchrun.wait(90.0)
        await eventually(lambda: not any(rank.is_running() for rank in found.values()))
    assert '"reason": "SIGTERM", "exit": 0' in torchrun.log, "the leader came to its end before anyone was killed"
    assert not await bench.broker.leases(), "it gave the lease back"
