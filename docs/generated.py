"""The part of a page that is made from code: between two marker lines, renewed by `make docs`."""

from __future__ import annotations

END = "<!-- end of the generated part -->\n"


def begin(source: str) -> str:
    """Return the marker line before a part that is generated from ``source``."""
    return f"<!-- generated from {source} by `make docs` -->\n"


def renew(text: str, source: str, part: str) -> str:
    """Return a page's text with its generated part renewed. ``ValueError`` when a marker line is missing."""
    before, first, rest = text.partition(begin(source))
    _, last, after = rest.partition(END)
    if not first or not last:
        raise ValueError(f"the page lacks the two marker lines of what is generated from {source}")
    return f"{before}{first}\n{part}\n{last}{after}"
