"""The list of stored pictures: where each was taken and when, as arrays, so that 100,000 take few megabytes.

Read from a directory, where names of PTZJEPA's tell pose and time and ``Originals``' own names have sidecars, or from
an index: JSON lines, or Parquet. An index has the columns

* ``path``: the picture's file, relative to the index' directory;
* ``pan``, ``tilt`` in degrees and ``zoom``, see ``PTZ_STORED_ZOOM``;
* ``captured_at``: ISO 8601 text or a timestamp, UTC where it names no zone, or seconds since 1970;
* ``camera``, optional: whose picture it is. Other columns are left alone.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import structlog

from camera_sampler.cameras.axis import DEFAULT_MAGNIFICATION, ZoomSteps
from camera_sampler.naming import SIDECAR, is_own_name, read_ptzjepa_name, to_microseconds
from shared.errors import UserError

Floats = npt.NDArray[np.float64]
ZoomUnits = Literal["guess", "magnification", "steps"]
MOST_PICTURES = 1_000_000
MOST_MAGNIFICATION = 100.0
"""No camera magnifies more; a zoom beyond it is in steps."""
_SUFFIXES = (".jpg", ".jpeg", ".png")
_COLUMNS = ("path", "pan", "tilt", "zoom", "captured_at", "camera")
_ROWS = 4096


@dataclass(frozen=True)
class Row:
    """One picture: degrees, zoom in its own units, microseconds since 1970."""

    path: str
    pan: float
    tilt: float
    zoom: float
    microseconds: int
    camera: str = ""


class StoredIndex:
    """Every picture's canonical pose and time, in the order of time, and its file."""

    def __init__(self, rows: Iterator[Row | None], root: Path, units: ZoomUnits, steps: ZoomSteps) -> None:
        """Take in the rows; None stands for a picture that tells no pose or no time, and is counted."""
        numbers, times, names, ends = array("d"), array("q"), bytearray(), array("q", [0])
        self.skipped = 0
        for row in rows:
            if row is None or not _possible(row):
                self.skipped += 1
                continue
            numbers.extend((row.pan, row.tilt, row.zoom))
            times.append(row.microseconds)
            names += os.fsencode(row.path)
            ends.append(len(names))
            if len(times) > MOST_PICTURES:
                raise UserError(
                    f"PTZ_STORED_IMAGES: {root} holds more than {MOST_PICTURES} pictures; give an index of fewer"
                )
        self._root, self._names, self._ends = root, bytes(names), np.array(ends)
        taken = np.array(times, np.int64)
        self._order = np.argsort(taken, kind="stable")
        self.microseconds = taken[self._order]
        pan, tilt, zoom = np.array(numbers, np.float64).reshape(-1, 3)[self._order].T
        self.units = units if units != "guess" else _guess(zoom)
        # A head that went on past the pole looks at the other side of it.
        beyond = np.abs(tilt) > 90.0
        self.pan: Floats = (np.where(beyond, pan + 180.0, pan) + 180.0) % 360.0 - 180.0
        self.tilt: Floats = np.where(beyond, np.copysign(180.0, tilt) - tilt, tilt)
        magnified = np.array([steps.to_zoom(value) for value in zoom]) if self.units == "steps" else zoom
        self.zoom: Floats = np.maximum(magnified, 1.0)

    def __len__(self) -> int:
        return len(self.microseconds)

    def path(self, index: int) -> Path:
        """Return a picture's file."""
        place = int(self._order[index])
        return self._root / os.fsdecode(self._names[self._ends[place] : self._ends[place + 1]])


