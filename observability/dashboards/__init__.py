"""Grafana's dashboards as code: ``python -m observability.dashboards`` writes the JSON that Grafana is given."""

from __future__ import annotations

import json
from pathlib import Path

from observability.dashboards.broker import BROKER_REDIS_STREAMS
from observability.dashboards.camera import CAMERA
from observability.dashboards.dreams_and_agent import DREAMS_AND_AGENT
from observability.dashboards.overview import OVERVIEW
from observability.dashboards.panels import Dashboard
from observability.dashboards.services import SERVICES
from observability.dashboards.world_model import WORLD_MODEL

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
ALL: tuple[Dashboard, ...] = (OVERVIEW, CAMERA, WORLD_MODEL, DREAMS_AND_AGENT, BROKER_REDIS_STREAMS, SERVICES)


def files() -> dict[Path, str]:
    """Return the text of every dashboard's file."""
    return {FOLDER / f"{each.uid}.json": json.dumps(each.json(), indent=1, ensure_ascii=False) + "\n" for each in ALL}
