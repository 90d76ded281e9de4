"""The real command line in a process of its own: bad input costs one line and exit code 2."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def ptzjepa(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ptzjepa", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **(environment or {})},
    )


def assert_one_clear_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stdout + result.stderr
    for word in words:
        assert word in lines[0]


def test_help_fits_eighty_columns() -> None:
    for arguments in (["--help"], ["demo", "--help"], ["up", "-h"]):
        result = ptzjepa(*arguments)
        assert result.returncode == 0
        assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "--panorama FILE" in ptzjepa("demo", "--help").stdout


def test_version() -> None:
    result = ptzjepa("--version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "ptzjepa")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--minutes", "0"], ["--minutes 0", "more than 0"]),
        (["demo", "--minutes", "nan"], ["--minutes nan"]),
        (["demo", "--minutes", "soon"], ["--minutes", "number"]),
        (["demo", "--seed", "-1"], ["--seed"]),
        (["demo", "--colour", "red"], ["--colour"]),
        (["dance"], ["dance"]),
        (["up", "--out", "/proc/ptzjepa-run"], ["output folder /proc/ptzjepa-run"]),
    ],
)
def test_wrong_arguments(arguments: list[str], words: list[str]) -> None:
    assert_one_clear_line(ptzjepa(*arguments), *words)


@pytest.fixture
def panoramas(tmp_path: Path) -> Path:
    (tmp_path / "text.jpg").write_text("this is not a picture\n" * 100)
    Image.new("RGB", (300, 200)).save(tmp_path / "square.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.jpg", ["missing.jpg", "No such file"]),
        ("text.jpg", ["text.jpg", "not an image"]),
        ("square.png", ["square.png", "twice the height"]),
        (".", ["irectory"]),
    ],
)
def test_wrong_panorama_starts_nothing(panoramas: Path, name: str, words: list[str]) -> None:
    out = panoramas / "out"
    assert_one_clear_line(ptzjepa("demo", "--panorama", str(panoramas / name), "--out", str(out)), *words)
    assert not out.exists()


def test_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = ptzjepa("demo", "--broker-port", port, "--out", str(tmp_path / "out"))
    assert_one_clear_line(result, f"--broker-port {port}", "in use")
    assert not (tmp_path / "out").exists()


def test_redis_that_does_not_answer(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    result = ptzjepa("demo", "--out", str(tmp_path / "out"), environment={"PTZ_REDIS_URL": url})
    assert_one_clear_line(result, "PTZ_REDIS_URL", "nobody.sock")


def test_wrong_setting(tmp_path: Path) -> None:
    result = ptzjepa("demo", "--out", str(tmp_path / "out"), environment={"PTZ_CAMERA": "no such name!"})
    assert_one_clear_line(result, "PTZ_CAMERA")


def test_a_file_in_the_way_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert_one_clear_line(ptzjepa("demo", "--out", str(tmp_path / "out")), "a file is in the way")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.fixture
def mounts() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    probe = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("option", "word"), [("ro", "Read-only file system"), ("size=4m", "make room for"), ("nr_inodes=1", "no space")]
)
def test_file_systems_that_take_nothing(tmp_path: Path, option: str, word: str) -> None:
    script = f"mount -t tmpfs -o {option} none {tmp_path} && exec {sys.executable} -m ptzjepa demo --out {tmp_path}/out"
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert_one_clear_line(result, word)