def read_index(
    path: Path, units: ZoomUnits = "guess", magnification: float | None = None, camera: str = ""
) -> StoredIndex:
    """List the pictures that ``path`` names, those of ``camera`` where an index has several. ``UserError`` if none."""
    try:
        if path.is_dir():
            rows, root = _in_directory(path), path
        elif path.suffix == ".parquet":
            rows, root = _of_camera(_in_parquet(path), camera), path.parent
        elif path.suffix in (".jsonl", ".ndjson"):
            rows, root = _of_camera(_in_json_lines(path), camera), path.parent
        elif path.exists():
            raise UserError(f"PTZ_STORED_IMAGES: {path} is neither a directory nor an index; name a .jsonl or .parquet")
        else:
            raise UserError(f"PTZ_STORED_IMAGES: {path} does not exist; name a directory or an index of pictures")
        index = StoredIndex(rows, root, units, ZoomSteps(magnification=magnification or DEFAULT_MAGNIFICATION))
    except OSError as error:
        raise UserError(f"PTZ_STORED_IMAGES: cannot read {path}: {error.strerror or error}") from error
    if not len(index):
        passed = f"; {index.skipped} tell no pose or time" if index.skipped else ""
        raise UserError(
            f"PTZ_STORED_IMAGES: no pictures in {path}{passed}; "
            "they must be named PAN,TILT,ZOOM_TIME.jpg or listed in an index"
        )
    log = structlog.get_logger()
    if index.skipped:
        log.warning("stored pictures without pose or time are skipped", skipped=index.skipped, left=len(index))
    log.info("stored pictures", count=len(index), zoom_units=index.units, zoom_guessed=units == "guess")
    return index


def _guess(zoom: Floats) -> ZoomUnits:
    return "steps" if zoom.size and zoom.max() > MOST_MAGNIFICATION else "magnification"


def _possible(row: Row) -> bool:
    """Tell whether a head can look there."""
    return abs(row.pan) <= 720.0 and abs(row.tilt) <= 180.0 and 0.0 < row.zoom < math.inf


def _in_directory(directory: Path) -> Iterator[Row | None]:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name
            if not name.lower().endswith(_SUFFIXES) or name.startswith("."):
                continue
            if label := read_ptzjepa_name(name):
                yield Row(name, *label)
            else:
                yield _by_sidecar(directory, name) if is_own_name(name) else None


def _by_sidecar(directory: Path, name: str) -> Row | None:
    try:
        about = json.loads((directory / (name + SIDECAR)).read_bytes())
        return _row({"path": name, **about["pose"], "captured_at": about["captured_at"]})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _in_json_lines(path: Path) -> Iterator[Row | None]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            yield _row(values) if isinstance(values, dict) else None


def _in_parquet(path: Path) -> Iterator[Row | None]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"PTZ_STORED_IMAGES: {path} needs pyarrow: pip install 'ptzjepa[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=columns):
                for values in batch.to_pylist():
                    yield _row(values)
    except ArrowException as error:
        raise UserError(f"PTZ_STORED_IMAGES: {path} is no sound Parquet file: {str(error)[:120]}") from error


def _row(values: Mapping[str, Any]) -> Row | None:
    try:
        path, camera = values["path"], values.get("camera")
        if not isinstance(path, str) or not path or "\0" in path:
            return None
        numbers = (float(values["pan"]), float(values["tilt"]), float(values["zoom"]))
        return Row(path, *numbers, _microseconds(values["captured_at"]), "" if camera is None else str(camera))
    except (KeyError, TypeError, ValueError, OverflowError, UnicodeError):
        return None


def _microseconds(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("a time cannot be true or false")
    if isinstance(value, int | float):
        # Through a date, so that what no calendar has is refused here.
        value = datetime.fromtimestamp(value, UTC)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return to_microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _of_camera(rows: Iterator[Row | None], camera: str) -> Iterator[Row | None]:
    """Leave out the pictures of other cameras. ``UserError`` where there are several and none is named."""
    first: str | None = None
    for row in rows:
        if row is None or not camera:
            if row is not None and first is not None and row.camera != first:
                raise UserError(
                    f"PTZ_STORED_IMAGES: the index holds pictures of several cameras ({first or 'unnamed'}, "
                    f"{row.camera or 'unnamed'}, …); name one by PTZ_STORED_CAMERA"
                )
            first = row.camera if row is not None and first is None else first
            yield row
        elif row.camera == camera:
            yield row
