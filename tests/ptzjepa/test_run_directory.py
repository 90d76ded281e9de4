from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ptzjepa.run_directory import SPACE_NEEDED, RunDirectory, write_atomically
from shared.errors import UserError

SERVICES = ("redis", "camera-sampler")


def contents(path: Path) -> list[str]:
    return sorted(str(item.relative_to(path)) for item in path.rglob("*") if item.is_file())


def test_a_new_run_starts_fresh_and_leaves_others_files_alone(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "deep" / "run")
    with directory.claimed(SERVICES) as used_before:
        assert not used_before
        (directory.store / "weights").write_text("x")
        directory.log_of("redis").write_text("x")
        directory.summary.write_text("{}")
        directory.report.write_text("<html>")
    (directory.root / "notes.txt").write_text("mine")
    (directory.logs / "mine.log").write_text("mine")
    with directory.claimed(SERVICES) as used_before:
        assert used_before
        assert contents(directory.root) == [".ptzjepa-run", "logs/mine.log", "notes.txt"]
        assert directory.redis.is_dir()


def test_a_lasting_run_goes_on_from_the_state(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.claimed(SERVICES):
        (directory.store / "weights").write_text("x")
        (directory.ports / "redis.port").write_text("1")
        directory.summary.write_text("{}")
    with directory.claimed(SERVICES, keep_state=True) as used_before:
        assert used_before
        assert contents(directory.root) == [".ptzjepa-run", "state/model-store/weights"]
        assert directory.ports.is_dir()


@pytest.mark.parametrize("name", ["state", "logs", "summary.json", "report.html"])
def test_files_that_no_run_made_are_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no run of ptzjepa made it"), RunDirectory(tmp_path).claimed(SERVICES):
        pass
    assert contents(tmp_path) == [f"{name}/thesis.tex"]


def test_two_runs_never_share_a_directory(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).claimed(SERVICES):
        (tmp_path / "state" / "live").write_text("x")
        with pytest.raises(UserError, match="another run is using"), RunDirectory(tmp_path).claimed(SERVICES):
            pass
        assert (tmp_path / "state" / "live").exists()
    with RunDirectory(tmp_path).claimed(SERVICES):
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="a file is in the way"), RunDirectory(path).claimed(SERVICES):
            pass


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_space_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(SPACE_NEEDED, 1, SPACE_NEEDED - 1))
    with pytest.raises(UserError, match="only 511 MiB free"), RunDirectory(tmp_path / "run").claimed(SERVICES):
        pass
    assert not (tmp_path / "run").exists()


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_without_write_permission(locked_folder: Path) -> None:
    with pytest.raises(UserError, match="Permission denied"), RunDirectory(locked_folder).claimed(SERVICES):
        pass


def test_errors_of_the_run_itself_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), RunDirectory(tmp_path).claimed(SERVICES):
        raise ConnectionError("a service's trouble, not the folder's")


def test_atomic_write_replaces_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert contents(tmp_path) == ["summary.json"]
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "gone" / "x", "new")
