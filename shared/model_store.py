"""Where checkpoints and dreams lie: immutable files behind fsspec, a directory by default.

A file is written under a temporary name and then moved, so that a reader never sees half of one; its address holds its
SHA-256, which is checked on every read. The store knows nothing of heads: the lock broker says which version counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared.errors import UserError
from shared.messages import Checkpoint

_SAFE_PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_TEMPORARY = ".part-"
TEMPORARY_SECONDS = 3600.0
"""A half-written file older than this has no writer any more."""


class MissingObject(Exception):
    """The store holds no object at this address (any more)."""


class CorruptObject(Exception):
    """What the store holds is not what was written: size or SHA-256 differ."""


class ModelStore:
    """Files by address under one root. Blocking; call it through ``asyncio.to_thread`` from services."""

    def __init__(self, root: str) -> None:
        try:
            self._fs, path = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise UserError(f"PTZ_MODEL_STORE {root!r}: {error}") from error
        self._root = path.rstrip("/")
        try:
            self._fs.makedirs(self._root, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"model store {root}: {error.strerror or error}; give a writable place (PTZ_MODEL_STORE)"
            ) from error

    def put(self, folder: str, data: bytes, suffix: str = ".safetensors") -> Checkpoint:
        """Store ``data`` under ``folder`` by its own hash; storing the same bytes again changes nothing."""
        described = Checkpoint.of("x", data)
        address = f"{folder}/{described.sha256}{suffix}"
        final = self._path(address)
        if not self._is_there(final, described.size):
            place = final.rpartition("/")[0]
            temporary = f"{place}/{_TEMPORARY}{uuid.uuid4().hex}"
            try:
                self._fs.makedirs(place, exist_ok=True)
                with self._fs.open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    self._sync(file)
                self._fs.mv(temporary, final)
                self._sync_folder(place)
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._fs.rm(temporary)
                raise UserError(f"model store: cannot write {address}: {error.strerror or error}") from error
        return described.model_copy(update={"address": address})

    def get(self, checkpoint: Checkpoint) -> bytes:
        """Return the bytes of ``checkpoint``, verified. ``MissingObject`` or ``CorruptObject`` otherwise."""
        path = self._path(checkpoint.address)
        try:
            if self._fs.size(path) != checkpoint.size:
                raise CorruptObject(f"{checkpoint.address}: size is not {checkpoint.size} bytes")
            data: bytes = self._fs.cat_file(path)
        except FileNotFoundError as error:
            raise MissingObject(checkpoint.address) from error
        if hashlib.sha256(data).hexdigest() != checkpoint.sha256:
            raise CorruptObject(f"{checkpoint.address}: SHA-256 differs")
        return data

    def keep_newest(self, folder: str, count: int, *, keep: Iterable[str] = ()) -> int:
        """Delete the oldest files of ``folder`` beyond ``count``, sparing those in ``keep``; returns how many went."""
        spared = {self._path(address) for address in keep}
        try:
            entries: list[dict[str, Any]] = self._fs.ls(self._path(folder), detail=True)
        except FileNotFoundError:
            return 0
        files = [(_written(entry), str(entry["name"])) for entry in entries if entry["type"] == "file"]
        whole = sorted(item for item in files if not _is_temporary(item[1]))
        # Half-written files of writers that died; a young one may still be under way.
        dead = [item for item in files if _is_temporary(item[1]) and item[0] < time.time() - TEMPORARY_SECONDS]
        self._remove(dead)
        return self._remove([item for item in whole[: max(0, len(whole) - count)] if item[1] not in spared])

    def _remove(self, files: Iterable[tuple[float, str]]) -> int:
        gone = 0
        for _, name in files:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(name)
                gone += 1
        return gone

    def _is_there(self, path: str, size: int) -> bool:
        try:
            return bool(self._fs.size(path) == size)
        except OSError:
            return False

    def _sync(self, file: Any) -> None:
        # Only a local file has a descriptor to sync; remote stores acknowledge when they have it.
        if isinstance(self._fs, LocalFileSystem):
            os.fsync(file.fileno())

    def _sync_folder(self, path: str) -> None:
        """Make the new name outlive a power cut, too: the registry will point to it."""
        if isinstance(self._fs, LocalFileSystem):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _path(self, address: str) -> str:
        parts = PurePosixPath(address).parts
        if not parts or not all(_SAFE_PART.match(part) for part in parts):
            raise ValueError(f"unsafe address in the model store: {address!r}")
        return "/".join((self._root, *parts))


def _written(entry: dict[str, Any]) -> float:
    """Seconds since 1970 when a file was written; stores name and type it differently."""
    when = entry.get("mtime") or entry.get("LastModified") or entry.get("created") or 0.0
    return when.timestamp() if isinstance(when, datetime) else float(when)


def _is_temporary(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_TEMPORARY)
