"""The processes that help a trainer compute: ``python -m world_model_trainer.following PORT RANK SIZE DEVICE THREADS``.

A follower has no lease and no streams: all it knows comes from its leader. The service starts it on its own machine;
or torchrun starts both (``world_model_trainer.launching``).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from shared.errors import UserError
from shared.supervision import python_command
from shared.threads import limit_threads
from shared.world_model import pick_device
from world_model_trainer.launching import launched
from world_model_trainer.state import read_card, restore
from world_model_trainer.team import SILENT_SECONDS, Follower, Leader, join
from world_model_trainer.training import Trainer

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_HOST = "127.0.0.1"
_LEAVE_SECONDS = 10.0


class Crew:
    """The leader's side: starts its followers and sends them home. Of a crew of one, nothing is started."""

    def __init__(self, size: int, device: str, threads: int) -> None:
        self._size, self._device, self._threads = size, device, threads
        self._processes: list[subprocess.Popen[bytes]] = []
        self._spoke = time.monotonic()
        self.leader: Leader | None = None

    @property
    def device(self) -> torch.device:
        """The device of the leader."""
        return device_of(0, self._device)

    def gather(self) -> None:
        """Start the followers, unless torchrun has, and wait until they are here."""
        if self._size == 1:
            return
        if not dist.is_available():
            raise UserError("PTZ_PROCESSES: this build of torch has no torch.distributed; set it to 1")
        join(None if launched() else self._start(), 0, self._size)
        self.leader = Leader()

    def _start(self) -> Store:
        """Start the followers; return the store to meet them by."""
        store = dist.TCPStore(_HOST, 0, self._size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        for rank in range(1, self._size):
            arguments = (str(store.port), str(rank), str(self._size), self._device, str(self._threads))
            command = [*python_command("world_model_trainer.following"), *arguments]
            self._processes.append(subprocess.Popen(command))
        return store

    def share(self, state: Callable[[], bytes]) -> None:
        """Give the followers the state to go on from."""
        if self.leader is not None:
            self.leader.send_state(state())
            self._spoke = time.monotonic()

    def stay_awake(self) -> None:
        """Tell the followers now and then that nothing is to be done."""
        if self.leader is not None and time.monotonic() - self._spoke > SILENT_SECONDS / 4.0:
            self.leader.idle()
            self._spoke = time.monotonic()

    def dismiss(self) -> None:
        """Send the followers home; those that do not go are ended."""
        if self.leader is not None and all(process.poll() is None for process in self._processes):
            # Of torchrun's, one may be gone that was nobody's child here: it needs no word any more.
            with contextlib.suppress(RuntimeError):
                self.leader.stop()
        for process in self._processes:
            try:
                process.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.leader is not None:
            dist.destroy_process_group()


def device_of(rank: int, name: str) -> torch.device:
    """Return the device of a process: a GPU of its own where ``name`` leaves the choice."""
    device = pick_device(name)
    if device.type == "cuda" and ":" not in name:
        return torch.device("cuda", rank % torch.cuda.device_count())
    return device


def follow(device: torch.device) -> Trainer | None:
    """Compute parts of batches until the leader says that it is over; returns what was trained."""
    follower = Follower()
    trainer: Trainer | None = None
    while (received := follower.receive()) is not None:
        if isinstance(received, bytes):
            trainer = restore(*read_card(received), device=device, team=follower)
        elif trainer is not None:
            part, share, decay = received
            trainer.step_on_part(part, share, decay=decay)
    return trainer


def follow_leader(store: Store | None, rank: int, size: int, *, device: str, threads: int) -> None:
    """Join the leader's team and follow until it says that it is over; its end is not ours to choose."""
    torch.set_num_threads(threads)
    join(store, rank, size)
    # torchrun passes a signal on to all ranks at once, and the leader still needs us for what it is at.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    follow(device_of(rank, device))
    dist.destroy_process_group()


def main(arguments: list[str]) -> int:
    """Meet the leader that started us at its port, and follow it."""
    port, rank, size, device, threads = arguments
    limit_threads(int(threads))
    store = dist.TCPStore(_HOST, int(port), int(size), is_master=False)  # type: ignore[attr-defined]
    follow_leader(store, int(rank), int(size), device=device, threads=int(threads))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
