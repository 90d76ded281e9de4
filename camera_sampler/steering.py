"""Who steers: commands of an agent are judged here, and only one that answers the newest view is followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Literal

import structlog

from shared.actions import ActionTable
from shared.messages import Command, StreamName
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.streams import Follower, look_back

COMMANDS_LENGTH = 256
"""How long the stream of commands is kept, by whoever writes it."""
_REMEMBERED_VIEWS = 256
_BLOCK_MS = 1000
_AWAY_SECONDS = 0.2
_SLICE_SECONDS = 0.5
_LOG_EVERY = 30.0

Outcome = Literal["followed", "stale", "late", "bad-token", "wrong-camera", "unknown-action"]
OUTCOMES: tuple[Outcome, ...] = ("followed", "stale", "late", "bad-token", "wrong-camera", "unknown-action")


class Steering:
    """Waits for the command that answers a view, and refuses all others.

    * ``late``: it answers a view that the camera has gone on from; ``stale``: one that this process does not know;
    * ``bad-token``: its fencing token is lower than the highest seen, so its sender has lost the camera's lease;
    * ``wrong-camera`` and ``unknown-action``: it is not for this camera, or not a move of the table; with
      ``free_moves`` any move will do that is no larger than the table's.
    """

    def __init__(
        self,
        clients: RedisClients,
        camera: str,
        actions: ActionTable,
        note: Callable[[Command, Outcome], None],
        *,
        free_moves: bool = False,
    ) -> None:
        self._clients, self._camera = clients, camera
        self._table, self._free_moves = actions, free_moves
        self._actions = frozenset(actions.actions)
        self._note = note
        self._start = "$"
        self._seen: deque[str] = deque(maxlen=_REMEMBERED_VIEWS)
        self._expected: str | None = None
        self._chosen: Command | None = None
        self._arrived = asyncio.Event()
        self._log = structlog.get_logger()
        self._last_refusal = -_LOG_EVERY
        self.highest_token = 0
        self.agent_heard = False
        """Whether an agent that holds the camera's lease has spoken since it last let us wait in vain."""

    async def open(self) -> None:
        """Learn the highest token from what lies in the stream, so that a restart lets no old agent back in."""
        past = await look_back(self._clients.commands, StreamName.commands(self._camera), Command, COMMANDS_LENGTH)
        for received in past:
            if received.message.camera == self._camera:
                self.highest_token = max(self.highest_token, received.message.token)
        # Listening goes on from here, so that no answer to the first view is missed however late it begins.
        self._start = past[-1].entry_id if past else "0-0"

    async def listen(self) -> None:
        """Judge every command as it comes, until cancelled. A Redis that is away counts as silence.

        The waiting is done here and not in ``wait``, because a server ends a blocking read up to 100 ms late.
        """
        follower = Follower(self._clients, StreamName.commands(self._camera), Command, start=self._start)
        while True:
            try:
                for received in await follower.read(block_ms=_BLOCK_MS):
                    self._judge(received.message)
            except REDIS_AWAY:
                await asyncio.sleep(_AWAY_SECONDS)

    def expect(self, view: str) -> None:
        """Accept the command that answers ``view`` from now on. To be called before the view is published."""
        if self._chosen is not None:
            # It answered the last view of an episode, from which the camera jumped.
            self._count("late", self._chosen)
        self._expected, self._chosen = view, None
        self._arrived.clear()
        self._seen.append(view)

    async def wait(self, seconds: float, stopping: asyncio.Event) -> Command | None:
        """Return the command that answers the expected view; None when none comes within ``seconds`` or the stop."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self._arrived.is_set() and not stopping.is_set() and (left := deadline - loop.time()) > 0.0:
            with contextlib.suppress(TimeoutError):
                # In slices, so that a stop is noticed.
                async with asyncio.timeout(min(left, _SLICE_SECONDS)):
                    await self._arrived.wait()
        command, self._chosen, self._expected = self._chosen, None, None
        if command is not None:
            self._count("followed", command)
        return command

    def missed(self) -> None:
        """Note that an agent let the camera wait for the whole of its time."""
        self.agent_heard = False

    def _judge(self, command: Command) -> None:
        outcome = self._outcome(command)
        if outcome != "followed":
            self._count(outcome, command)
        elif self._chosen is None or command.token > self._chosen.token:
            # Of two answers before the camera moves, the one with the newer token counts.
            if self._chosen is not None:
                self._count("bad-token", self._chosen)
            self._chosen = command
            self._arrived.set()
        else:
            self._count("late", command)

    def _outcome(self, command: Command) -> Outcome:
        if command.camera != self._camera:
            return "wrong-camera"
        if command.token < self.highest_token:
            return "bad-token"
        self.highest_token = command.token
        if command.action not in self._actions and not (self._free_moves and self._table.spans(command.action)):
            return "unknown-action"
        if command.answers not in self._seen:
            return "stale"
        # Too slow perhaps, but there: worth waiting for.
        self.agent_heard = True
        return "followed" if command.answers == self._expected else "late"

    def _count(self, outcome: Outcome, command: Command) -> None:
        self._note(command, outcome)
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
