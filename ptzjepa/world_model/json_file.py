"""Results as JSON files, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ptzjepa.run_directory import write_atomically


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result; numbers that are not finite become null. ``UserError`` where it can't be written."""
    write_atomically(path, json.dumps(_finite(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
