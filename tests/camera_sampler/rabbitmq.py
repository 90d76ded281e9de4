"""A real RabbitMQ with what a Waggle node's has: its own process, ports and directory, no system service."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import wagglemsg
from pika.exceptions import AMQPError

from tests.support import until

# Debian's command in the path insists on root and on directories of the system; the one behind it takes ours.
SERVER = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin") or shutil.which("rabbitmq-server")
EPMD = shutil.which("epmd")
MISSING = "rabbitmq-server is not installed (Debian: apt install rabbitmq-server): Waggle's broker is NOT tested here"

NODE: dict[str, Any] = {
    "users": [{"name": "plugin", "password": "plugin", "tags": ""}],
    "vhosts": [{"name": "/"}],
    "permissions": [{"user": "plugin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
    "exchanges": [
        {
            "name": name,
            "vhost": "/",
            "type": kind,
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
        for name, kind in (("to-validator", "fanout"), ("data.topic", "topic"))
    ],
    "queues": [{"name": "to-validator", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}],
    "bindings": [
        {
            "source": "to-validator",
            "vhost": "/",
            "destination": "to-validator",
            "destination_type": "queue",
            "routing_key": "messages",
            "arguments": {},
        }
    ],
}
"""The definitions with which pywaggle's own development stack starts its broker."""


def free_port() -> int:
    """Return a port below those that the system hands to clients: one of them might take it while the broker is away,
    a client that tries to connect to that very port included."""
    while True:
        with socket.socket() as server, contextlib.suppress(OSError):
            port = random.randrange(15_000, 32_000)
            server.bind(("127.0.0.1", port))
            return port


class RabbitMQ:
    """A broker that tests may kill, freeze and start again; what was confirmed to be durable is kept."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, epmd_port = free_port(), free_port()
        definitions, configuration, plugins = (
            directory / name for name in ("definitions.json", "rabbitmq.conf", "plugins")
        )
        definitions.write_text(json.dumps(NODE))
        configuration.write_text(f"listeners.tcp.local = 127.0.0.1:{self.port}\nload_definitions = {definitions}\n")
        plugins.write_text("[].\n")
        self._log = directory / "log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"ptz{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none.conf"),
            "LANG": "C.UTF-8",
        }
        # Else the broker starts one as a daemon that outlives it.
        self._names = self._start(str(EPMD))
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._server = self._start(str(SERVER))
        until(self._answers, lambda: self._log.read_text()[-4000:], seconds=90.0)

    def signal(self, signum: int) -> None:
        """Signal the broker's whole process group; SIGKILL is waited for."""
        assert self._server is not None
        os.killpg(self._server.pid, signum)
        if signum == signal.SIGKILL:
            self._server.wait()

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.signal(signal.SIGKILL)
        self._names.kill()
        self._names.wait()

    def take(self) -> list[tuple[Any, Any]]:
        """Return the messages that wait for the node's validator, with their AMQP properties, oldest first."""
        found = []
        with self._channel() as channel:
            while True:
                method, properties, body = channel.basic_get("to-validator", auto_ack=True)
                if method is None:
                    return found
                json.loads(body, parse_constant=lambda word: _not_json(word))
                found.append((wagglemsg.load(body), properties))

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        parameters = pika.ConnectionParameters(
            "127.0.0.1", self.port, credentials=pika.PlainCredentials("plugin", "plugin"), socket_timeout=5.0
        )
        with contextlib.closing(pika.BlockingConnection(parameters)) as connection:
            yield connection.channel()

    def _answers(self) -> bool:
        try:
            with self._channel() as channel:
                channel.queue_declare("to-validator", passive=True)
        except AMQPError:
            return False
        return True

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _not_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
