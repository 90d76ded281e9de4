"""The replay: an index in memory over a file of views, and the draws from it.

The index is made from the file alone, so after a restart it is what it was, slot by slot.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.recfunctions import repack_fields

from shared.errors import UserError
from shared.messages import View
from world_model_trainer.objectives import Trajectories
from world_model_trainer.replay.keeping import LEAST_WEIGHT, MOST_WEIGHT, Blocks, is_held_out, leaves_next
from world_model_trainer.replay.records import HEADER_BYTES, RecordFile, Records, record_type

BLOCK = 64
"""Views that are kept, held out and given up together."""
LEAST_BLOCKS = 8
_LEVEL_MEMORY = 0.99
"""How slowly the level follows that surprise is compared with."""

_INDEXED = ["sequence", "view", "previous", "camera", "captured", "pose", "action", "errors", "weight", "level"]

Slots = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Measured:
    """How wrong the world model was about a view before it learnt from it."""

    error: float
    copy_last_error: float
    predicted: float


@dataclass(frozen=True)
class Mix:
    """What a batch is made of: shares of recent and of surprising trajectories; the rest is drawn evenly."""

    recent: float = 0.25
    surprising: float = 0.125


@dataclass(frozen=True)
class Kept:
    """Views of one camera in the replay."""

    camera: str
    first: datetime
    last: datetime
    views: int


class Replay:
    """Views of one or several cameras, in a file that is bounded by ``views`` and ``most_bytes``.

    Adding the same view again changes nothing. ``UserError`` where the file is another's or cannot be used.
    """

    def __init__(
        self, path: Path, image_size: int, *, views: int, most_bytes: int = 2**40, seed: int = 0, block: int = BLOCK
    ) -> None:
        self.capacity = min(views, (most_bytes - HEADER_BYTES) // record_type(image_size).itemsize)
        if self.capacity < LEAST_BLOCKS * block:
            raise UserError(
                f"replay: room for {max(0, self.capacity)} views of {image_size} pixels is too little, "
                f"{LEAST_BLOCKS * block} are needed; raise PTZ_REPLAY_VIEWS or PTZ_REPLAY_BYTES"
            )
        self._file = RecordFile(path, image_size)
        self._block, self._seed = block, seed
        self.image_size = image_size
        slots = max(self.capacity, self._file.slots)
        self._sequence = np.full(slots, -1, np.int64)
        """The place in the order of arrival; −1 in a free slot."""
        self._before = np.full(slots, -1, np.intp)
        """The slot of the view that the move left; −1 where there is none (any more)."""
        self._poses = np.zeros((slots, 3), np.float32)
        self._actions = np.zeros((slots, 3), np.float32)
        self._captured = np.zeros(slots, np.float64)
        self._camera = np.zeros(slots, np.int64)
        self._errors = np.full((slots, 3), np.nan, np.float32)
        self._weight = np.ones(slots, np.float32)
        self._slot_of: dict[bytes, int] = {}
        self._id_in: dict[int, bytes] = {}
        self._names: dict[int, str] = {}
        self._free: list[int] = []
        self._ends: dict[tuple[int, bool], Slots] = {}
        self._level = float("nan")
        self.added = 0
        """Views that ever came in."""
        self.damaged = 0
        """Records that were found damaged when the file was opened, and are left out."""
        self._load()

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, view_id: object) -> bool:
        return isinstance(view_id, str) and digest(view_id) in self._slot_of

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return HEADER_BYTES + self._file.slots * self._file.type.itemsize

    @property
    def held_out(self) -> int:
        """Views that are never trained on."""
        return int(np.count_nonzero(self._is_held_out() & (self._sequence >= 0)))

    def add(self, view: View, image: npt.NDArray[np.uint8], measured: Measured | None = None) -> None:
        """Keep a view with its ``image [3, S, S]``, and what was measured of it. ``OSError`` where the disk is full."""
        if view.id in self:
            return
        while not self._free:
            self._make_room()
        record = np.zeros(1, self._file.type)
        record["sequence"], record["captured"] = self.added, view.captured_at.timestamp()
        record["view"], record["camera"] = digest(view.id), view.camera.encode()
        record["pose"] = view.pose.as_tuple()
        if view.previous is not None and view.action is not None:
            record["previous"] = digest(view.previous)
            record["action"] = (view.action.pan, view.action.tilt, view.action.zoom)
        self._weigh(record, measured)
        record["image"] = image
        slot = self._free[0]
        self._file.write(slot, record)
        heapq.heappop(self._free)
        self._enter(slot, record[0])
        self._link(slot, record[0])

    def measured(self, view_id: str) -> Measured | None:
        """Return what was measured of a view that is in the replay."""
        slot = self._slot_of.get(digest(view_id))
        if slot is None or np.isnan(self._errors[slot, 0]):
            return None
        return Measured(*self._errors[slot].tolist())

    def look_up(self, view_id: str) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float]] | None:
        """Return the picture ``[3, S, S]`` and the pose of a view that is in the replay."""
        slot = self._slot_of.get(digest(view_id))
        if slot is None:
            return None
        pan, tilt, zoom = self._poses[slot].tolist()
        return self._file.images(np.array([slot]))[0], (pan, tilt, zoom)

    def sync(self) -> None:
        """Have everything that was added survive a power cut as well."""
        self._file.sync()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def kept(self) -> list[Kept]:
        """Return what there is of each camera."""
        found = []
        for camera, name in sorted(self._names.items(), key=lambda item: item[1]):
            times = self._captured[(self._camera == camera) & (self._sequence >= 0)]
            if len(times):
                first, last = (datetime.fromtimestamp(time, UTC) for time in (times.min(), times.max()))
                found.append(Kept(name, first, last, len(times)))
        return found

    def trajectories(self, ends: Slots, length: int) -> Trajectories:
        """Return the trajectories of ``length`` moves that end in these slots."""
        slots = np.empty((len(ends), length + 1), np.intp)
        slots[:, length] = ends
        for step in range(length, 0, -1):
            slots[:, step - 1] = self._before[slots[:, step]]
        images = self._file.images(slots.ravel())
        return Trajectories(
            images=torch.from_numpy(images.reshape(*slots.shape, *images.shape[1:])),
            poses=torch.from_numpy(self._poses[slots]),
            actions=torch.from_numpy(self._actions[slots[:, 1:]]),
            cameras=torch.from_numpy(self._camera[ends]),
        )

    def sample(
        self, batch: int, length: int, generator: np.random.Generator, mix: Mix | None = None
    ) -> Trajectories | None:
        """Draw trajectories to train on; None while no view has ``length`` moves behind it."""
        ends = self.ends(length)
        if not len(ends):
            return None
        mix = mix or Mix()
        recent = ends[self._sequence[ends] >= self.added - max(len(self) // 8, length)]
        take_recent = round(batch * mix.recent) if len(recent) else 0
        take_surprising = round(batch * mix.surprising)
        weights = self._weight[ends].astype(np.float64)
        chosen = [
            generator.choice(ends, batch - take_recent - take_surprising),
            generator.choice(ends, take_surprising, p=weights / weights.sum()),
        ]
        if take_recent:
            chosen.append(generator.choice(recent, take_recent))
        return self.trajectories(np.concatenate(chosen), length)

    def ends(self, length: int, *, held_out: bool = False) -> Slots:
        """Return where whole trajectories of ``length`` moves end, oldest first; held out or to be trained on."""
        found = self._ends.get((length, held_out))
        if found is None:
            side = (self._sequence >= 0) & (self._is_held_out() == held_out)
            whole, place = side.copy(), np.arange(len(side))
            for _ in range(length):
                place = self._before[place]
                whole &= (place >= 0) & side[place]
                place = np.where(whole, place, 0)
            slots = np.flatnonzero(whole)
            found = slots[np.argsort(self._sequence[slots])]
            self._ends[length, held_out] = found
        return found

    def _weigh(self, record: Records, measured: Measured | None) -> None:
        """Note what was measured, and how it compares with what was usual then: errors of other days do not."""
        record["errors"], record["weight"], record["level"] = np.nan, 1.0, self._level
        if measured is None:
            return
        record["errors"] = (measured.error, measured.copy_last_error, measured.predicted)
        level = self._level if self._level > 0.0 else measured.error
        relative = measured.error / level if level > 0.0 else 1.0
        record["weight"] = np.clip(relative, LEAST_WEIGHT, MOST_WEIGHT)
        record["level"] = _LEVEL_MEMORY * level + (1.0 - _LEVEL_MEMORY) * measured.error

    def _load(self) -> None:
        found: list[tuple[int, np.void]] = []
        for slots, records, damaged in self._file.scan():
            self.damaged += damaged
            # Without the pictures: these stay where they are.
            found += list(zip(slots.tolist(), repack_fields(records[_INDEXED]), strict=True))
        for slot, record in sorted(found, key=lambda item: (int(item[1]["sequence"]), item[0])):
            if record["view"] in self._slot_of:  # killed while it was moved
                self._file.forget(np.array([slot]))
            else:
                self._enter(slot, record)
        for slot, record in found:
            if self._sequence[slot] >= 0:
                self._link(slot, record)
        used = self._sequence >= 0
        self._free = np.flatnonzero(~used[: self.capacity]).tolist()
        self._shrink()

    def _enter(self, slot: int, record: np.void) -> None:
        self._sequence[slot] = int(record["sequence"])
        self._poses[slot], self._actions[slot] = record["pose"], record["action"]
        self._captured[slot], self._errors[slot] = record["captured"], record["errors"]
        self._weight[slot], self._level = record["weight"], float(record["level"])
        name = bytes(record["camera"])
        camera = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> 1
        self._camera[slot], self._names[camera] = camera, name.decode()
        key = bytes(record["view"])
        self._slot_of[key], self._id_in[slot] = slot, key
        self.added = max(self.added, int(record["sequence"]) + 1)
        self._ends.clear()

    def _link(self, slot: int, record: np.void) -> None:
        self._before[slot] = self._slot_of.get(bytes(record["previous"]), -1)

    def _is_held_out(self) -> npt.NDArray[np.bool_]:
        return is_held_out(self._sequence // self._block)

    def _make_room(self) -> None:
        """Give up one block."""
        used = np.flatnonzero(self._sequence >= 0)
        numbers, member, views = np.unique(self._sequence[used] // self._block, return_inverse=True, return_counts=True)
        weights = np.bincount(member, self._weight[used]) / views
        going = leaves_next(Blocks(numbers, views, weights), room=self.capacity - self._block, seed=self._seed)
        slots = used[numbers[member] == going]
        self._file.forget(slots)
        for slot in slots.tolist():
            del self._slot_of[self._id_in.pop(slot)]
            if slot < self.capacity:
                heapq.heappush(self._free, slot)
        self._sequence[slots] = -1
        self._before[slots] = -1
        self._before[np.isin(self._before, slots)] = -1
        self._ends.clear()

    def _shrink(self) -> None:
        """Bring a file that was larger within today's bounds."""
        while len(self) > self.capacity:
            self._make_room()
        for source in np.flatnonzero(self._sequence[self.capacity :] >= 0) + self.capacity:
            target = heapq.heappop(self._free)
            self._file.move(int(source), target)
            for column in (self._sequence, self._poses, self._actions, self._captured, self._camera, self._errors):
                column[target] = column[source]
            self._weight[target], self._before[target] = self._weight[source], self._before[source]
            self._sequence[source] = self._before[source] = -1
            self._before[self._before == source] = target
            key = self._id_in.pop(int(source))
            self._slot_of[key], self._id_in[target] = target, key
        self._file.cut(self.capacity)


def digest(view_id: str) -> bytes:
    """Return sixteen bytes that stand for a view's id; none of them is zero, as fields are padded with zeros."""
    return hashlib.blake2b(view_id.encode(), digest_size=16).digest().replace(b"\0", b"\1")
