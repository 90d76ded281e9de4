"""``ptzjepa camera emulate``: a camera that speaks a vendor's protocol, with a simulated one behind."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from camera_sampler.cameras.simulated import Sensor, SimulatedCamera
from camera_sampler.simulation.emulators import Faults
from camera_sampler.simulation.emulators.faults import FAULTS
from camera_sampler.simulation.scenes import open_scene
from ptzjepa.camera_brands import BRANDS
from shared.errors import UserError
from shared.pose import PoseLimits

REACH = PoseLimits(tilt_min=-20.0, tilt_max=90.0, zoom_max=32.0)
SENSOR = Sensor(640, 360)


@contextlib.contextmanager
def password_file(password: str | None) -> Iterator[tuple[str, Path | None]]:
    """Return the password; where there is none, a random one and the private file that holds it during the block."""
    if password:
        yield password, None
        return
    directory = Path(tempfile.mkdtemp(prefix="ptz-camera-"))
    try:
        path, made = directory / "password", secrets.token_urlsafe(18)
        path.touch(mode=0o600)
        path.write_text(made + "\n", encoding="ascii")
        yield made, path
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def emulate(
    brand: str, panorama: Path | None, port: int, user: str, password: str, rate: float, say: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM. ``say`` gets the URL. ``UserError`` where the panorama or the port is no good."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    scene = await asyncio.to_thread(open_scene, panorama)
    server = BRANDS[brand].emulator(
        SimulatedCamera(scene, SENSOR, limits=REACH),
        user=user,
        password=password,
        faults=Faults(rate=rate, kinds=FAULTS, seed=secrets.randbits(32)),
        port=port,
    )
    try:
        await server.start()
    except OSError as error:
        raise UserError(f"--port {port}: cannot listen there ({error.strerror}); give another, or 0") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(server)
        say(server.url)
        await stop.wait()
