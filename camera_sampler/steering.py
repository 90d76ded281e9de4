"""Who steers: commands of an agent are judged here, and only one that answers the newest view is followed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Literal

import structlog
from prometheus_client import Counter

from shared.actions import ActionTable
from shared.messages import Command, StreamName
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.streams import Follower, Received, look_back

COMMANDS_LENGTH = 256
"""How long the stream of commands is kept, by whoever writes it."""
_REMEMBERED_VIEWS = 256
_LOG_EVERY = 30.0

Outcome = Literal["followed", "stale", "late", "bad-token", "wrong-camera", "unknown-action"]
OUTCOMES: tuple[Outcome, ...] = ("followed", "stale", "late", "bad-token", "wrong-camera", "unknown-action")


class Steering:
    """Waits for the command that answers a view, and refuses all others.

    * ``late``: it answers a view that the camera has gone on from; ``stale``: one that this process does not know;
    * ``bad-token``: its fencing token is lower than the highest seen, so its sender has lost the camera's lease;
    * ``wrong-camera`` and ``unknown-action``: it is not for this camera, or not a move of the table.
    """

    def __init__(self, clients: RedisClients, camera: str, actions: ActionTable, outcomes: Counter) -> None:
        self._clients, self._camera = clients, camera
        self._actions = frozenset(actions.actions)
        self._outcomes = outcomes
        self._follower = Follower(clients, StreamName.commands(camera), Command)
        self._answered: deque[str] = deque(maxlen=_REMEMBERED_VIEWS)
        self._log = structlog.get_logger()
        self._last_refusal = -_LOG_EVERY
        self.highest_token = 0
        self.agent_heard = False
        """Whether an agent that holds the camera's lease has spoken since it last let us wait in vain."""

    async def open(self) -> None:
        """Learn the highest token from what lies in the stream, so that a restart lets no old agent back in."""
        stream = StreamName.commands(self._camera)
        for received in await look_back(self._clients.commands, stream, Command, COMMANDS_LENGTH):
            if received.message.camera == self._camera:
                self.highest_token = max(self.highest_token, received.message.token)

    async def wait(self, view: str, seconds: float) -> Command | None:
        """Return the command that answers ``view``, or None when none has come within ``seconds``.

        A Redis that is away counts as silence: the camera goes on looking.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._answered.append(view)
        while True:
            left_ms = int((deadline - loop.time()) * 1000.0)
            try:
                async with asyncio.timeout(max(0.0, deadline - loop.time()) + 1.0):
                    received = await self._follower.read(block_ms=max(0, left_ms))
            except REDIS_AWAY:
                return None
            command = self._judge(view, received)
            if command is not None:
                return command
            if left_ms <= 0:
                return None

    def missed(self) -> None:
        """Note that an agent let the camera wait for the whole of its time."""
        self.agent_heard = False

    def _judge(self, view: str, received: Iterable[Received[Command]]) -> Command | None:
        chosen: Command | None = None
        for item in received:
            command = item.message
            outcome = self._outcome(view, command)
            if outcome == "followed" and chosen is not None:
                # Two answers in one reading: the newer token wins, else the first.
                if command.token > chosen.token:
                    self._count("bad-token", chosen)
                    chosen = command
                else:
                    self._count("late", command)
            elif outcome == "followed":
                chosen = command
            else:
                self._count(outcome, command)
        if chosen is not None:
            self._count("followed", chosen)
        return chosen

    def _outcome(self, view: str, command: Command) -> Outcome:
        if command.camera != self._camera:
            return "wrong-camera"
        if command.token < self.highest_token:
            return "bad-token"
        self.highest_token = command.token
        if command.action not in self._actions:
            return "unknown-action"
        if command.answers == view:
            self.agent_heard = True
            return "followed"
        if command.answers in self._answered:
            # Too slow this time, but there: worth waiting for.
            self.agent_heard = True
            return "late"
        return "stale"

    def _count(self, outcome: Outcome, command: Command) -> None:
        self._outcomes.labels(outcome).inc()
        now = asyncio.get_running_loop().time()
        if outcome not in ("followed", "late") and now - self._last_refusal >= _LOG_EVERY:
            self._last_refusal = now
            self._log.warning(
                "command refused",
                outcome=outcome,
                agent=command.agent,
                action=command.action.name,
                fencing_token=command.token,
                highest=self.highest_token,
            )
