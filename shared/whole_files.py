"""Files that appear whole or not at all, whatever kills the process or cuts the power meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, half_written: str | None = None) -> None:
    """Put ``data`` at ``path``, in the place of what was there. ``OSError`` where the disk does not take it.

    A kill leaves at most a hidden file beside it, which the next write to ``path`` replaces. ``half_written`` is that
    file's name, for folders that know such files by their name or that several processes write to.
    """
    temporary = path.with_name(half_written or f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk, so that new ones outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some mounts cannot do this for a folder; there it is as good as it gets.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
