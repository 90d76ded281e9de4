"""One file of records of one size, each with its own checksum: what a kill leaves half-written is found and left out.

A page of JSON says what the file is; then come the records, slot by slot. They are read and written by position, not
mapped: a full disk or a file cut short is an error of ours, where a map would end the process, and pages of the file
never count as this process's memory. What was written survives the process; after ``sync`` it survives a power cut.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import UserError
from shared.whole_files import write_whole

FORMAT = "ptzjepa-replay-1"
HEADER_BYTES = 4096
_SCAN_BYTES = 4 * 2**20
_MARK = 0x5A50_4A56
_FORGOTTEN = bytes(8)
"""Over the mark and the checksum of a record that is given up."""

Records = npt.NDArray[np.void]


def record_type(image_size: int) -> np.dtype[np.void]:
    """Return the layout of a record: a view of ``image_size`` pixels with all that is learnt from."""
    return np.dtype(
        [
            ("mark", "<u4"),
            ("checksum", "<u4"),
            ("sequence", "<u8"),
            ("view", "S16"),
            ("previous", "S16"),
            ("camera", "S64"),
            ("captured", "<f8"),
            ("pose", "<f4", 3),
            ("action", "<f4", 3),
            ("errors", "<f4", 3),
            ("weight", "<f4"),
            ("level", "<f4"),
            ("image", "u1", (3, image_size, image_size)),
        ]
    )


class RecordFile:
    """The file of one replay, owned by this process for as long as it is open."""

    def __init__(self, path: Path, image_size: int) -> None:
        self.path = path
        self.type = record_type(image_size)
        self._image_offset = int(self.type.fields["image"][1]) if self.type.fields else 0
        self._image_shape = (3, image_size, image_size)
        self._header = {"format": FORMAT, "image_size": image_size, "record_bytes": self.type.itemsize}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._own()
            if not path.exists():
                self._create()
            self._file = os.open(path, os.O_RDWR)
        except OSError as error:
            raise UserError(f"replay {path}: {error.strerror or error}; give a writable place (PTZ_REPLAY)") from error
        self._check_header()

    @property
    def slots(self) -> int:
        """Whole records that the file has room for now, used or not."""
        return max(0, os.fstat(self._file).st_size - HEADER_BYTES) // self.type.itemsize

    def scan(self) -> Iterator[tuple[npt.NDArray[np.intp], Records, int]]:
        """Yield slots and records that are whole, and how many damaged ones were given up, some megabytes at a time."""
        at_once = max(1, _SCAN_BYTES // self.type.itemsize)
        for first in range(0, self.slots, at_once):
            data = os.pread(self._file, min(at_once, self.slots - first) * self.type.itemsize, self._offset(first))
            records = np.frombuffer(data, self.type, count=len(data) // self.type.itemsize)
            used = np.flatnonzero(records["mark"] | records["checksum"])
            whole = np.array([index for index in used if _is_whole(records[index])], np.intp)
            damaged = np.setdiff1d(used, whole)
            self.forget(first + damaged)
            yield first + whole, records[whole], len(damaged)
        if (os.fstat(self._file).st_size - HEADER_BYTES) % self.type.itemsize:
            self.cut(self.slots)
            yield np.empty(0, np.intp), np.empty(0, self.type), 1

    def write(self, slot: int, record: Records) -> None:
        """Put a record of shape ``(1,)`` into a slot. ``OSError`` on a full disk: then the slot is damaged, or free."""
        record["mark"] = _MARK
        record["checksum"] = _checksum(record)
        data = record.tobytes()
        if os.pwrite(self._file, data, self._offset(slot)) != len(data):
            raise OSError(f"{self.path}: a record was written only in part")

    def forget(self, slots: npt.NDArray[np.intp]) -> None:
        """Give slots up."""
        for slot in slots.tolist():
            os.pwrite(self._file, _FORGOTTEN, self._offset(slot))

    def images(self, slots: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Return the pictures ``[N, 3, S, S]`` of whole records."""
        images = np.empty((len(slots), *self._image_shape), np.uint8)
        for image, slot in zip(images, slots.tolist(), strict=True):
            place = image.data.cast("B")
            if os.preadv(self._file, [place], self._offset(slot) + self._image_offset) != len(place):
                raise RuntimeError(f"replay {self.path} was cut short while it was in use")
        return images

    def move(self, source: int, target: int) -> None:
        """Copy a record to another slot, then give the first up."""
        os.pwrite(self._file, os.pread(self._file, self.type.itemsize, self._offset(source)), self._offset(target))
        self.forget(np.array([source]))

    def cut(self, slots: int) -> None:
        """Let the file end after so many slots, if it is longer."""
        if os.fstat(self._file).st_size > self._offset(slots):
            os.ftruncate(self._file, self._offset(slots))

    def sync(self) -> None:
        """Return once everything written is on the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
        os.close(self._lock)

    def _offset(self, slot: int) -> int:
        return HEADER_BYTES + int(slot) * self.type.itemsize

    def _own(self) -> int:
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise UserError(
                f"replay {self.path} is in use by another process; give each trainer its own PTZ_REPLAY"
            ) from error
        return lock

    def _create(self) -> None:
        write_whole(self.path, json.dumps(self._header).encode().ljust(HEADER_BYTES))

    def _check_header(self) -> None:
        found: Any
        try:
            found = json.loads(os.pread(self._file, HEADER_BYTES, 0))
            theirs = {name: found.get(name) for name in self._header}
        except (ValueError, AttributeError):
            theirs = {}
        if theirs == self._header:
            return
        self.close()
        if theirs.get("format") == FORMAT:
            wrong, right = theirs["image_size"], self._header["image_size"]
            reason = f"holds views of {wrong} pixels, not {right} (PTZ_IMAGE_SIZE)"
        else:
            reason = "is no replay of this program, or its beginning is damaged"
        raise UserError(f"replay {self.path} {reason}; move it away, or give another PTZ_REPLAY")


def _is_whole(record: np.void) -> bool:
    return bool(record["mark"] == _MARK and record["checksum"] == _checksum(record))


def _checksum(record: Any) -> int:
    return zlib.crc32(record.tobytes()[8:])
