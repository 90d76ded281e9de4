from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.whole_files import sync_folder, write_whole
from tests.support import REPOSITORY


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("half_written", [None, ".part"])
def test_it_is_on_the_disk_before_it_has_its_name_and_the_name_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_written: str | None
) -> None:
    path, sync, synced = tmp_path / "file", os.fsync, []
    path.write_bytes(b"old")

    def spy(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.read_bytes()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_whole(path, b"new", half_written=half_written)
    assert synced == [(False, b"old"), (True, b"new")]
    assert names(tmp_path) == ["file"]


def test_a_disk_that_does_not_take_it_leaves_the_old_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_kill_leaves_one_hidden_file_that_the_next_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    code = (
        "import os, pathlib, sys; from shared.whole_files import write_whole; os.fsync = lambda _: os._exit(9)\n"
        "write_whole(pathlib.Path(sys.argv[1]), b'new')"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPOSITORY, check=False).returncode == 9
        assert path.read_bytes() == b"old"
        assert len(names(tmp_path)) == 2
    write_whole(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "raised"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_mount_that_syncs_no_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: bool
) -> None:
    def unable(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unable)
    if raised:
        with pytest.raises(OSError, match="error"):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)
