"""A study goes on where it was killed; and the small one that guards what the objectives are chosen by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ptzjepa.moving_dots.cells import Cell, cells, known_methods
from ptzjepa.moving_dots.figure import draw
from ptzjepa.moving_dots.run import run
from ptzjepa.moving_dots.summary import summarise
from ptzjepa.moving_dots.tables import markdown
from ptzjepa.moving_dots.worker import read_cell
from shared.errors import EXIT_INTERRUPTED, UserError
from tests.support import REPOSITORY

LONG = 1500.0
TINY = ("dataset_size=64", "vicreg.epochs=1", "vicreg.embedding_size=16", "val_dataset_size=50")


def command(out: Path, *more: str) -> list[str]:
    study = [sys.executable, "-m", "ptzjepa", "moving-dots", "study", "--out", str(out), "--seeds", "1"]
    return [*study, "--level", "1", *more]


def values(*options: str) -> list[str]:
    return [word for option in options for word in ("--values", option)]


def test_the_cells_that_expectations_are_about_come_first() -> None:
    methods = ("random", "vicreg", "idm", "vicreg+idm")
    wanted = list(cells(methods, (0.5, 1.0), 2))
    one_dot, three_dots = 4 * (4 + 4) + 4, 3 * 4
    assert len({cell.name for cell in wanted}) == len(wanted) == 2 * (one_dot + three_dots)
    first = [(cell.background, cell.texture, cell.method, cell.seed) for cell in wanted[:5]]
    assert first[:4] == [("fixed", "uniform", name, seed) for seed in (0, 1) for name in ("random", "vicreg+idm")]
    assert first[4] == ("fixed", "structured", "random", 0)
    assert [cell.method for cell in wanted[16:20]] == ["vicreg"] * 4, "before fixed noise, of either kind"
    assert [(cell.level, cell.dots) for cell in wanted[:42]] == [(1.0, 1)] * 24 + [(1.0, 3)] * 18
    assert not any(cell.method == "idm" for cell in wanted[:42])
    assert {cell.level for cell in wanted[-8:]} == {0.5}
    for cell in wanted:
        config = cell.config()
        noises = (config.dataset_noise, config.dataset_static_noise)
        expected = {"none": (0, 0), "changing": (cell.level, 0), "fixed": (0, cell.level)}[cell.background]
        assert noises == expected
        assert config.dataset_structured_noise == (cell.texture == "structured")
        assert config.dataset_type == ("Multiple" if cell.dots == 3 else "Single")


@pytest.mark.timeout(4000)
def test_a_killed_study_goes_on_and_leaves_nobody_behind(tmp_path: Path) -> None:
    out, pictures = tmp_path / "study", tmp_path / "pictures"
    pictures.mkdir()
    for number in range(6):
        Image.new("L", (32, 32), 40 * number).save(pictures / f"{number}.png")
    tiny = values(*TINY, f"dataset_structured_noise_path={pictures}")
    arguments = ("--processes", "2", "--method", "random", "--method", "vicreg", *tiny)
    first = subprocess.Popen(command(out, "--minutes", "30", *arguments), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: len(list((out / "cells").glob("*.json"))) >= 2, first)
        workers = children(first.pid)
        assert len(workers) == 2
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    wait(lambda: not any(alive(worker) for worker in workers))
    done = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert not (out / "study.md").exists()
    again = subprocess.run(
        command(out, "--minutes", "30", *arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=LONG
    )
    assert again.returncode == 0, again.stdout + again.stderr
    wanted = list(cells(("random", "vicreg"), (1.0,), 1))
    assert f"{len(wanted)} of {len(wanted)} cells" in again.stdout
    assert all(read_cell(out, cell) is not None for cell in wanted)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "what was done was not done again"
    result = json.loads((out / "study.json").read_text())
    assert result["cells_done"] == len(wanted)
    assert "| method | RMSE, 17 steps |" in (out / "study.md").read_text()
    with Image.open(out / "study.png") as figure:
        assert figure.size[0] > 800
    other = subprocess.run(
        command(out, *values("vicreg.epochs=2")), cwd=REPOSITORY, capture_output=True, text=True, timeout=LONG
    )
    assert other.returncode == 2
    assert "other --values" in other.stderr


@pytest.mark.timeout(4000)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_study_tells_what_it_has_and_what_is_missing(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT goes to the whole group, as from a terminal."""
    out = tmp_path / "study"
    endless = ("dataset_size=1000000", "vicreg.epochs=100", "vicreg.embedding_size=16", "val_dataset_size=50")
    arguments = ("--minutes", "60", "--method", "random", "--method", "vicreg+idm", *values(*endless))
    study = subprocess.Popen(
        command(out, *arguments), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    )
    try:
        wait(lambda: any("%" in claim.read_text() for claim in (out / ".claims").glob("*-vicreg+idm-*")), study)
        workers = children(study.pid)
        if number == signal.SIGINT:
            os.killpg(study.pid, number)
        else:
            study.send_signal(number)
        _, error = study.communicate(timeout=LONG)
    finally:
        study.kill()
        study.wait()
    assert study.returncode == EXIT_INTERRUPTED
    assert error.decode().splitlines() == ["stopped; the same command goes on", "stopped"]
    assert not any(alive(worker) for worker in workers)
    assert [path.name for path in (out / "cells").iterdir()] == ["fixed-uniform-1-random-seed0.json"]
    report = (out / "study.md").read_text()
    assert "1 of 16 cells" in report
    assert "* Fixed uniform noise, level 1: `vicreg+idm` (seed 0)" in report
    assert "* Changing uniform noise, level 1, three dots: nothing was run" in report


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def wait(until: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + LONG
    while not until():
        assert process is None or process.poll() is None, "the study ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def cell_result(method: str, background: str, rmse: float, seed: int, level: float = 1.0) -> dict[str, Any]:
    cell = Cell(method, background, "uniform", level, 1, seed)  # type: ignore[arg-type]
    numbers = {"encoder_rmse": rmse, "mean_rmse": 9.3, "within_between": 0.1, "rank_me": 20.0}
    return {
        "cell": cell.where,
        "method": method,
        "rmse": rmse,
        "rmse_by_step": [rmse] * 17,
        **numbers,
        "probe_mpc": {"distance": rmse, "random": 9.0},
        "card": {"cpu_seconds": 30.0, "trajectories": 1000},
    }


def test_a_summary_has_means_over_seeds_and_verdicts() -> None:
    found = [
        cell_result("vicreg", "fixed", 9.0, 0),
        cell_result("vicreg", "fixed", 11.0, 1),
        cell_result("vicreg+idm", "fixed", 0.9, 0),
        cell_result("vicreg+idm", "fixed", 0.9, 0, level=2.0),
        {"cell": Cell("vicreg+idm", "fixed", "uniform", 1.0, 1, 1).where, "failed": "training failed"},
        cell_result("random", "fixed", 7.3, 0),
        cell_result("vicreg", "none", 0.5, 0, level=0.0),
    ]
    result = summarise(found, list(cells(("random", "vicreg", "vicreg+idm"), (1.0, 2.0), 2)))
    group = next(each for each in result["groups"] if each["method"] == "vicreg" and each["background"] == "fixed")
    assert group["rmse"] == {"mean": 10.0, "deviation": pytest.approx(2.0**0.5)}
    assert group["seeds"] == 2
    verdicts = {each["name"]: each["met"] for each in result["verdicts"]}
    assert verdicts == {
        "fixed uniform: best joint embedding (vicreg+idm)": True,
        "fixed uniform: vicreg fails": True,
    }
    text = markdown(result)
    assert "| `vicreg` | 10.00 ± 1.41 |" in text
    assert "| `random` | 7.30 | 7.30 |" in text, "one seed has no ±"
    assert "by level, fixed uniform noise" in text
    lacking = {(each["background"], each["texture"], each["level"], each["dots"]): each for each in result["missing"]}
    assert lacking["fixed", "uniform", 1.0, 1]["methods"] == {"random": [1]}, "what failed was run"
    assert lacking["fixed", "structured", 1.0, 1]["whole"]
    assert "* Fixed uniform noise, level 1: `random` (seed 1)\n" in text
    assert "* No noise: `random` (seed 0, 1), `vicreg+idm` (seed 0, 1), `vicreg` (seed 1)\n" in text
    assert draw(result).startswith(b"\x89PNG")


def test_a_cell_that_is_something_else_is_refused(tmp_path: Path) -> None:
    cell = Cell("vicreg", "fixed", "uniform", 1.0, 1, 0)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{cell.name}.json").write_text("{}")
    with pytest.raises(UserError, match="no result of this study"):
        read_cell(tmp_path, cell)
    assert read_cell(tmp_path, Cell("vicreg", "fixed", "uniform", 1.0, 1, 1)) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minutes", "0"), "--minutes 0"),
        (("--method", "vicrag"), "--method vicrag: there are random"),
        (("--level", "-1"), "--level -1"),
        (("--values", "vicreg.foo=1"), "no option vicreg.foo"),
    ],
)
def test_wrong_studies_are_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    from ptzjepa.cli import main

    out, before = tmp_path / "out", sys.argv
    sys.argv = ["ptzjepa", "moving-dots", "study", "--out", str(out), *arguments]
    try:
        code = main()
    finally:
        sys.argv = before
    assert code == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert words in error


@pytest.mark.timeout(1800)
def test_before_fixed_noise_vicreg_fails_and_inverse_dynamics_cures_it() -> None:
    """The reduced study: one seed, level 1. What the camera's default objective follows from."""
    torch.set_num_threads(1)
    reduced = ("dataset_size=500", "vicreg.epochs=40", "vicreg.embedding_size=64", "val_dataset_size=1000")
    rmse = {
        method: run(Cell(method, "fixed", "uniform", 1.0, 1, 0).config((*reduced, "probe_mpc=false")))
        for method in ("random", "vicreg", "vicreg+idm")
    }
    failed, cured = rmse["vicreg"], rmse["vicreg+idm"]
    assert failed["rmse"] >= 7.0
    assert cured["rmse"] < 0.5 * failed["rmse"]
    assert cured["rmse"] < rmse["random"]["rmse"]
    # The ratio of variances shows it.
    assert failed["within_between"] < 0.1 * cured["within_between"]


def test_floors_come_first() -> None:
    assert known_methods()[:2] == ("random", "supervised")
