"""Put the report together and write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.scenes import open_scene
from ptzjepa.report import charts, gather, sphere
from ptzjepa.report.figures import Chart
from ptzjepa.report.pictures import PANORAMA_WIDTH, mask_uri, panorama_uri
from ptzjepa.run_directory import RunDirectory, write_atomically
from ptzjepa.summary import show_number
from ptzjepa.timeline import AGENT, Timeline
from shared.errors import UserError

DRAWN_LOOKS = 4000


def write_report(directory: RunDirectory, timeline: Timeline, summary: Mapping[str, Any], picture: Path | None) -> None:
    """Write ``report.html``. ``UserError`` where the file can't be written."""
    camera = SamplerSettings.from_environment()
    aspect = camera.snapshot_height / camera.snapshot_width
    write_atomically(directory.report, render(timeline, summary, picture, directory.originals, aspect))


def render(timeline: Timeline, summary: Mapping[str, Any], picture: Path | None, originals: Path, aspect: float) -> str:
    """Return the report as HTML.

    ``picture`` is the panorama's file, None for the generated scene; ``aspect`` a snapshot's height over its width.
    """
    environment = Environment(
        loader=PackageLoader("ptzjepa.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = show_number
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    environment.filters["clock"] = _clock
    environment.filters["degrees"] = lambda value: f"{value:.0f}°".replace("-", "−")
    return environment.get_template("report.html.j2").render(
        summary=summary,
        timeline=timeline,
        started=datetime.fromtimestamp(timeline.started, UTC),
        scene=picture.stem if picture else "generated scene",
        world=_world(timeline, summary, picture, aspect),
        aspect=aspect,
        strips=gather.strips(timeline, originals),
        surprise_map=sphere.surprise_map(gather.surprising_places(timeline)),
        scale_css=sphere.SCALE_CSS,
        charts=_charts(timeline, summary),
        restarts=sum(service["restarts"] for service in summary["services"].values()),
        failed=[check for check in summary["checks"].values() if not check["ok"]],
    )


def _world(timeline: Timeline, summary: Mapping[str, Any], picture: Path | None, aspect: float) -> dict[str, Any]:
    looks = list(timeline.looks)
    drawn = looks[:: max(1, len(looks) // DRAWN_LOOKS)]
    seen = sphere.seen(drawn, aspect)
    return {
        "panorama": _panorama(picture, int(summary["seed"])),
        "mask": mask_uri(seen) if looks else None,
        "seen_share": _share_of_sphere(seen),
        "path": sphere.path(drawn),
        "agent_dots": sphere.dots(look for look in drawn if look.policy == AGENT),
        "own_dots": sphere.dots(look for look in drawn if look.policy != AGENT),
        "limits": timeline.limits,
    }


def _panorama(picture: Path | None, seed: int) -> str | None:
    try:
        return panorama_uri(open_scene(picture, seed=seed).equirectangular(PANORAMA_WIDTH))
    except UserError as error:
        # The file may have gone since the run began; the rest of the report is still worth having.
        structlog.get_logger().warning("report without panorama", reason=str(error))
        return None


def _share_of_sphere(seen: Any) -> float:
    weights = sphere.row_weights(seen.shape[0])[:, None]
    return float((seen * weights).sum() / (weights.sum() * seen.shape[1]))


def _charts(timeline: Timeline, summary: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Chart | None] = {
        "surprise": charts.surprise_chart(timeline),
        "world_model_losses": _losses(timeline, timeline.world_model, "world-model-losses"),
        "agent_losses": _losses(timeline, timeline.agent, "agent-losses"),
        "dreams": charts.dreams_chart(timeline),
        "directions": charts.directions_chart(
            summary["agent"]["preferred_directions"],
            summary["agent"]["steered_views"],
            summary["agent"]["random_walk_directions"],
            summary["agent"]["random_walk_views"],
        ),
        "actions": charts.actions_chart(summary["agent"]["preferred_actions"]),
    }
    return {
        name: {"wide": Markup(chart.wide), "narrow": Markup(chart.narrow)} if chart else None  # noqa: S704  # nosec B704 - our own SVG
        for name, chart in made.items()
    }


def _losses(timeline: Timeline, learner: str, name: str) -> Chart | None:
    series = timeline.learning.get(learner)
    return charts.loss_chart(name, f"Loss terms of {learner} over time", list(series)) if series else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
