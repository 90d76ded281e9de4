"""The trainer as a real process, beside a real Redis and a real broker."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest
import torch

from shared.broker.client import BrokerClient
from shared.leases import ModelVersion
from shared.messages import StreamName, Surprise, TrainingProgress, View
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from shared.store.model_store import ModelStore
from shared.streams import look_back, publish
from shared.world_model import load_checkpoint
from tests.conftest import RedisServer
from tests.support import Process
from tests.world_model_trainer.views import SIZE, jpeg, walk
from world_model_trainer.state import StateFile

MODEL = "wm_00_00"


class Bench:
    """A trainer's surroundings."""

    def __init__(self, redis: RedisServer, broker_url: str, directory: Path, clients: RedisClients) -> None:
        self.directory, self.clients = directory, clients
        self.settings = ServiceSettings(
            redis_url=redis.url, broker_url=broker_url, model_store=str(directory / "store"), node="test"
        )
        self.broker = BrokerClient(self.settings)
        self.store = ModelStore(self.settings.model_store)

    def trainer(self, name: str = "trainer", **settings: str) -> Process:
        defaults = {
            "redis_url": self.settings.redis_url,
            "broker_url": self.settings.broker_url,
            "model_store": self.settings.model_store,
            "node": name,
            "admin_port": "0",
            "image_size": str(SIZE),
            "commit_seconds": "0.5",
            "lease_ttl_ms": "2000",
            "replay_ratio": "1000000",
            "replay": str(self.directory / f"replay-{name}"),
        }
        return Process(self.directory / name, "-m", "world_model_trainer", **{**defaults, **settings})

    async def publish(self, views: list[View]) -> None:
        for view in views:
            stream = StreamName.views(view.camera)
            await publish(self.clients.commands, stream, view, {View.JPEG: jpeg(view.pose)}, max_length=10_000)

    async def head(self, at_least: int = 1, *, model: str = MODEL) -> ModelVersion:
        found: list[ModelVersion] = []

        async def reached() -> bool:
            head = await self.broker.head(model)
            if head is not None and head.version >= at_least:
                found.append(head)
            return bool(found)

        await eventually(reached)
        return found[-1]


def ask(trainer: Process, path: str) -> httpx.Response:
    return httpx.get(f"{trainer.url}{path}")


async def eventually(condition: Callable[[], object], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


@pytest.fixture
async def bench(redis_server: RedisServer, clients: RedisClients, tmp_path: Path) -> AsyncIterator[Bench]:
    with Process(tmp_path / "broker", "-m", "lock_broker", redis_url=redis_server.url, broker_port="0") as broker:
        surroundings = Bench(redis_server, broker.ready().url, tmp_path, clients)
        yield surroundings
        await surroundings.broker.aclose()


async def test_it_measures_learns_commits_and_stops_in_order(bench: Bench) -> None:
    views = walk(120)
    with bench.trainer() as trainer:
        await bench.publish(views)
        head = await bench.head(at_least=2)
        assert ask(trainer, "/readyz").status_code == 200
        surprises = await look_back(bench.clients.commands, StreamName.surprise("camera-0"), Surprise, 1000)
        moved = [view.id for view in views if view.previous]
        assert [item.message.view for item in surprises] == moved, "each view that a move led to, once, in order"
        metrics = ask(trainer, "/metrics").text
        trainer.send(signal.SIGTERM)
        assert trainer.wait() == 0
    model, card = load_checkpoint(bench.store.get(head.checkpoint))
    assert model.config.image_size == SIZE
    assert card == head.card
    assert card["training_steps"] > 0
    assert card["views_seen"] == 120
    terms = {"prediction", "variance", "covariance", "inverse_dynamics", "pose", "surprise", "total"}
    assert set(card["losses"]) == terms
    assert (card["preset"], card["objective"]) == ("tiny", model.learnt_by) == ("tiny", "vicreg+idm+pose")
    assert 'ptz_world_model_trainer_loss{term="variance"}' in metrics
    progress = await look_back(bench.clients.commands, StreamName.PROGRESS, TrainingProgress, 10)
    assert progress[-1].message.learner == MODEL
    final = await bench.head()
    assert final.card["training_steps"] >= head.card["training_steps"]
    assert not await bench.broker.leases(), "it gave the lease back"
    lineage = final.lineage
    assert lineage is not None
    assert (lineage.generation, lineage.restart) == (0, 0)
    assert [(parent.model, parent.version) for parent in lineage.parents] == [(MODEL, final.version - 1)]
    captured = [view.captured_at for view in views]
    assert [(span.camera, span.first, span.last, span.views) for span in lineage.data] == [
        ("camera-0", min(captured), max(captured), len(views))
    ]
    assert (final.by, final.principal) == ("world-model-trainer-trainer", "anonymous")
    first = (await bench.broker.versions(MODEL))[-1].card
    assert first["fresh_views"] == len(moved)
    assert first["one_step_error"] == pytest.approx(first["copy_last_error"], rel=0.05), "measured before learning"


async def test_killed_it_goes_on_from_its_head(bench: Bench) -> None:
    await bench.publish(walk(120))
    with bench.trainer() as trainer:
        before = await bench.head()
        trainer.send(signal.SIGKILL)
    with bench.trainer() as trainer:
        after = await bench.head(at_least=before.version + 2)
        assert "training state loaded" in trainer.log
        assert '"views": 120' in trainer.log
        assert "remembered views" not in trainer.log, "nothing is read from Redis again"
    assert after.token > before.token
    assert after.card["training_steps"] > before.card["training_steps"]
    assert after.card["views_seen"] == 120, "nothing had to be seen again"


async def test_two_trainers_never_share_a_world_model(bench: Bench) -> None:
    await bench.publish(walk(120))
    with bench.trainer("first") as first:
        first.ready()
        await bench.head()
        with bench.trainer("second") as second:
            await eventually(lambda: "lease" in ask(second, "/readyz").json()["missing"])
            first.send(signal.SIGSTOP)  # sleeps through its lease, with work in hand
            second.ready()
            mine = await bench.head(at_least=2)
            await eventually(lambda: "checkpoint committed" in second.log)
            second.send(signal.SIGTERM)
            assert second.wait() == 0
        theirs = await bench.head(at_least=mine.version)
        first.send(signal.SIGCONT)
        await eventually(lambda: "starting again from the head" in first.log)
        await bench.head(at_least=theirs.version + 1)
    versions = await bench.broker.versions(MODEL)
    tokens = [version.token for version in reversed(versions)]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) >= 3
    assert "training state discarded" in first.log


