"""The newest batches of dreams, from which updates draw."""

from __future__ import annotations

from collections import deque

import torch

from dreamer_agent.dreams import DreamOrigin, Dreams


class DreamBuffer:
    """At most ``capacity`` batches, all of one length and embedding size and of neighbouring world-model versions.

    Embeddings of different versions are different coordinates, so a batch goes when the newest version has moved on
    by more than ``version_lag``.
    """

    def __init__(self, capacity: int, version_lag: int, seed: int) -> None:
        self._batches: deque[tuple[Dreams, int]] = deque(maxlen=capacity)
        self._version_lag = version_lag
        self._generator = torch.Generator().manual_seed(seed)
        self.newest_version = 0
        """The newest world-model version heard of; 0 for none."""

    def __len__(self) -> int:
        return len(self._batches)

    def hear_of(self, version: int) -> None:
        """Note that a world-model version exists, and drop batches that are too old beside it."""
        self.newest_version = max(self.newest_version, version)
        kept = [batch for batch in self._batches if not self.is_stale(batch[1])]
        self._batches = deque(kept, maxlen=self._batches.maxlen)

    def is_stale(self, version: int) -> bool:
        """Whether dreams of this world-model version are too old to learn from."""
        return version < self.newest_version - self._version_lag

    def add(self, dreams: Dreams, origin: DreamOrigin) -> None:
        """Take in a batch; earlier ones of another shape are dropped."""
        self.hear_of(origin.world_model_version)
        if self._batches:
            other = self._batches[-1][0]
            if (other.length, other.embedding_size) != (dreams.length, dreams.embedding_size):
                self._batches.clear()
        self._batches.append((dreams, origin.world_model_version))

    def newest(self) -> Dreams:
        """Return the newest batch. ``IndexError`` on an empty buffer."""
        return self._batches[-1][0]

    def draw(self, count: int) -> Dreams:
        """Return up to ``count`` dreams: half from the newest batch, the rest from the others alike."""
        older = [dreams for dreams, _ in list(self._batches)[:-1]]
        fresh = self._some(self.newest(), count - count // 2 if older else count)
        if not older:
            return fresh
        return Dreams.join([fresh, self._some(Dreams.join(older), count - len(fresh))])

    def _some(self, dreams: Dreams, count: int) -> Dreams:
        return dreams.pick(torch.randperm(len(dreams), generator=self._generator)[:count])
