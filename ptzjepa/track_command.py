"""``ptzjepa track``: what a directory of tracks holds, in a few lines or row by row."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from shared.errors import EXIT_OK, UserError

_TIMES = {"positions": "captured_at", "commands": "sent_at", "embeddings": "time"}


def run(directory: Path, *, as_json: bool, embeddings: bool, out: TextIO = sys.stdout) -> int:
    """Print a summary, or with ``as_json`` one JSON object a row; return the exit code."""
    try:
        from ptzjepa.tracks import read
    except ImportError as error:
        raise UserError(f"tracks need pyarrow: {error}; pip install 'ptzjepa[parquet]'") from error
    tracks = read(directory, embeddings=embeddings)
    for line in tracks.refused:
        print(f"warning: not read: {line}", file=sys.stderr)
    for name, table in tracks.tables().items():
        if as_json:
            _print_rows(name, table, out)
        elif name != "embeddings" or embeddings:
            print(f"{name:<10}  {table.num_rows:>9} rows{_span(table[_TIMES[name]])}", file=out)
    return EXIT_OK


def _print_rows(name: str, table: Any, out: TextIO) -> None:
    for batch in table.to_batches(max_chunksize=256):
        for row in batch.to_pylist():
            filled = {key: value for key, value in row.items() if value is not None}
            print(json.dumps({"table": name, **filled}, default=datetime.isoformat), file=out)


def _span(times: Any) -> str:
    known = times.drop_null().to_pylist()
    return f"  {min(known):%Y-%m-%d %H:%M:%S} to {max(known):%Y-%m-%d %H:%M:%S} UTC" if known else ""
