"""Kept snapshots: the untouched pictures in a directory bounded by count, each with a sidecar that tells all about it.

The sidecar of ``NAME.jpg`` is ``NAME.jpg.json``. It is written first and removed last, each file whole under a hidden
name before it gets its own, so whoever finds a picture finds its sidecar, and a crash leaves at most a sidecar without
a picture, which the next start removes. One directory belongs to one sampler.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

from camera_sampler.cameras.base import Origin
from camera_sampler.embedding import embed
from camera_sampler.naming import SIDECAR, Naming, is_own_name, own_name, ptzjepa_name, taken_microseconds
from camera_sampler.snapshots import JPEG_START
from shared.errors import UserError
from shared.messages import View
from shared.whole_files import write_whole

SCHEMA = "ptzjepa-original/1"
_HALF_WRITTEN = ".part"
_LARGEST_SIDECAR = 1 << 20


class Originals:
    """Keeps snapshots under names of a kind; ``embedded`` writes the sidecar's content into the JPEGs, too.

    Pictures are never encoded again. Those with PTZJEPA's names and no sidecar of ours count as somebody else's and
    are left alone.
    """

    def __init__(self, directory: Path, count: int, *, naming: Naming = "own", embedded: bool = False) -> None:
        self._directory, self._count = directory, count
        self._naming: Naming = naming
        self._embedded = embedded
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
            self._names = deque(self._found())
        except OSError as error:
            raise UserError(
                f"cannot keep originals in {directory}: {error.strerror}; set PTZ_KEEP_ORIGINALS to a writable place"
            ) from error

    def keep(self, view: View, data: bytes, origin: Origin = "camera", brand: str = "") -> str:
        """Write a view's snapshot and its sidecar, drop the oldest beyond the count, return the picture's file name.

        Both are written or neither. ``OSError`` when they could not be.
        """
        about = _about(view, data, origin, brand)
        kept = embed(data, about, view.captured_at) if self._embedded else data
        about |= {"sha256": hashlib.sha256(kept).hexdigest(), "bytes": len(kept)}
        name = self._free_name(view, "jpg" if data.startswith(JPEG_START) else "png")
        sidecar = self._directory / (name + SIDECAR)
        self._write(sidecar, json.dumps(about, indent=1).encode() + b"\n")
        try:
            self._write(self._directory / name, kept)
        except OSError:
            sidecar.unlink(missing_ok=True)
            raise
        self._names.append(name)
        while len(self._names) > self._count:
            oldest = self._names.popleft()
            for gone in (oldest, oldest + SIDECAR):
                (self._directory / gone).unlink(missing_ok=True)
        return name

    def _found(self) -> list[str]:
        """Remove what a crash left; return the names of our pictures, the oldest first."""
        (self._directory / _HALF_WRITTEN).unlink(missing_ok=True)
        names = {entry.name for entry in os.scandir(self._directory)}
        ours = []
        for name in names:
            taken = taken_microseconds(name)
            if taken is not None and (is_own_name(name) or name + SIDECAR in names):
                ours.append((taken, name))
            picture = name.removesuffix(SIDECAR)
            if picture != name and picture not in names and taken_microseconds(picture) is not None:
                self._remove_orphan(self._directory / name)
        return [name for _, name in sorted(ours)]

    def _remove_orphan(self, sidecar: Path) -> None:
        if sidecar.stat().st_size <= _LARGEST_SIDECAR and SCHEMA.encode() in sidecar.read_bytes():
            sidecar.unlink()

    def _free_name(self, view: View, suffix: str) -> str:
        if self._naming == "own":
            return own_name(view.id, view.captured_at, suffix)
        taken_at = view.captured_at
        # PTZJEPA's names tell microseconds; of two pictures of one pose in the same one, the second moves on.
        while (self._directory / (name := ptzjepa_name(view.pose, taken_at, suffix))).exists():
            taken_at += timedelta(microseconds=1)
        return name

    def _write(self, path: Path, data: bytes) -> None:
        # One name for every half-written file, so that a crash leaves at most one behind.
        write_whole(path, data, half_written=_HALF_WRITTEN)


def _about(view: View, data: bytes, origin: Origin, brand: str) -> dict[str, Any]:
    """Return what a sidecar tells, but for the digest of the file as it lies there."""
    told = view.model_dump(
        mode="json",
        include={
            "camera", "captured_at", "pose", "pose_before", "action", "episode", "step", "previous", "settled",
            "policy", "policy_version",
        },
    )  # fmt: skip
    return {
        "schema": SCHEMA,
        "view": view.id,
        "brand": brand,
        "origin": origin,
        **told,
        "snapshot_sha256": hashlib.sha256(data).hexdigest(),
    }
