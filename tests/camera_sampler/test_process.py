"""``python -m camera_sampler`` as a process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from shared.messages import StreamName, View
from shared.streams import FIELD
from tests.camera_sampler.emulating import BRANDS, PASSWORD, REACH, USER, emulator
from tests.camera_sampler.sampling import SCENE, SPEED
from tests.conftest import RedisServer
from tests.support import REPOSITORY, Process, until

MOST_MEMORY, MOST_OTHERWISE = 120.0, 145.0
"""MiB that the sampler may hold while it looks: by default, and with larger pictures or with tracks (Arrow)."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell")


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    Image.effect_noise((256, 128), 90).convert("RGB").save(path)
    return path


@pytest.fixture
def start(tmp_path: Path, noise: Path) -> Callable[..., Process]:
    def make(**changes: str) -> Process:
        settings = {
            "redis_url": "redis://127.0.0.1:1/0",
            "panorama": str(noise),
            "admin_host": "127.0.0.1",
            "admin_port": "0",
            "time_scale": "50",
            "views_per_second": "20",
        }
        return Process(tmp_path / "process", "-m", "camera_sampler", **(settings | changes)).start()

    return make


def published(server: RedisServer) -> list[View]:
    with Redis.from_url(server.url, protocol=2) as client:
        entries = client.xrange(StreamName.views("camera-0"))
    return [View.model_validate_json(fields[FIELD]) for _, fields in entries]


