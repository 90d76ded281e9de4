"""Errors that people are meant to read."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAULT = 1
"""The service met something it did not expect; the supervisor starts it again."""
EXIT_USER = 2
"""The input was wrong; starting again would not help."""
EXIT_INTERRUPTED = 130
"""Somebody pressed Ctrl-C."""


class UserError(Exception):
    """The user can mend this: the message says in one line what is wrong, where, and what to do.

    Every command and service prints it as ``error: …`` without a traceback and exits with ``EXIT_USER``.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())
