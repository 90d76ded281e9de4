"""Files that may change while the broker runs: tokens, certificates."""

from __future__ import annotations

from pathlib import Path


class Watched:
    """Tells when one of some files is another than at the last look."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen = self._look()

    def changed(self) -> bool:
        """Look again. A file that is missing, or comes back, has changed as well."""
        seen = self._look()
        changed = seen != self._seen
        self._seen = seen
        return changed

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_mark(path) for path in self._paths]


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # The inode, too: whoever puts a file in another's place may keep its time and size.
    return status.st_mtime_ns, status.st_size, status.st_ino
