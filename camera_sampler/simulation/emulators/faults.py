"""The faults that an emulated camera can be told to have: each kind once met in the field."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Literal, get_args

Fault = Literal[
    # The link
    "reset", "hang", "slow", "cut", "endless", "reboot",
    # The answer
    "unauthorized", "locked-out", "refused", "initiating", "garbage", "missing-key", "reordered",
    # The picture
    "empty-image", "no-image", "truncated-image", "wrong-size", "bomb", "stale-image",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)
LINK_FAULTS: frozenset[Fault] = frozenset({"reset", "hang", "slow", "cut", "endless"})
ANSWER_FAULTS: frozenset[Fault] = frozenset({"refused", "initiating", "garbage", "missing-key", "reordered"})
IMAGE_FAULTS: frozenset[Fault] = frozenset(
    {"empty-image", "no-image", "truncated-image", "wrong-size", "bomb", "stale-image"}
)

Operation = Literal["position", "move", "snapshot", "other"]
_REMEMBERED = 10_000
_QUERIES: frozenset[Operation] = frozenset({"position", "other"})


def fits(fault: Fault, operation: Operation) -> bool:
    """Whether a fault can befall an operation: pictures' faults befall snapshots alone, missing keys queries alone."""
    if fault in IMAGE_FAULTS:
        return operation == "snapshot"
    return fault not in ("missing-key", "reordered") or operation in _QUERIES


class Faults:
    """Which fault the next request meets: those lined up first, then by chance, in a sequence that a seed names."""

    def __init__(self, *, rate: float = 0.0, kinds: Sequence[Fault] = (), seed: int = 0) -> None:
        self.rate, self.kinds = rate, tuple(kinds)
        self._rng = random.Random(seed)
        self._queue: deque[tuple[Fault, Operation | None]] = deque()
        self.met: deque[tuple[Fault, Operation]] = deque(maxlen=_REMEMBERED)
        """What has befallen which operation of late, in order."""

    def line_up(self, *faults: Fault, on: Operation | None = None) -> None:
        """Let the next requests of a sort (any that a fault fits, without ``on``) meet these faults, one each."""
        self._queue.extend((fault, on) for fault in faults)

    def clear(self) -> None:
        """Have no more faults."""
        self._queue.clear()
        self.rate = 0.0

    def next(self, operation: Operation) -> Fault | None:
        """Return the fault that a request of this sort meets now."""
        for item in self._queue:
            fault, wanted = item
            if fits(fault, operation) and wanted in (None, operation):
                self._queue.remove(item)
                self.met.append((fault, operation))
                return fault
        possible = [fault for fault in self.kinds if fits(fault, operation)]
        if not possible or self._rng.random() >= self.rate:
            return None
        self.met.append((fault := self._rng.choice(possible), operation))
        return fault
