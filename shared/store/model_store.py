"""Where checkpoints and dreams lie: immutable files behind fsspec, a directory by default.

A file is written under a temporary name and then moved, so that a reader never sees half of one; its address holds its
SHA-256, which is checked on every read. The store knows nothing of heads: the lock broker says which version counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shared.errors import UserError
from shared.messages import Checkpoint
from shared.settings import ServiceSettings
from shared.store.files import Directory, StoreAccess, StoreAway, is_part, open_files

__all__ = ["CorruptObject", "MissingObject", "ModelStore", "StoreAccess", "StoreAway", "StoredFile"]

_SAFE_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PARTS_MOST = 8
TEMPORARY_SECONDS = 3600.0
"""A half-written file older than this has no writer any more."""
BYTES_MOST = 2 * 2**30


class MissingObject(Exception):
    """The store holds no object at this address (any more)."""


class CorruptObject(Exception):
    """What the store holds is not what was written, or is larger than this process takes in."""


@dataclass(frozen=True)
class StoredFile:
    """A whole file of the store; ``written`` in seconds since 1970, by the store's clock."""

    address: str
    size: int
    written: float


class ModelStore:
    """Files by address under one root. Blocking; call it through ``asyncio.to_thread`` from services.

    Every method may raise ``StoreAway`` where the store is no directory, and ``UserError`` where it may not be entered.
    """

    def __init__(self, root: str, access: StoreAccess | None = None, *, most_bytes: int = BYTES_MOST) -> None:
        self._files = open_files(root, access or StoreAccess())
        self._most_bytes = most_bytes

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Self:
        """Open the store that the settings name, with the credentials that they hold."""
        access = StoreAccess(
            endpoint=settings.model_store_endpoint,
            access_key=settings.model_store_access_key,
            secret_key=settings.model_store_secret_key,
            password=settings.model_store_password,
            private_key=settings.model_store_private_key,
            known_hosts=settings.model_store_known_hosts,
        )
        return cls(settings.model_store, access, most_bytes=settings.model_store_most_bytes)

    @property
    def directory(self) -> Path | None:
        """Where it is a directory of this machine: that one."""
        return Path(self._files.root) if isinstance(self._files, Directory) else None

    def put(self, folder: str, data: bytes, suffix: str = ".safetensors") -> Checkpoint:
        """Store ``data`` under ``folder`` by its own hash. The same bytes again only make the file young again."""
        described = Checkpoint.of("x", data)
        address = f"{folder}/{described.sha256}{suffix}"
        path = self._path(address)
        if len(data) > self._most_bytes:
            raise UserError(
                f"model store: {address} has {len(data)} bytes; raise PTZ_MODEL_STORE_MOST_BYTES to keep it"
            )
        # Written even if it is there: it may be damaged, or be so old that a sweep is about to take it.
        self._files.write(path, data)
        return described.model_copy(update={"address": address})

    def get(self, checkpoint: Checkpoint) -> bytes:
        """Return the bytes of ``checkpoint``, verified. ``MissingObject`` or ``CorruptObject`` otherwise."""
        path = self._path(checkpoint.address)
        if checkpoint.size > self._most_bytes:
            raise CorruptObject(f"{checkpoint.address}: larger than PTZ_MODEL_STORE_MOST_BYTES, {self._most_bytes}")
        try:
            if self._files.size(path) != checkpoint.size:
                raise CorruptObject(f"{checkpoint.address}: size is not {checkpoint.size} bytes")
            data = b"".join(self._files.read(path, checkpoint.size))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingObject(checkpoint.address) from error
        if hashlib.sha256(data).hexdigest() != checkpoint.sha256:
            raise CorruptObject(f"{checkpoint.address}: SHA-256 differs")
        return data

    def files(self, folder: str) -> list[StoredFile]:
        """Return the whole files of ``folder``, oldest first."""
        found = (item for item in self._files.listing(self._path(folder)) if not is_part(item.path))
        start = len(self._files.root) + 1
        files = [StoredFile(item.path[start:], item.size, item.written) for item in found]
        return sorted(files, key=lambda file: (file.written, file.address))

    def remove(self, addresses: Iterable[str]) -> int:
        """Delete files; returns how many went. One that is gone already is fine."""
        gone = 0
        for address in addresses:
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(self._path(address))
                gone += 1
        return gone

    def drop_unfinished(self, folder: str) -> None:
        """Clear away what writers that died have left half-written; young ones may still be under way."""
        path, before = self._path(folder), time.time() - TEMPORARY_SECONDS
        for item in self._files.listing(path):
            if is_part(item.path) and item.written < before:
                with contextlib.suppress(FileNotFoundError):
                    self._files.remove(item.path)
        self._files.drop_unfinished(path, before)

    def keep_newest(self, folder: str, count: int, *, keep: Iterable[str] = ()) -> int:
        """Delete the oldest files of ``folder`` beyond ``count``, sparing those in ``keep``; returns how many went."""
        self.drop_unfinished(folder)
        spared, whole = set(keep), self.files(folder)
        return self.remove(file.address for file in whole[: max(0, len(whole) - count)] if file.address not in spared)

    def _path(self, address: str) -> str:
        parts = address.split("/")
        if len(parts) > _PARTS_MOST or not all(_SAFE_PART.fullmatch(part) for part in parts):
            raise ValueError(f"unsafe address in the model store: {address!r}")
        return f"{self._files.root}/{address}"
