from __future__ import annotations

import os

import pytest

from shared.threads import limit_threads


def test_every_runtime_gets_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    for name in (*names, "OMP_WAIT_POLICY", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "x")  # so that everything is put back afterwards
        monkeypatch.delenv(name)
    limit_threads(3)
    assert [os.environ[name] for name in names] == ["3", "3", "3"]
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"]) == ("PASSIVE", "0")
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
    limit_threads(1)
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE", "who set it knows why"
