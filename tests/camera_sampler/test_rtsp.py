"""Snapshots from an emulated camera's stream: fresh, bounded in time, and no word of the password anywhere."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import SecretStr

from camera_sampler.access import Access
from camera_sampler.cameras import CameraError, Snapshot, open_camera
from camera_sampler.cameras.rtsp import NewestFrame, StreamSnapshots
from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.emulators import Fault, RtspEmulator
from camera_sampler.simulation.emulators.rtp_payloads import MOST_BYTES, Codec, payloads
from camera_sampler.snapshots import verify
from shared.errors import UserError
from shared.pose import Pose
from shared.redis_client import RedisClients
from tests.camera_sampler.emulating import PASSWORD, QUICK, REACH, USER, still
from tests.camera_sampler.sampling import SCENE, SPEED, at_least, check_chain, fast, running

# Beside much other work a second of this takes a minute.
pytestmark = pytest.mark.timeout(600)
LONG = 120.0
"""Seconds that a picture may take which comes, and work that ends."""
SHORT = 1.0
"""And seconds to wait for one that does not come."""


def seen() -> SimulatedCamera:
    return SimulatedCamera(SCENE, Sensor(64, 48), limits=REACH, clock=fast_clock(SPEED))


def stream(**changes: Any) -> RtspEmulator:
    return RtspEmulator(seen(), **{"user": USER, "password": PASSWORD, "behaviour": QUICK, **changes})


@pytest.fixture(params=get_args(Codec))
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.param
    return chosen


def viewer(server: RtspEmulator, timeout: float = LONG, password: str = PASSWORD) -> StreamSnapshots:
    return StreamSnapshots(server.camera, Access(server.url, USER, SecretStr(password), timeout=timeout))


async def let_go(opened: StreamSnapshots) -> None:
    async with asyncio.timeout(LONG):
        while opened._busy.locked():  # noqa: ASYNC110 - a thread holds it
            await asyncio.sleep(0.01)


def unlike(snapshot: Snapshot, pose: Pose) -> float:
    """How far a picture is from what a pose shows; a picture of elsewhere is at about 1."""
    expected = SCENE.render(pose, 64, 48, 0.0).astype(int)
    shown = np.asarray(verify(snapshot.data, (64, 48)).image).astype(int)
    return float(np.abs(shown - expected).mean() / np.abs(expected - expected[::-1]).mean())


async def test_a_snapshot_shows_what_the_camera_looks_at_now(codec: Codec) -> None:
    async with stream(codec=codec) as server:
        opened = viewer(server)
        for pan, fault in ((0.0, None), (90.0, "stale-image"), (-120.0, "stale-image"), (30.0, None)):
            await opened.move_to(Pose(pan=pan, tilt=5.0))
            pose = await still(opened)
            if fault:
                server.faults.line_up("stale-image")
            snapshot = await opened.snapshot()
            assert snapshot.origin == "stream"
            assert unlike(snapshot, pose) < 0.6
        assert server.plays == 4


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("reset", "reset"), ("cut", "reset"), ("hang", "timeout"), ("slow", "timeout"), ("garbage", "timeout")],
)
async def test_a_broken_stream_is_an_error_in_time_and_passes(fault: Fault, kind: str, codec: Codec) -> None:
    async with stream(codec=codec) as server:
        opened = viewer(server, SHORT if kind == "timeout" else LONG)
        server.faults.line_up(fault)
        with pytest.raises(CameraError) as caught:
            await opened.snapshot()
        assert caught.value.kind == kind
        await let_go(opened)
        after = viewer(server)
        assert verify((await after.snapshot()).data).image.size == (64, 48)


async def test_no_second_thread_is_started_while_the_first_has_not_let_go() -> None:
    async with stream() as server:
        opened = viewer(server)
        with opened._busy, pytest.raises(CameraError, match="has not let go"):
            await opened.snapshot()
        assert server.plays == 0
        await opened.snapshot()


async def test_a_wrong_password_is_not_sent_again_and_again() -> None:
    async with stream() as server:
        opened = viewer(server, password="wrong")
        opened._login_pause = LONG
        for _ in range(3):
            with pytest.raises(CameraError) as caught:
                await opened.snapshot()
            assert caught.value.kind == "unauthorized"
        assert server.gate.seen["wrong"] == 1


async def test_nobody_there() -> None:
    async with stream() as server:
        opened = viewer(server)
    with pytest.raises(CameraError) as caught:
        await opened.snapshot()
    assert caught.value.kind == "unreachable"


SPY = """
import asyncio, logging, sys
import structlog, traceback
logging.basicConfig(level=0)
from pydantic import SecretStr
from camera_sampler.access import Access
from camera_sampler.cameras.rtsp import StreamSnapshots
async def main():
    opened = StreamSnapshots(None, Access(sys.argv[1], "operator", SecretStr(sys.stdin.read()), timeout=3.0))
    try:
        await opened.snapshot()
    except Exception as error:
        traceback.print_exc()
        while error is not None:
            print(repr(error), error.args, vars(error))
            error = error.__cause__ or error.__context__
        structlog.get_logger().exception("failed")
        print(repr(opened._access))
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["wrong", "reset", "nobody", "garbage", "no-such-name"])
async def test_the_password_escapes_nowhere(way: str) -> None:
    """FFmpeg prints URLs, with the login in them, to its log and its errors."""
    password = "s3cr:et/w@rd"
    async with stream(password="other" if way == "wrong" else password) as server:
        elsewhere = {"nobody": "rtsp://127.0.0.1:1/x", "no-such-name": "rtsp://camera.invalid/"}
        url = elsewhere.get(way, server.url)
        if way in ("reset", "garbage"):
            server.faults.line_up(way)  # type: ignore[arg-type]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SPY, url, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = (await asyncio.wait_for(process.communicate(password.encode()), 2 * LONG))[0].decode()
    assert "CameraError" in said, said
    assert "s3cr" not in said
    assert "w%40rd" not in said
    assert "operator" not in said.replace("user='operator'", "")


