"""A real Redis with the users that a deployment has, made by the same Makefile target."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.support import REPOSITORY

MAKER = REPOSITORY / "deploy" / "redis" / "make_users.py"
NAMES = (
    "camera-sampler",
    "world-model-trainer",
    "dream-generator",
    "rl-agent",
    "lock-broker",
    "operator",
    "health",
    "admin",
)


def password_file(folder: Path, user: str) -> Path:
    return folder / f"redis_{user.replace('-', '_')}_password"


def make_secrets(folder: Path) -> Path:
    """Write passwords and the ACL file as ``make secrets`` does; return the file."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        password_file(folder, name).write_text(secrets.token_urlsafe(32) + "\n")
    made = subprocess.run([sys.executable, MAKER, folder], capture_output=True, text=True, check=True)
    users = folder / "redis_users"
    users.write_text(made.stdout)
    return users


class GuardedRedis(RedisServer):
    """Takes nobody without a password."""

    def __init__(self, directory: Path, *, binary: str | None = None) -> None:
        self.secrets = directory / "secrets"
        directory.mkdir(exist_ok=True)
        super().__init__(directory, binary=binary, arguments=("--aclfile", str(make_secrets(self.secrets))))

    def password(self, user: str) -> str:
        return password_file(self.secrets, user).read_text().strip()

    def settings(self, user: str) -> dict[str, str]:
        """What a service's environment says of Redis."""
        return {
            "redis_url": self.url,
            "redis_user": user,
            "redis_password_file": str(password_file(self.secrets, user)),
        }

    def clients(self, user: str) -> RedisClients:
        return RedisClients.from_settings(
            ServiceSettings(redis_url=self.url, redis_user=user, redis_password=SecretStr(self.password(user)))
        )

    async def wait_until_up(self) -> None:
        deadline = time.monotonic() + 30.0
        while True:
            try:
                return cast(None, await self.ask("health", "PING"))
            except (RedisError, OSError):
                assert time.monotonic() < deadline, (self.directory / "redis.log").read_text()
                await asyncio.sleep(0.05)

    async def ask(self, user: str, *command: str | bytes | int) -> Any:
        """Send one command as a user."""
        client = Redis.from_url(
            self.url, username=user, password=self.password(user), protocol=2, driver_info=None, decode_responses=True
        )
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    async def refusals(self) -> list[str]:
        """What was denied to anybody so far: user, reason, object."""
        log: list[Any] = await self.ask("admin", "ACL", "LOG")
        # Pairs in a row, unless the library has made them a table.
        entries = [entry if isinstance(entry, dict) else dict(zip(*[iter(entry)] * 2, strict=True)) for entry in log]
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]

    async def forget_refusals(self) -> None:
        await self.ask("admin", "ACL", "LOG", "RESET")
