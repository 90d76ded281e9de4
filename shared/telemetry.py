"""Structured logs and Prometheus metrics, the same way in every service."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.settings import ServiceSettings

PREFIX = "ptz"
_SECRET_KEYS = ("password", "token", "secret", "authorization", "credential")
_NOT_SECRET = ("fencing_token",)
_USER_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s'\"]*@", re.IGNORECASE)


def redact_text(text: str) -> str:
    """Blank out user and password in every URL of a text."""
    return _USER_IN_URL.sub(r"\1***@", text)


def _sounds_secret(key: str) -> bool:
    lowered = key.lower()
    return lowered not in _NOT_SECRET and any(word in lowered for word in _SECRET_KEYS)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: "***" if _sounds_secret(str(key)) else _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out anything logged under a key that sounds like a credential, and credentials in URLs."""
    for key, value in event.items():
        event[key] = "***" if _sounds_secret(key) else _redacted(value)
    return event


def configure_logging(settings: ServiceSettings, service: str) -> None:
    """Send structured lines to stderr: JSON for machines, aligned text on a terminal."""
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    # Tracebacks without local variables: those hold settings, and settings hold secrets.
    traceback: structlog.typing.Processor
    renderer: structlog.typing.Processor
    if as_json:
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        traceback = structlog.processors.ExceptionRenderer(transformer)
        renderer = structlog.processors.JSONRenderer()
    else:
        traceback = structlog.processors.format_exc_info
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            traceback,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service, node=settings.node)
    # Libraries that log requests at INFO would print URLs; their warnings still come through.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)


class Metrics:
    """Factory of one service's metrics on a registry of its own. Names become ``ptz_<service>_<name>``."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"{PREFIX}_{service.replace('-', '_')}"

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        """Make a counter; its exported name ends in ``_total``."""
        return Counter(f"{self._prefix}_{name}", help_text, labels, registry=self.registry)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Make a gauge."""
        return Gauge(f"{self._prefix}_{name}", help_text, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = Histogram.DEFAULT_BUCKETS,
    ) -> Histogram:
        """Make a histogram."""
        return Histogram(f"{self._prefix}_{name}", help_text, labels, registry=self.registry, buckets=buckets)