async def test_an_error_carries_none_of_ffmpegs_along() -> None:
    async with stream() as server:
        opened = viewer(server, password="wrong")
        with pytest.raises(CameraError) as caught:
            await opened.snapshot()
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("fault", ["stale-image", "reset"])
async def test_the_sampler_takes_its_pictures_from_the_stream(
    fault: Fault, clients: RedisClients, sampler_settings: SamplerSettings
) -> None:
    settings = fast(sampler_settings.redis_url, snapshot_height=48)
    async with stream() as server:
        server.faults.line_up(fault, fault)
        opened = viewer(server)
        async with running(settings, clients, opened):
            found = await at_least(clients, 4, seconds=4 * LONG)
        await let_go(opened)
    check_chain(found, movements=4)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:secret@10.0.0.1/",
        "rtsp://admin:se/cret?x@10.0.0.1",
        "http://10.0.0.1/secret",
        "rtsp://",
        "rtsp://a b/secret",
    ],
)
def test_a_stream_with_credentials_or_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_SNAPSHOT_URL", url)
    with pytest.raises(UserError, match=r"^PTZ_SNAPSHOT_URL must") as caught:
        SamplerSettings.from_environment()
    assert "secret" not in str(caught.value)


def test_a_login_that_ffmpeg_would_cut_is_refused() -> None:
    for user, password in (("a:b", "x"), ("a", "@" * 43), ("a" * 100, "b" * 40)):
        with pytest.raises(UserError, match="cannot be used for RTSP") as caught:
            StreamSnapshots(seen(), Access("rtsp://10.0.0.1/", user, SecretStr(password)))
        assert password == "x" or password not in str(caught.value)


def test_without_pyav_it_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"needs PyAV: pip install 'ptzjepa\[rtsp\]'"):
        open_camera(
            SamplerSettings(camera_kind="hanwha", camera_url="http://10.0.0.1", snapshot_url="rtsp://10.0.0.1/")
        )


def frames(age: float, interval: float, burst: float, latency: float, count: int = 200) -> list[tuple[float, float]]:
    """When frames are taken and when they arrive: those before 0 lie ready, and arrive ``burst`` apart from 0 on."""
    arrivals, ready = [], 0.0
    for number in range(count):
        taken = number * interval - age
        ready = max(ready + burst, taken + latency)
        arrivals.append((taken, ready))
    return arrivals


def taken_frames(arrivals: list[tuple[float, float]], shift: float, held_back: int = 0) -> list[tuple[float, float]]:
    """When the frames that count are taken and decoded, by a decoder that holds some back."""
    newest, chosen = NewestFrame(asked=0.0), []
    for number, (taken, now) in enumerate(arrivals):
        newest.arrived(taken + shift, now)
        shown = arrivals[number - held_back][0] if number >= held_back else None
        if shown is not None and newest.taken_after(shown + shift, now):
            chosen.append((shown, now))
    return chosen


@given(st.floats(0.02, 0.2), st.integers(1, 8), st.floats(-1e6, 1e6))
def test_frames_that_a_decoder_held_back_are_known_as_old(interval: float, held_back: int, shift: float) -> None:
    chosen = taken_frames(frames(1.0, interval, 0.0, 0.0), shift, held_back)
    assert chosen[0][0] >= -1e-6


@given(st.floats(0.0, 3.0), st.floats(0.02, 0.5), st.floats(0.0, 0.01), st.floats(-1e6, 1e6))
def test_no_frame_from_before_the_question_is_taken(age: float, interval: float, burst: float, shift: float) -> None:
    chosen = taken_frames(frames(age, interval, burst, 0.0), shift)
    assert chosen
    # Where frames that lay ready come almost as slowly as they were taken nothing gives them away.
    if burst < interval / 10.0:
        assert chosen[0][0] >= -1.2 * interval - 0.05
    assert chosen[0][1] <= 3.0 + 0.3 + 3 * interval + age


def test_large_pictures_are_sent_in_pieces(codec: Codec) -> None:
    encoder, buffer = payloads(codec), io.BytesIO()
    Image.effect_noise((640, 352), 90).convert("RGB").save(buffer, "JPEG")
    made = encoder.encode(buffer.getvalue(), 0)
    assert len(made) > 20
    assert max(map(len, made)) <= MOST_BYTES + 8
    # The tables (two of 64 bytes), or the parameter sets, come with the first.
    assert made[0][8:12] == b"\0\0\0\x80" if codec == "jpeg" else made[0][0] & 0x1F == 7


def test_a_clock_that_is_set_back_begins_again() -> None:
    newest = NewestFrame(asked=0.0)
    for own, now, counts in ((5000.0, 0.1, False), (10.0, 0.2, False), (10.4, 0.6, True)):
        newest.arrived(own, now)
        assert newest.taken_after(own, now) is counts
