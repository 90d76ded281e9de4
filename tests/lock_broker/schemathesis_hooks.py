"""What the tests of the API's description do to every request: nobody stands in line for half a minute."""

from __future__ import annotations

from typing import Any

import schemathesis

WAIT_MS = 20


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Cut a wait short that is one; whatever else the field holds stays as it is."""
    body = case.body
    wait = body.get("wait_ms") if isinstance(body, dict) else None
    if isinstance(wait, int | float) and not isinstance(wait, bool) and WAIT_MS < wait <= 30_000:
        body["wait_ms"] = WAIT_MS
