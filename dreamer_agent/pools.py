"""Pools of models, as PTZJEPA has them: ``wm_00_00``, ``wm_00_01``, … and ``ag_00_00``, …"""

from __future__ import annotations

import re

from shared.errors import UserError

_NUMBERED = re.compile(r"(?P<kind>.*_)(?P<number>[0-9]{2,4})")


def pool(first: str, count: int) -> list[str]:
    """Return the names of ``count`` models from ``first`` on. ``UserError`` where its name does not end in a number.

    >>> pool("ag_00_08", 3)
    ['ag_00_08', 'ag_00_09', 'ag_00_10']
    """
    match = _NUMBERED.fullmatch(first)
    if count == 1:
        return [first]
    if match is None:
        raise UserError(f"{first!r} does not end in a number, so there is no pool of {count} from it: call it ag_00_00")
    number = int(match["number"])
    return [f"{match['kind']}{number + index:02d}" for index in range(count)]
