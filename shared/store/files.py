"""The places that can be a model store: a directory, a bucket of an S3 server, a folder of an SFTP server.

Each makes a file visible whole or not at all, and can take up a transfer again where the link broke. Paths come in
checked; nothing here knows of checkpoints.
"""

from __future__ import annotations

import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import SplitResult, urlsplit

import fsspec
import structlog
from pydantic import SecretStr

from shared.errors import UserError
from shared.whole_files import write_whole

T = TypeVar("T")

PART = ".part-"
"""How half-written files are called; no address may begin a part so."""
READ_BYTES = 8 * 2**20
WRITE_BYTES = 8 * 2**20
"""So much travels at once over a link, and is sent again if it breaks."""
ATTEMPTS = 5
CONNECT_SECONDS, SILENT_SECONDS = 10, 30


class StoreAway(Exception):
    """The store does not answer now, or the link broke again and again; asking later is safe."""


@dataclass(frozen=True)
class StoreAccess:
    """What it takes to enter a store that is not a directory."""

    endpoint: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    known_hosts: Path | None = None


@dataclass(frozen=True)
class FoundFile:
    """A file in a folder of the store; ``written`` in seconds since 1970, by the store's clock."""

    path: str
    size: int
    written: float


class Files(ABC):
    """One store. ``FileNotFoundError`` for what is not there, ``StoreAway`` when it cannot be reached."""

    def __init__(self, root: str) -> None:
        self.root = root

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Make ``data`` visible at ``path``, replacing what was there."""

    @abstractmethod
    def read(self, path: str, size: int) -> Iterator[bytes]:
        """Return the file's first ``size`` bytes in pieces."""

    @abstractmethod
    def size(self, path: str) -> int:
        """Return the file's size in bytes."""

    @abstractmethod
    def listing(self, folder: str) -> list[FoundFile]:
        """Return the files of a folder, half-written ones among them; none for a folder that is not there."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Delete a file."""

    def drop_unfinished(self, folder: str, before: float) -> None:  # noqa: B027 - most stores list them all
        """Clear away uploads that never became a file and began before this time, where ``listing`` hides them."""


class Directory(Files):
    """A directory of this machine, or one mounted on it."""

    def __init__(self, root: str) -> None:
        self._fs = fsspec.filesystem("file")
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"model store {root}: {error.strerror or error}; give a writable place (PTZ_MODEL_STORE)"
            ) from error
        super().__init__(str(Path(root).resolve()))

    def write(self, path: str, data: bytes) -> None:
        """Make ``data`` visible at ``path``."""
        self._inside(path)
        place = path.rpartition("/")[0]
        try:
            self._fs.makedirs(place, exist_ok=True)
            # Several may write at once, each under a name of its own; who takes the leavings away knows them by it.
            write_whole(Path(path), data, half_written=f"{PART}{uuid.uuid4().hex}")
        except OSError as error:
            where = path.removeprefix(f"{self.root}/")
            raise UserError(f"model store: cannot write {where}: {error.strerror or error}") from error

    def read(self, path: str, size: int) -> Iterator[bytes]:
        """Return the file in pieces."""
        self._inside(path)
        yield self._fs.cat_file(path, start=0, end=size)

    def size(self, path: str) -> int:
        """Return the size in bytes."""
        self._inside(path)
        return int(self._fs.size(path))

    def listing(self, folder: str) -> list[FoundFile]:
        """Return the files of a folder."""
        self._inside(folder)
        try:
            entries = self._fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return [_found(entry) for entry in entries if entry["type"] == "file" and not entry.get("islink")]

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._inside(path)
        self._fs.rm_file(path)

    def _inside(self, path: str) -> None:
        # Whoever may write into the store could else point a link at any file that this process may read or delete.
        if os.path.realpath(path) != path:
            raise ValueError(f"unsafe address in the model store: a symbolic link leads away from {path!r}")


