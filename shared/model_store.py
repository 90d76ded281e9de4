"""Where checkpoints and dreams lie: immutable files behind fsspec, a directory by default.

A file is written under a temporary name and then moved, so that a reader never sees half of one; its address holds its
SHA-256, which is checked on every read. The store knows nothing of heads: the lock broker says which version counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import fsspec

from shared.errors import UserError
from shared.messages import Checkpoint

_SAFE_PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_TEMPORARY = ".part-"


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
        if not self._fs.exists(final):
            self._fs.makedirs(final.rpartition("/")[0], exist_ok=True)
            temporary = f"{final.rpartition('/')[0]}/{_TEMPORARY}{uuid.uuid4().hex}"
            try:
                with self._fs.open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    # Only a local file has a descriptor to sync; remote stores acknowledge when they have it.
                    with contextlib.suppress(OSError, AttributeError):
                        os.fsync(file.fileno())
                self._fs.mv(temporary, final)
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
        files = [entry for entry in entries if entry["type"] == "file"]
        files.sort(key=lambda entry: (float(entry.get("mtime") or entry.get("created") or 0.0), str(entry["name"])))
        gone = 0
        for entry in files[: max(0, len(files) - count)]:
            if entry["name"] not in spared:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(entry["name"])
                    gone += 1
        return gone

    def _path(self, address: str) -> str:
        parts = PurePosixPath(address).parts
        if not parts or not all(_SAFE_PART.match(part) for part in parts):
            raise ValueError(f"unsafe address in the model store: {address!r}")
        return "/".join((self._root, *parts))
