"""Real processes for tests: start a module, wait for its port, ask it, signal it, read what it said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]


class Process:
    """``python ARGUMENTS…`` with settings in its environment; ends with its block."""

    def __init__(self, directory: Path, *arguments: str, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.arguments, self.log_file, self.port_file = arguments, directory / "log", directory / "port"
        self.environment = {
            **_clean_environment(),
            "PTZ_ADMIN_PORT_FILE": str(self.port_file),
            "PTZ_LOG_FORMAT": "json",
        }
        self.environment.update({f"PTZ_{name.upper()}": value for name, value in settings.items()})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.port_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def url(self) -> str:
        """Wait for the port and return the address."""
        until(lambda: self.port_file.is_file() or self.running.poll() is not None, lambda: self.log)
        assert self.running.poll() is None, self.log
        return f"http://127.0.0.1:{self.port_file.read_text().strip()}"

    def ready(self) -> Self:
        """Wait until /readyz says yes."""
        until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, lambda: self.log)
        return self

    def send(self, signum: int) -> None:
        self.running.send_signal(signum)
        if signum == signal.SIGKILL:
            self.running.wait()

    def wait(self, seconds: float = 60.0) -> int:
        return self.running.wait(seconds)

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def until(done: Callable[[], object], explain: Callable[[], str] = str, seconds: float = 60.0) -> None:
    """Wait until ``done()`` holds; a transport error counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except (httpx.TransportError, OSError):
            pass
        time.sleep(0.03)
    raise AssertionError(f"not in {seconds} s: {explain()}")


def _clean_environment() -> Mapping[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PTZ_")}
