"""Thread counts on purpose.

Several numerical processes on few cores starve each other: two 2-thread processes on 2 cores were measured ten times
slower than one alone, because idle OpenMP threads spin. So each process gets its count, and waits passively. Call this
before torch or numpy is imported: the OpenMP runtime reads its environment once.
"""

from __future__ import annotations

import os


def limit_threads(count: int) -> None:
    """Give this process ``count`` threads of numerical work that sleep while they wait."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(count)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