def samples(process: Process) -> dict[str, float]:
    text = httpx.get(f"{process.url}/metrics").text
    return {
        sample.name + "".join(sorted(f" {value}" for value in sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_runs_until_told_to_stop(own_redis_server: RedisServer, start: Callable[..., Process]) -> None:
    with start(redis_url=own_redis_server.url) as process:
        process.ready()
        until(lambda: len(published(own_redis_server)) >= 5)
        metrics = samples(process)
        assert metrics["ptz_camera_sampler_ready"] == 1.0
        assert metrics["ptz_camera_sampler_views_total random-walk"] >= 4.0
        assert metrics["ptz_camera_sampler_commands_total bad-token"] == 0.0
        assert metrics["ptz_camera_sampler_rejects_total truncated"] == 0.0
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert '"reason": "SIGTERM"' in process.log.splitlines()[-1]


def test_outlives_its_redis(own_redis_server: RedisServer, start: Callable[..., Process]) -> None:
    with start(redis_url=own_redis_server.url) as process:
        until(lambda: len(published(own_redis_server)) >= 5)
        own_redis_server.kill()
        until(lambda: "redis" in httpx.get(f"{process.url}/readyz").json()["missing"])
        assert httpx.get(f"{process.url}/healthz").status_code == 200
        own_redis_server.start()
        process.ready()
        before = len(published(own_redis_server))
        until(lambda: len(published(own_redis_server)) >= before + 5)
        views = list({view.id: view for view in published(own_redis_server)}.values())
        ids = {view.id for view in views}
        assert all(view.previous is None or view.previous in ids for view in views)
        assert process.running.poll() is None


def test_stops_while_redis_is_away(start: Callable[..., Process]) -> None:
    with start() as process:
        until(lambda: "redis" in httpx.get(f"{process.url}/readyz").json()["missing"])
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_ends_after_its_episodes(own_redis_server: RedisServer, start: Callable[..., Process]) -> None:
    with start(redis_url=own_redis_server.url, episodes="3", movements="4", fallback_policy="raster") as process:
        assert process.wait() == 0
        last = process.log.splitlines()[-1]
        assert '"reason": "finished"' in last
        assert process.log.count('"event": "no agent steers; falling back"') == 1
    views = published(own_redis_server)
    assert [view.step for view in views] == [0, 1, 2, 3, 4] * 3
    assert len({view.episode for view in views}) == 3
    assert {view.policy for view in views} == {"raster"}


def memory(process: Process) -> float:
    """Return the process's resident memory in MiB."""
    status = Path(f"/proc/{process.running.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def holds_little(process: Process, server: RedisServer, what: str, most: float = MOST_MEMORY) -> None:
    """Let a sampler look for a while and check what it holds; `pytest -s` shows it."""
    until(lambda: len(published(server)) >= 60, lambda: process.log, seconds=90.0)
    held = memory(process)
    print(f"\n{what}: {held:.0f} MiB")
    assert held < most
    assert not loaded(process, "torch")


@needs_proc
@pytest.mark.parametrize(("width", "height"), [(320, 180), (640, 360)])
def test_memory_with_the_generated_scene(
    width: int, height: int, own_redis_server: RedisServer, start: Callable[..., Process]
) -> None:
    size = {"snapshot_width": str(width), "snapshot_height": str(height)}
    with start(redis_url=own_redis_server.url, panorama="", **size) as process:
        what = f"simulated camera, generated scene, {width}×{height}"
        holds_little(process, own_redis_server, what, MOST_MEMORY if width == 320 else MOST_OTHERWISE)


@needs_proc
def test_memory_with_a_panorama(own_redis_server: RedisServer, start: Callable[..., Process], tmp_path: Path) -> None:
    panorama = tmp_path / "panorama.jpg"
    Image.effect_noise((2048, 1024), 90).convert("RGB").save(panorama)
    with start(redis_url=own_redis_server.url, panorama=str(panorama)) as process:
        holds_little(process, own_redis_server, "simulated camera, panorama of 2048×1024")


@needs_proc
@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("tracking", [False, True], ids=["plain", "tracking"])
async def test_memory_with_a_real_camera(
    brand: str, tracking: bool, own_redis_server: RedisServer, start: Callable[..., Process], tmp_path: Path
) -> None:
    def watch(url: str) -> None:
        known = {"camera_password": PASSWORD, "camera_user": USER, "camera_magnification": f"{REACH.zoom_max:g}"}
        if tracking:
            # Often, so that what a batch of rows costs is among it.
            known |= {"track": str(tmp_path / "tracks"), "track_seconds": "0.5"}
        with start(redis_url=own_redis_server.url, camera_kind=brand, camera_url=url, **known) as process:
            what = f"{brand} camera, 640×360{', with tracking' if tracking else ''}"
            holds_little(process, own_redis_server, what, MOST_OTHERWISE if tracking else MOST_MEMORY)
            assert tracking or not loaded(process, "numpy", "pyarrow")

    scene = SimulatedCamera(SCENE, Sensor(640, 360), limits=REACH, clock=fast_clock(SPEED))
    async with emulator(brand, scene=scene) as server:
        await asyncio.to_thread(watch, server.url)


def loaded(process: Process, *packages: str) -> list[str]:
    """Return which of these packages with code of their own a process has in its memory."""
    maps = Path(f"/proc/{process.running.pid}/maps").read_text()
    return [package for package in packages if f"/{package}/" in maps]


def text_file(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "notes.txt"
    path.write_text("not a picture")
    return {"panorama": str(path)}


def bad_table(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "actions.json"
    path.write_text('{"actions": [{"name": "left", "pan": "x"}]}')
    return {"action_table": str(path)}


def originals_on_a_file(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "file").write_text("")
    return {"keep_originals": str(tmp_path / "file" / "originals")}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (text_file, "notes.txt: not an image"),
        (bad_table, "actions.0.pan"),
        (originals_on_a_file, "PTZ_KEEP_ORIGINALS"),
        (lambda _: {"policy": "dance"}, "PTZ_POLICY"),
        (lambda _: {"redis_url": "http://somewhere"}, "PTZ_REDIS_URL"),
    ],
)
def test_wrong_input_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, start: Callable[..., Process], settings: Callable[[Path], dict[str, str]], words: str
) -> None:
    with start(**settings(tmp_path)) as process:
        assert process.wait() == 2
        lines = [line for line in process.log.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, process.log
        assert words in lines[0]
        assert "Traceback" not in process.log


def test_the_sampler_needs_no_torch() -> None:
    code = "import sys, camera_sampler.service; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_threads_are_limited_before_numpy_is_imported() -> None:
    code = "import sys, camera_sampler.__main__, camera_sampler.settings; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