async def test_a_damaged_head_is_never_replaced_by_random_weights(bench: Bench) -> None:
    await bench.publish(walk(120))
    with bench.trainer() as trainer:
        await bench.head()
        trainer.send(signal.SIGTERM)
        trainer.wait()
    head = await bench.head()
    file = Path(bench.settings.model_store) / head.checkpoint.address
    file.write_bytes(file.read_bytes()[:-100])
    with bench.trainer("elsewhere") as trainer:
        assert trainer.wait(40.0) == 1
        last = trainer.log.strip().splitlines()[-1]
    assert "cannot be loaded" in last
    assert "mend the model store" in last
    assert (await bench.head()).version == head.version


async def test_without_any_version_a_damaged_state_is_no_reason_to_start_from_nothing(bench: Bench) -> None:
    state = bench.directory / "replay-trainer" / MODEL / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"half of a")
    with bench.trainer() as trainer:
        assert trainer.wait(40.0) == 2
        said = [line for line in trainer.log.splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert "cannot be used" in said[0]
    assert "move the file away" in said[0]
    assert await bench.broker.head(MODEL) is None
    assert state.read_bytes() == b"half of a"


async def test_a_registry_that_lost_its_versions_is_no_reason_either(bench: Bench) -> None:
    await bench.publish(walk(120))
    with bench.trainer() as trainer:
        await bench.head()
        trainer.send(signal.SIGTERM)
        trainer.wait()
    await bench.clients.commands.flushall()
    with bench.trainer() as trainer:
        assert trainer.wait(40.0) == 2
        assert "registry" in trainer.log.splitlines()[-1]
    assert await bench.broker.head(MODEL) is None


@pytest.mark.timeout(300)
async def test_killed_in_mid_run_it_ends_with_the_very_same_weights(bench: Bench) -> None:
    """Twice the same training: once undisturbed, once killed with -9 and started again, bit for bit alike."""
    await bench.publish(walk(120))
    # All views are there before the first step, and allow for 48 steps: nothing depends on the clock.
    fixed = {"min_views": "120", "replay_ratio": "128", "state_seconds": "0.2", "commit_seconds": "3600"}
    fixed["lease_ttl_ms"] = "5000"

    def steps(name: str, model: str) -> int:
        found = StateFile(bench.directory / f"replay-{name}" / model / "state.safetensors").read()
        return found[1].steps if found else 0

    async def finished(name: str, model: str, trainer: Process) -> ModelVersion:
        await eventually(lambda: steps(name, model) == 48, 200.0)
        trainer.send(signal.SIGTERM)
        assert trainer.wait(60.0) == 0
        return await bench.head(model=model)

    with bench.trainer("undisturbed", world_model="wm_00_01", **fixed) as other:
        with bench.trainer("killed", world_model="wm_00_02", **fixed) as trainer:
            await eventually(lambda: steps("killed", "wm_00_02") >= 2, 100.0)
            trainer.send(signal.SIGKILL)
        assert 2 <= steps("killed", "wm_00_02") < 48, "killed in mid-run"
        with bench.trainer("killed", world_model="wm_00_02", **fixed) as trainer:
            killed = await finished("killed", "wm_00_02", trainer)
            assert "training state loaded" in trainer.log
        undisturbed = await finished("undisturbed", "wm_00_01", other)
    assert killed.checkpoint.sha256 != undisturbed.checkpoint.sha256, "the cards differ: name, parents, seconds"
    ours, theirs = (load_checkpoint(bench.store.get(each.checkpoint))[0].state_dict() for each in (killed, undisturbed))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


async def test_a_crew_of_two_trains_and_leaves_together(bench: Bench) -> None:
    await bench.publish(walk(120))
    with bench.trainer(processes="2", replay_ratio="20") as trainer:
        head = await bench.head()
        assert head.card["training_steps"] > 0
        helper = next(child for child in psutil.Process(trainer.running.pid).children() if child.is_running())
        assert "world_model_trainer.following" in helper.cmdline()
        trainer.send(signal.SIGTERM)
        assert trainer.wait() == 0
    assert not helper.is_running()


async def test_unusable_views_are_left_out(bench: Bench) -> None:
    views = walk(90)
    with bench.trainer() as trainer:
        await bench.publish(views[:40])
        stream = StreamName.views("camera-0")
        await publish(bench.clients.commands, stream, views[40], {View.JPEG: b"not a picture"}, max_length=10_000)
        await publish(bench.clients.commands, stream, views[41], {}, max_length=10_000)
        await bench.clients.commands.xadd(stream, {b"message": b"{}"})
        await bench.publish(views[42:])
        head = await bench.head()
        assert "ptz_world_model_trainer_views_rejected_total 2.0" in ask(trainer, "/metrics").text
    assert head.card["views_seen"] == 88
    assert await bench.clients.commands.xlen(stream + ":dead") == 1


async def test_redis_killed_and_back(own_redis_server: RedisServer, tmp_path: Path) -> None:
    clients = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url))
    with Process(tmp_path / "own", "-m", "lock_broker", redis_url=own_redis_server.url, broker_port="0") as broker:
        own = Bench(own_redis_server, broker.ready().url, tmp_path / "own", clients)
        try:
            with own.trainer() as trainer:
                await own.publish(walk(100))
                before = await own.head()
                await asyncio.to_thread(own_redis_server.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(own_redis_server.start)
                await own.publish(walk(40, seed=1))
                after = await own.head(at_least=before.version + 1)
                await eventually(lambda: "views_measured_total 126" in ask(trainer, "/metrics").text)
                trainer.send(signal.SIGTERM)
                assert trainer.wait() == 0
            assert after.version > before.version
        finally:
            await own.broker.aclose()
            await clients.aclose()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"commit_seconds": "soon"}, "error: setting PTZ_COMMIT_SECONDS: "),
        ({"model_store": "/dev/null/store"}, "error: "),
        ({"redis_url": "http://nowhere"}, "error: PTZ_REDIS_URL "),
        ({"replay": "/dev/null/replay"}, "error: replay /dev/null/replay/wm_00_00/views: "),
        ({"processes": "4", "micro_batches": "8"}, "error: PTZ_MICRO_BATCHES × PTZ_PROCESSES: "),
        ({"replay_bytes": "1048576"}, "error: replay: room for "),
        ({"admin_port": "70000"}, "error: setting PTZ_ADMIN_PORT: "),
    ],
)
def test_bad_settings_end_with_one_line(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    defaults = {"redis_url": "unix:///nowhere", "model_store": str(tmp_path / "store"), "admin_port": "0"}
    defaults["replay"] = str(tmp_path / "replay")
    with Process(tmp_path, "-m", "world_model_trainer", **{**defaults, **settings}) as trainer:
        assert trainer.wait() == 2
        said = [each for each in trainer.log.splitlines() if not each.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith(line)
