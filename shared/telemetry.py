"""Structured logs and Prometheus metrics, the same way in every service."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily

from shared.settings import ServiceSettings

PREFIX = "ptz"
# One more series for each counter, to say what the process' start says as well.
disable_created_metrics()  # type: ignore[no-untyped-call]
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


class Rows:
    """A gauge whose series come and go, all replaced at once: a scrape sees the old ones or the new ones."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self.name, self.labels, self._help = name, labels, help_text
        self._rows: tuple[tuple[tuple[str, ...], float], ...] = ()
        registry.register(self)

    def replace(self, rows: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Have these series from now on: the labels' values, and the number."""
        self._rows = tuple(rows)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metric, for the registry."""
        yield GaugeMetricFamily(self.name, self._help, labels=self.labels)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the series as they are now, for the registry."""
        family = GaugeMetricFamily(self.name, self._help, labels=self.labels)
        for values, number in self._rows:
            family.add_metric(values, number)
        yield family


class Metrics:
    """Factory of one service's metrics on a registry of its own. Names become ``ptz_<service>_<name>``.

    Memory, processor time, open files and start of the process are there from the beginning.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"{PREFIX}_{service.replace('-', '_')}"
        # Under the service's own name: the rl-agent's page shows three processes.
        ProcessCollector(namespace=self._prefix, registry=self.registry)

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

    def rows(self, name: str, help_text: str, labels: tuple[str, ...]) -> Rows:
        """Make a gauge whose series come and go."""
        return Rows(f"{self._prefix}_{name}", help_text, labels, self.registry)

    def disks(self, directories: Mapping[str, Path | None]) -> None:
        """Measure what is free, and how large the disk is, where each directory lies; by a name for its use."""
        measures = {
            "free": self.gauge("disk_free_bytes", "Free bytes of the disk that a directory lies on", ("directory",)),
            "total": self.gauge("disk_size_bytes", "Bytes of the disk that a directory lies on", ("directory",)),
        }
        for use, path in directories.items():
            for measure, gauge in measures.items():
                if path is not None:
                    gauge.labels(use).set_function(lambda path=path, measure=measure: _disk(path, measure))  # type: ignore[misc]


def _disk(path: Path, measure: str) -> float:
    """Return bytes of the disk that the path lies on, or will lie on; NaN where that cannot be told."""
    try:
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        return float(getattr(shutil.disk_usage(there), measure))
    except (OSError, StopIteration):
        return float("nan")
