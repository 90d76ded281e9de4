"""Write the tables of docs/metrics.md from the services themselves, so that they cannot differ from the code."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from docs.generated import renew
from dreamer_agent.agent_service import Learner
from dreamer_agent.container import AgentContainer
from dreamer_agent.dream_service import DreamGenerator
from dreamer_agent.pilot import Pilot
from dreamer_agent.settings import AgentSettings, DreamSettings
from lock_broker.metrics import BrokerMetrics
from lock_broker.service import LockBroker
from lock_broker.settings import BrokerSettings
from ptzjepa.node.service import Node
from ptzjepa.node.settings import NodeSettings
from shared.service import Service
from shared.telemetry import Rows
from world_model_trainer.service import WorldModelTrainer
from world_model_trainer.settings import TrainerSettings

DOCUMENT = Path(__file__).with_name("metrics.md")
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
"""What Prometheus calls the series of a metric, by its type."""


@dataclass(frozen=True)
class Metric:
    """One metric as a service exports it, without the endings of its series."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def title(self) -> str:
        """Its name as the pages of /metrics show it."""
        return f"{self.name}_total" if self.type == "counter" else self.name

    @property
    def series(self) -> dict[str, set[str]]:
        """The labels of its series by their names."""
        return {
            self.name + suffix: {*self.labels} | ({"le"} if suffix == "_bucket" else set())
            for suffix in SAMPLES[self.type]
        }


def services() -> dict[str, Service[Any]]:
    """Make one of each service, as far as its metrics go, by its name."""
    with tempfile.TemporaryDirectory() as directory:
        common = {"admin_port": 0, "model_store": str(Path(directory) / "model-store")}
        broker, agent = LockBroker(BrokerSettings(**common)), AgentSettings(**common)
        BrokerMetrics(broker.metrics)
        made: list[Service[Any]] = [
            broker,
            CameraSampler(SamplerSettings(**common)),
            WorldModelTrainer(TrainerSettings(**common)),
            DreamGenerator(DreamSettings(**common)),
            AgentContainer(agent),
            Learner(agent),
            Pilot(agent),
            Node(NodeSettings(**common, node_services="camera-sampler")),
        ]
    return {service.name: service for service in made}


def metrics_of(registry: CollectorRegistry) -> Iterator[Metric]:
    """Return the metrics of a registry, in the order in which they were made."""
    for family in registry.collect():
        collector: Any = registry._names_to_collectors.get(family.name)
        labels = collector.labels if isinstance(collector, Rows) else getattr(collector, "_labelnames", ())
        yield Metric(family.name, family.type, tuple(labels), family.documentation)


def tables(exported: Mapping[str, Service[Any]]) -> str:
    """Return all tables as Markdown: first what every service exports, then what each exports besides."""
    found = {name: list(metrics_of(service.metrics.registry)) for name, service in exported.items()}
    own = {name: {_short(name, metric): metric for metric in metrics} for name, metrics in found.items()}
    common = set.intersection(*(set(metrics) for metrics in own.values()))
    first = {short: metric for short, metric in next(iter(own.values())).items() if _is_ours(short)}
    shared = {f"ptz_SERVICE_{short}": metric for short, metric in first.items() if short in common}
    parts = ["## Every service\n\n", _table(shared)]
    for name, metrics in own.items():
        rest = [metric for short, metric in metrics.items() if short not in common and _is_ours(short)]
        parts += [f"\n## {name}\n\n", _table({metric.title: metric for metric in rest})]
    return "".join(parts)


def _short(service: str, metric: Metric) -> str:
    return metric.title.removeprefix(f"ptz_{service.replace('-', '_')}_")


def _is_ours(short: str) -> bool:
    # Which there are of a process depends on the operating system.
    return not short.startswith("process_")


def _table(metrics: Mapping[str, Metric]) -> str:
    rows = ["| metric | type | labels | meaning |\n", "| --- | --- | --- | --- |\n"]
    for name, metric in metrics.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.meaning} |\n")
    return "".join(rows)


def current(text: str) -> str:
    """Return the document's text with its generated part renewed. ``ValueError`` when the markers are missing."""
    return renew(text, "the services' metrics", tables(services()))


def main() -> int:
    """Renew the document in place."""
    DOCUMENT.write_text(current(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
