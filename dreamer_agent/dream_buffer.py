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
        """Take in a batch; earlier ones of another shape, or with another idea of surprise, are dropped."""
        self.hear_of(origin.world_model_version)
        if self._batches and _shape(self._batches[-1][0]) != _shape(dreams):
            self._batches.clear()
        self._batches.append((dreams, origin.world_model_version))

    def newest(self) -> Dreams:
        """Return the newest batch. ``IndexError`` on an empty buffer."""
        return self._batches[-1][0]

    def draw(self, count: int) -> Dreams:
        """Return about ``count`` dreams: half from the newest batch, the rest from the others alike.

        Dreams that began at the same view stay together, so it may be some more; never more than there are.
        """
        older = [dreams for dreams, _ in list(self._batches)[:-1]]
        fresh = self._some(self.newest(), count - count // 2 if older else count)
        if not older or len(fresh) >= count:
            return fresh
        return Dreams.join([fresh, self._some(Dreams.join(older), count - len(fresh))])

    def forget(self) -> None:
        """Drop all batches, and what is known of versions: the world model is another one."""
        self._batches.clear()
        self.newest_version = 0

    def _some(self, dreams: Dreams, count: int) -> Dreams:
        per_start = torch.bincount(dreams.starts.long())
        order = torch.randperm(len(per_start), generator=self._generator)
        enough = int((per_start[order].cumsum(0) < count).sum()) + 1
        chosen = torch.zeros(len(per_start), dtype=torch.bool)
        chosen[order[:enough]] = True
        picked = chosen[dreams.starts.long()].nonzero().squeeze(1)
        return dreams.pick(picked)


def _shape(dreams: Dreams) -> tuple[int, int, str]:
    return dreams.length, dreams.embedding_size, dreams.surprise