class Remote(Files, ABC):
    """A store at the end of a link that may break. Connects at the first use, and again after every break."""

    needs: ClassVar[str]
    """The extra that installs what this store is reached with."""

    def __init__(self, root: str, options: dict[str, Any]) -> None:
        super().__init__(root)
        try:
            self._kind, self._broken = self._library()
        except ImportError as error:
            raise UserError(f"PTZ_MODEL_STORE: {error}; install it: pip install 'ptzjepa[{self.needs}]'") from error
        self._options = {**options, "skip_instance_cache": True}
        self._fs: Any = None

    def read(self, path: str, size: int) -> Iterator[bytes]:
        """Return the file in pieces."""
        # In pieces, each asked for again by itself: a link that breaks every few megabytes still brings it all.
        for start in range(0, size, READ_BYTES):
            yield self._over_link(f"read {path}", partial(_read_range, path=path, start=start, end=start + READ_BYTES))

    def size(self, path: str) -> int:
        """Return the size in bytes."""
        return int(self._over_link(f"look at {path}", lambda fs: fs.size(path)))

    def listing(self, folder: str) -> list[FoundFile]:
        """Return the files of a folder."""
        try:
            entries = self._over_link(f"list {folder}", lambda fs: fs.ls(folder, detail=True))
        except FileNotFoundError:
            return []
        return [_found(entry) for entry in entries if entry["type"] == "file" and entry["name"].rstrip("/") != folder]

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._over_link(f"delete {path}", lambda fs: fs.rm_file(path))

    def _over_link(self, what: str, work: Callable[[Any], T]) -> T:
        """Do something that may be done twice; again over a new link if this one breaks."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            try:
                if self._fs is None:
                    self._fs = self._kind(**self._options)
                return work(self._fs)
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise UserError(f"model store: may not {what}: {error}; see PTZ_MODEL_STORE_… for access") from error
            except self._broken as error:
                self._fs, reason = None, error
                self._raise_if_lasting(error)
                structlog.get_logger().warning("model store link broke", during=what, reason=_reason(error))
        raise StoreAway(f"the model store does not answer: cannot {what}: {_reason(reason)}") from reason

    @abstractmethod
    def _library(self) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
        """Return what makes the connection, and what it raises when the link breaks. ``ImportError`` without it."""

    def _raise_if_lasting(self, error: Exception) -> None:
        """Raise ``UserError`` for what asking again will not mend."""


class Bucket(Remote):
    """A folder in a bucket of an S3 server. Objects appear when their last byte has come, as S3 has it."""

    needs = "s3"

    def __init__(self, url: SplitResult, access: StoreAccess) -> None:
        options: dict[str, Any] = {
            # A part of an upload is tried three times; the library below has no say in it.
            "config_kwargs": {
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": SILENT_SECONDS,
                "retries": {"total_max_attempts": 1},
            },
            "key": _text(access.access_key),
            "secret": _text(access.secret_key),
            "endpoint_url": access.endpoint,
            "use_listings_cache": False,
        }
        super().__init__(f"{url.netloc}{url.path}".rstrip("/"), options)

    def write(self, path: str, data: bytes) -> None:
        """Make ``data`` visible at ``path``."""
        self._over_link(f"write {path}", lambda fs: fs.pipe_file(path, data, chunksize=WRITE_BYTES))

    def drop_unfinished(self, folder: str, before: float) -> None:
        """Abort uploads that began before this time and never ended."""
        bucket, _, prefix = folder.partition("/")

        def drop(fs: Any) -> None:
            for upload in fs.list_multipart_uploads(bucket):
                key, begun = str(upload["Key"]), upload["Initiated"]
                if key.startswith(f"{prefix}/") and begun.timestamp() < before:
                    fs.abort_mpu(bucket, key, upload["UploadId"])

        self._over_link(f"clear {folder}", drop)

    def _library(self) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError
        from s3fs import S3FileSystem

        def connect(**options: Any) -> Any:
            fs = S3FileSystem(**options)
            fs.retries = 3
            return fs

        return connect, (OSError, TimeoutError, HttpError, BotoCoreError, ClientError)

    def _raise_if_lasting(self, error: Exception) -> None:
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            raise UserError(
                "model store: no credentials; give PTZ_MODEL_STORE_ACCESS_KEY_FILE and PTZ_MODEL_STORE_SECRET_KEY_FILE"
            ) from error


class SftpFolder(Remote):
    """A folder of an SFTP server, whose host key must be known."""

    needs = "sftp"

    def __init__(self, url: SplitResult, access: StoreAccess) -> None:
        if access.known_hosts is not None and not access.known_hosts.is_file():
            raise UserError(f"PTZ_MODEL_STORE_KNOWN_HOSTS: there is no file {access.known_hosts}")
        options: dict[str, Any] = {
            "host": url.hostname,
            "port": url.port or 22,
            # The library's own default is to trust any host; an empty tuple stands for ~/.ssh/known_hosts.
            "known_hosts": str(access.known_hosts) if access.known_hosts else (),
            "config": None,
            "connect_timeout": CONNECT_SECONDS,
            "login_timeout": CONNECT_SECONDS,
            "keepalive_interval": SILENT_SECONDS / 3,
            "keepalive_count_max": 3,
        }
        if url.username:
            options["username"] = url.username
        if access.password is not None:
            options["password"] = access.password.get_secret_value()
        if access.private_key is not None:
            # A file read as a secret lost its last line end, which the format asks for.
            options["client_keys"] = [f"{access.private_key.get_secret_value()}\n".encode()]
            options["agent_path"] = None
        super().__init__(url.path.rstrip("/"), options)

    def write(self, path: str, data: bytes) -> None:
        """Make ``data`` visible at ``path``."""
        place = path.rpartition("/")[0]
        temporary = f"{place}/{PART}{uuid.uuid4().hex}"
        self._over_link(f"make {place}", lambda fs: fs.makedirs(place, exist_ok=True))
        for start in range(0, max(1, len(data)), WRITE_BYTES):
            self._over_link(f"write {path}", partial(_write_at, path=temporary, start=start, data=data))
        self._over_link(f"write {path}", lambda fs: _rename(fs, temporary, path, len(data)))

    def _library(self) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
        # By its name, not by fsspec's protocol "sftp": what else may answer to that trusts every host.
        from asyncssh import Error, KeyImportError
        from asyncssh.sftp import SFTPError
        from sshfs import SSHFileSystem

        return SSHFileSystem, (OSError, TimeoutError, Error, SFTPError, KeyImportError)

    def _raise_if_lasting(self, error: Exception) -> None:
        if type(error).__name__ == "KeyImportError":
            raise UserError(f"PTZ_MODEL_STORE_PRIVATE_KEY: {error}") from error
        if type(error).__name__ == "HostKeyNotVerifiable":
            raise UserError(
                f"model store: the SFTP server's host key is not known ({error}); put it into the file that "
                "PTZ_MODEL_STORE_KNOWN_HOSTS names"
            ) from error


def open_files(root: str, access: StoreAccess) -> Files:
    """Return the store that ``root`` names: a directory, ``s3://BUCKET/FOLDER`` or ``sftp://USER@HOST/FOLDER``."""
    if "://" not in root:
        return Directory(root)
    url = urlsplit(root)
    if url.password is not None or (url.scheme == "s3" and "@" in url.netloc):
        raise UserError("PTZ_MODEL_STORE: the URL holds a password; give it by PTZ_MODEL_STORE_…_FILE instead")
    if url.query or url.fragment:
        raise UserError("PTZ_MODEL_STORE: the URL has a part after '?' or '#'; settings go into PTZ_MODEL_STORE_…")
    if access.endpoint is not None and "@" in urlsplit(access.endpoint).netloc:
        raise UserError("PTZ_MODEL_STORE_ENDPOINT: the URL holds a user; give PTZ_MODEL_STORE_ACCESS_KEY_FILE instead")
    match url.scheme:
        case "file" if not url.netloc:
            return Directory(url.path)
        case "s3" if url.netloc:
            return Bucket(url, access)
        case "sftp" if url.hostname and url.path.strip("/"):
            return SftpFolder(url, access)
        case _:
            known = "a directory, s3://BUCKET/FOLDER or sftp://USER@HOST/FOLDER"
            raise UserError(f"PTZ_MODEL_STORE {root!r}: not {known}")


def is_part(path: str) -> bool:
    """Tell whether a file is half-written."""
    return path.rpartition("/")[2].startswith(PART)


def _read_range(fs: Any, path: str, start: int, end: int) -> bytes:
    with fs.open(path, "rb", cache_type="none") as file:
        file.seek(start)
        return bytes(file.read(end - start))


def _write_at(fs: Any, path: str, start: int, data: bytes) -> None:
    with fs.open(path, "r+b" if start else "wb") as file:
        file.seek(start)
        file.write(data[start : start + WRITE_BYTES])


def _rename(fs: Any, temporary: str, path: str, size: int) -> None:
    try:
        fs.mv(temporary, path)
    except FileNotFoundError:
        # The link broke after the server had renamed it: the answer was lost, not the file.
        if fs.size(path) != size:
            raise


def _found(entry: dict[str, Any]) -> FoundFile:
    """Read a listing's entry; stores name and type the time differently."""
    when = entry.get("mtime") or entry.get("LastModified") or 0.0
    written = when.timestamp() if isinstance(when, datetime) else float(when)
    return FoundFile(str(entry["name"]), int(entry["size"] or 0), written)


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
