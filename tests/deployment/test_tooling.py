"""Makefile, pre-commit hooks and CI script: what they name exists, and what goes wrong is said in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lock_broker.tokens import digest_of, line, read
from tests.deployment.manifests import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A place where nothing is installed yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def run_make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target(checkout: Path) -> None:
    listed = run_make(checkout).stdout
    for target in ("install", "demo", "test", "containers-test", "lint", "bench", "docs", "secrets", "clean", "help"):
        assert re.search(rf"^  {target} +\S", listed, flags=re.MULTILINE), target


def fake_python(directory: Path, *, old: bool) -> Path:
    """An interpreter that is too old, or one whose distribution left the venv module out."""
    path = directory / "python"
    fails = "version_info" if old else "ensurepip"
    path.write_text(f'#!/bin/sh\ncase "$2" in *{fails}*) exit 1;; esac\nexit 0\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("old", "says"), [(True, "not Python 3.11 or newer"), (False, "python3-venv")])
def test_unfit_python_is_told_in_one_line(checkout: Path, old: bool, says: str) -> None:
    done = run_make(checkout, "demo", f"PYTHON={fake_python(checkout, old=old)}")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert says in errors[0]
    assert not (checkout / ".venv").exists()


def test_missing_python_is_told_in_one_line(checkout: Path) -> None:
    done = run_make(checkout, "install", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert "error: no-such-python is not" in done.stderr


def test_secrets_are_random_readable_by_containers_and_never_tracked(checkout: Path) -> None:
    assert run_make(checkout, "secrets").returncode == 0
    token = checkout / "secrets" / "broker_token"
    first = token.read_text()
    assert len(first.strip()) >= 40
    assert first != (checkout / "secrets" / "grafana_admin_password").read_text()
    assert token.stat().st_mode & 0o777 == 0o444
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert (checkout / "secrets" / ".gitignore").read_text() == "*\n"
    tokens = checkout / "secrets" / "broker_tokens"
    known = read(tokens)
    for name, role in (("broker_token", "worker"), ("broker_admin_token", "admin")):
        assert known[digest_of((tokens.parent / name).read_text().strip())].role == role
    tokens.chmod(0o644)
    tokens.write_text(line("edge", "worker", "token-of-edge"))
    assert run_make(checkout, "secrets").returncode == 0
    assert token.read_text() == first
    assert tokens.read_text() == line("edge", "worker", "token-of-edge"), "what people add stays"


def test_clients_by_others_are_pinned_and_installed_again_when_their_list_changes(checkout: Path) -> None:
    lists = sorted((ROOT / "tests" / "third_party").glob("*.txt"))
    assert lists
    (checkout / "tests" / "third_party").mkdir(parents=True)
    stamps = [checkout / ".venv" / name for name in (".created", ".laptop", ".dev")]
    for path in lists:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
        shutil.copy(path, checkout / "tests" / "third_party")
        stamps.append(checkout / ".venv" / "third_party" / path.stem / ".installed")
    for stamp in stamps:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    assert "pip" not in run_make(checkout, "-n", "install").stdout
    changed = checkout / "tests" / "third_party" / lists[0].name
    later = stamps[-1].stat().st_mtime + 10.0
    os.utime(changed, (later, later))
    for target in ("install", "test"):
        installs = [line for line in run_make(checkout, "-n", target).stdout.splitlines() if " install " in line]
        assert len(installs) == 1
        assert f"--requirement tests/third_party/{lists[0].name}" in installs[0]


def test_hooks_run_tools_that_are_installed_and_fetch_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system"
        words = hook["entry"].split()
        if words[0] == "make":
            assert f"\n{words[-1]}:" in makefile
        else:
            assert f"$(BIN)/{Path(words[0]).name}" in makefile


def test_ci_script_is_executable_and_runs_the_documented_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    steps = re.findall(r"^ *step (make .+)$", script.read_text(), flags=re.MULTILINE)
    # The last line that CI prints has to be pytest's own.
    assert steps == ["make lint", "make containers-smoke", "make test"]
