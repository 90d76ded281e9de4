from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks.__main__ as runner
from benchmarks.harness import Row, main, median_rate, median_seconds, number, read_rows, table
from benchmarks.renderer import reference
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.renderer import Renderer
from shared.pose import Pose
from tests.support import REPOSITORY

ROWS = [
    Row("views " * 20, 1234567.0, "views/s", target=5000.0, reference=1000.0),
    Row("latency", 0.01234, "s", target=0.001, better="lower"),
    Row("size", 12.0, "MB"),
]


def test_the_table_is_aligned_and_fits_a_terminal() -> None:
    lines = table(ROWS).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert len(lines) == len(ROWS) + 2
    assert "1,234,567" in lines[2]
    assert "(1234.6×)" in lines[2]
    assert lines[2].endswith("ok")
    assert lines[3].endswith("missed")
    assert lines[4].endswith("MB")


def test_targets_know_their_direction() -> None:
    assert Row("a", 5.0, "s", target=4.0).met is True
    assert Row("a", 5.0, "s", target=4.0, better="lower").met is False
    assert Row("a", 5.0, "s").met is None


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (12.0, "12"), (99.96, "100"), (12345.6, "12,346")])
def test_numbers_are_readable(value: float, text: str) -> None:
    assert number(value) == text


def test_rates_and_times_agree() -> None:
    def work() -> None:
        sum(range(2000))

    assert median_rate(work, repeats=3, seconds=0.02) > 100.0
    assert median_seconds(work, repeats=3) < 0.1


def test_rows_survive_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    assert main("sample", lambda: ROWS, ["--json", str(path)]) == 0
    assert read_rows(path) == ROWS
    document = json.loads(path.read_text())
    assert document["benchmark"] == "sample"
    assert [row["met"] for row in document["rows"]] == [True, False, None]
    assert "latency" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main("sample", lambda: ROWS, ["--json", str(tmp_path / "nowhere" / "rows.json")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: --json")


def test_all_benchmarks_run_into_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str) -> list[Row]:
        if name == "streams":
            raise RuntimeError("exit code 1: no server")
        return [Row("case", 2.0, "s")]

    monkeypatch.setattr(runner, "names", lambda: ["renderer", "streams"])
    monkeypatch.setattr(runner, "run", run)
    assert runner.main(["--json", str(tmp_path / "all.json")]) == 1
    said = capsys.readouterr()
    assert "renderer: case" in said.out
    assert "streams: exit code 1: no server" in said.err
    document = json.loads((tmp_path / "all.json").read_text())
    assert document["failed"] == {"streams": "exit code 1: no server"}
    assert [row["name"] for row in document["rows"]] == ["renderer: case"]


def test_a_benchmark_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="No module named"):
        runner.run("nothing")


def test_every_module_is_found() -> None:
    assert "renderer" in runner.names()
    assert not {"harness", "__main__"} & set(runner.names())


def test_benchmarks_have_one_thread() -> None:
    code = "import os, benchmarks.harness; print(os.environ['OMP_NUM_THREADS'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_the_renderers_reference_renders_the_same_views() -> None:
    """Side by side means: both do the same work."""
    coarse = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    pose = Pose(pan=-170.0, tilt=22.0, zoom=1.5)
    difference = Renderer(Panorama(coarse)).render(pose, 40, 40).astype(int) - reference(coarse, pose, 40, 40)
    assert np.abs(difference).max() <= 4
