"""Follow a model's head: ask the broker which version counts, load it beside the one in use, then swap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from shared.broker.client import BrokerAway, BrokerClient
from shared.leases import ModelVersion
from shared.store.model_store import CorruptObject, MissingObject, StoreAway

T = TypeVar("T")

UNUSABLE = (MissingObject, CorruptObject, StoreAway, ValueError)
"""What loading a version may raise: the file is gone, or out of reach, is not what was written, or is not for us."""


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A version and what was made of its file."""

    version: ModelVersion
    value: T


class Head(Generic[T]):
    """The newest usable version of one model. Whoever uses ``current`` never waits for a load."""

    def __init__(self, broker: BrokerClient, model: str, load: Callable[[ModelVersion], Awaitable[T]]) -> None:
        self._broker, self.model, self._load = broker, model, load
        self._log = structlog.get_logger()
        self._reported: str | None = None
        self.current: Loaded[T] | None = None
        self.missing = f"{model}: not asked for yet"
        """Why there is no newer version in use than ``current``; empty when that is the head."""
        self.store_away: str | None = None
        """Why the model store gave nothing when it was asked last."""

    async def look(self) -> None:
        """Ask for the head and load it if it is new. The broker's absence and a bad file are noted, not raised."""
        try:
            version = await self._broker.head(self.model)
            if version is None:
                self._note(f"{self.model} has no version yet")
            elif self.current is None or version.version != self.current.version.version:
                self.current = Loaded(version, await self._load(version))
                self.store_away = None
                self._log.info("loaded", model=self.model, version=version.version)
                self._note("")
            else:
                self._note("")
        except (BrokerAway, RuntimeError) as error:
            # A broker that answers nonsense is no better than one that is away, and as likely to come back.
            self._note(f"{self.model}: the broker does not answer ({error})")
        except UNUSABLE as error:
            self.store_away = str(error) if isinstance(error, StoreAway) else None
            self._note(f"{self.model}: the head cannot be used: {_line(error)}")

    def _note(self, missing: str) -> None:
        if missing and missing != self._reported:
            self._log.warning("no newer version", reason=missing, using=self.current and self.current.version.version)
        self.missing = self._reported = missing


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
