"""Several processes that train one world model together, each on its own device, by ``torch.distributed``.

One leads: it alone has the lease, the streams and the replay, and deals every batch out. The others follow: they get
the leader's state once, then a part of each batch, and take the same steps. Gradients are summed by shares, so all
weights stay equal. Nobody loads data but the leader. Whoever dies takes the others along, and the service starts anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from world_model_trainer.objectives import Trajectories
from world_model_trainer.parts import split

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

SILENT_SECONDS = 600
"""Without a word for so long the others count as lost; an idle leader says so in between."""

_STEP, _STATE, _IDLE, _STOP = range(4)
_HEADER = 8


class Team(Protocol):
    """Who computes a step."""

    def deal(self, batch: Trajectories, decay: float) -> tuple[Trajectories, float]:
        """Hand out a batch; return this process's part and its share of the whole."""
        ...

    def add_up(self, parameters: Iterable[nn.Parameter], terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum gradients and terms over all processes; both are weighted by shares already."""
        ...


class Alone:
    """A team of one."""

    def deal(self, batch: Trajectories, decay: float) -> tuple[Trajectories, float]:
        """Keep the whole batch."""
        del decay
        return batch, 1.0

    def add_up(self, parameters: Iterable[nn.Parameter], terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Change nothing."""
        del parameters
        return terms


def join(store: Store | None, rank: int, size: int) -> None:
    """Join the process group: gloo on CPUs and for dealing, NCCL among GPUs. Without a store, torchrun's is used."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=SILENT_SECONDS))


class Member:
    """What leader and followers share."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def add_up(self, parameters: Iterable[nn.Parameter], terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum gradients and terms over all processes, in one message."""
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat(
            [*(gradient.flatten() for gradient in gradients), *(term.reshape(1) for term in terms.values())]
        )
        dist.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        *summed, totals = torch.split(flat, [*sizes, len(terms)])
        for gradient, values in zip(gradients, summed, strict=True):
            gradient.copy_(values.view_as(gradient))
        return dict(zip(terms, totals, strict=True))


class Leader(Member):
    """The process that has the data."""

    def deal(self, batch: Trajectories, decay: float) -> tuple[Trajectories, float]:
        """Send every follower its part; return the leader's own, and its share."""
        parts = split(batch, self.size)
        if len(parts) < self.size:
            raise ValueError(f"a batch of {len(batch.images)} trajectories is too small for {self.size} processes")
        whole = len(batch.images)
        for rank, part in enumerate(parts[1:], start=1):
            length, side = part.actions.shape[1], part.images.shape[-1]
            cameras = int(part.cameras is not None)
            self._say(rank, _STEP, len(part.images), whole, length, side, cameras, _bits(decay))
            for tensor in _tensors(part):
                dist.send(tensor.contiguous(), rank)
        return parts[0], len(parts[0].images) / whole

    def send_state(self, data: bytes) -> None:
        """Give every follower the state to go on from."""
        for rank in range(1, self.size):
            self._say(rank, _STATE, len(data))
            dist.send(torch.frombuffer(bytearray(data), dtype=torch.uint8), rank)

    def idle(self) -> None:
        """Tell the followers that the leader lives; to be called now and then while there is nothing to train on."""
        for rank in range(1, self.size):
            self._say(rank, _IDLE)

    def stop(self) -> None:
        """Send the followers home."""
        for rank in range(1, self.size):
            self._say(rank, _STOP)

    def _say(self, rank: int, what: int, *numbers: int) -> None:
        dist.send(torch.tensor([what, *numbers, *[0] * (_HEADER - 1 - len(numbers))], dtype=torch.int64), rank)


class Follower(Member):
    """A process that only computes."""

    def deal(self, batch: Trajectories, decay: float) -> tuple[Trajectories, float]:
        """Refuse: followers get their parts by ``receive``."""
        raise RuntimeError("a follower has no batches to deal")

    def receive(self) -> bytes | tuple[Trajectories, float, float] | None:
        """Wait for what comes next: a state, a part with its share and decay, or None at the end."""
        while True:
            header = torch.empty(_HEADER, dtype=torch.int64)
            dist.recv(header, 0)
            what, *numbers = header.tolist()
            if what == _STOP:
                return None
            if what == _STATE:
                data = torch.empty(numbers[0], dtype=torch.uint8)
                dist.recv(data, 0)
                return data.numpy().tobytes()
            if what == _STEP:
                return self._part(*numbers)

    def _part(
        self, count: int, whole: int, length: int, side: int, cameras: int, decay: int, _: int
    ) -> tuple[Trajectories, float, float]:
        part = Trajectories(
            torch.empty(count, length + 1, 3, side, side, dtype=torch.uint8),
            torch.empty(count, length + 1, 3),
            torch.empty(count, length, 3),
            torch.empty(count, dtype=torch.int64) if cameras else None,
        )
        for tensor in _tensors(part):
            dist.recv(tensor, 0)
        return part, count / whole, _number(decay)


def _tensors(part: Trajectories) -> list[Tensor]:
    tensors = (part.images, part.poses, part.actions, part.cameras)
    return [tensor for tensor in tensors if tensor is not None]


def _bits(number: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def _number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
