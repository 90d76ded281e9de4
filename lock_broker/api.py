"""The REST API, version 1. Durations are relative, in milliseconds: nobody's wall clocks are compared."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from lock_broker.description import complete
from lock_broker.gate import Gate
from lock_broker.problems import install_handlers
from lock_broker.routes import health, leases, models
from lock_broker.routes.parts import Parts
from lock_broker.routes.quick import QuickRoute, Shortcut
from lock_broker.settings import BrokerSettings
from lock_broker.tokens import Tokens


def create_app(parts: Parts, tokens: Tokens, settings: BrokerSettings) -> Gate:
    """Make the application: the gate, the shortcut for what is asked most, and FastAPI for everything else."""
    app = FastAPI(
        title="Lock broker",
        version="1",
        summary="Leases with fencing tokens, and the registry of world models and agents",
        # The pages for people load scripts from elsewhere; the description itself is enough.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    for routes in (leases.router, leases.others, models.router, health.router):
        app.include_router(routes)
    install_handlers(app)
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(generate(), tokens=tokens.required)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    # In front of the framework, not in it as its middleware: its own layers come before those.
    quick = [route for route in leases.router.routes if isinstance(route, QuickRoute)]
    return Gate(
        Shortcut(app, quick),
        metrics=parts.metrics,
        tokens=tokens,
        rate=settings.broker_rate,
        burst=settings.broker_burst,
        body_seconds=settings.broker_slow_seconds,
    )
