"""One camera and its sampler."""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, YELLOW, Dashboard, curves, number
from observability.dashboards.queries import Queries

SAMPLER = Queries("camera_sampler", 'instance=~"$instance"')
PILOT = Queries("rl_agent_pilot")

CAMERA = Dashboard(
    uid="ptzjepa-camera",
    title="PTZJEPA: Camera",
    description="What the sampler makes of its camera: moves, views, faults, and what waits on its disk.",
    instances="ptz_camera_sampler_ready",
    rows={
        "Now": [
            number("Views a second", "What is published now.", SAMPLER.rate("views")),
            number(
                "Age of the last view",
                "Since the newest published view was taken.",
                f"max({SAMPLER.age('last_view')})",
                "s",
                steps=[(None, GREEN), (60, YELLOW), (300, RED)],
            ),
            number(
                "Share rejected",
                "Share of the snapshots of the last 15 minutes that were not good enough.",
                'max(instance:ptz_rejects:ratio_rate15m{instance=~"$instance"})',
                "percentunit",
                steps=[(None, GREEN), (0.05, YELLOW), (0.2, RED)],
            ),
            number(
                "Time to stand still",
                "95 % of the moves of late take no longer.",
                SAMPLER.quantile(0.95, "settle_seconds"),
                "s",
            ),
            number(
                "Coverage",
                "Share of its reach that the last 1,000 views looked at.",
                f"min({SAMPLER.now('coverage_ratio')})",
                "percentunit",
                steps=[(None, RED), (0.1, YELLOW), (0.3, GREEN)],
            ),
            number(
                "Views in the spool",
                "They wait on the disk for Redis.",
                f"sum({SAMPLER.now('spool_views')})",
                steps=[(None, GREEN), (1, YELLOW)],
            ),
        ],
        "Views": [
            curves(
                "Views by who chose the move",
                "Views published, and episodes begun, a second.",
                {"{{policy}}": SAMPLER.rate("views", "policy"), "episodes begun": SAMPLER.rate("episodes")},
            ),
            curves(
                "Rejects",
                "Snapshots that were not good enough, by reason; views taken of a moving camera; originals that "
                "were lost. All a second.",
                {
                    "{{kind}}": SAMPLER.rate("rejects", "kind"),
                    "did not settle": SAMPLER.rate("unsettled"),
                    "original lost": SAMPLER.rate("originals_lost"),
                },
            ),
            curves(
                "From a move to standing still", "In the camera's own time.", SAMPLER.quantiles("settle_seconds"), "s"
            ),
            curves(
                "Where it looked",
                "Pose of the last view: pan and tilt.",
                {"{{axis}}": SAMPLER.now("pose_degrees")},
                "degree",
            ),
            curves(
                "Zoom",
                "Magnification of the last view.",
                {"{{instance}}": SAMPLER.now("zoom_ratio")},
                "suffix: ×",
                bounds=(1, None),
            ),
            curves(
                "Coverage over time",
                "Share of its reach that the last 1,000 views looked at.",
                {"{{instance}}": SAMPLER.now("coverage_ratio")},
                "percentunit",
                bounds=(0, 1),
            ),
        ],
        "Steering": [
            curves(
                "Commands",
                "Commands by what became of them, and moves that the sampler chose because no agent answered. "
                "All a second.",
                {
                    "command {{outcome}}": SAMPLER.rate("commands", "outcome"),
                    "{{policy}} for want of an agent": SAMPLER.rate("fallbacks", "policy"),
                },
            ),
            curves(
                "Agent steers",
                "1 while the camera obeys an agent.",
                {"{{instance}}": SAMPLER.now("steering")},
                bounds=(0, 1),
            ),
            curves(
                "Time to act",
                "The pilot's, from having a view to having chosen a move.",
                PILOT.quantiles("act_seconds"),
                "s",
            ),
        ],
        "Faults": [
            curves(
                "Camera errors",
                "What went wrong with the camera, by kind, a second. docs/cameras.md says what the sampler "
                "does about each.",
                {"{{kind}}": SAMPLER.rate("camera_errors", "kind")},
            ),
            curves(
                "Moves given up",
                "Moves that no view came of, by reason, beside all moves, a second.",
                {"{{kind}}": SAMPLER.rate("given_up", "kind"), "all moves": SAMPLER.rate("moves")},
            ),
            curves(
                "Publishing",
                "From a verified view to its place in the stream or the spool.",
                SAMPLER.quantiles("publish_seconds"),
                "s",
            ),
        ],
        "What is kept": [
            curves(
                "Spool",
                "Views that wait on disk for Redis. It fills while Redis is away and empties when it is back.",
                {"{{instance}}": SAMPLER.now("spool_views")},
            ),
            curves(
                "Through the spool",
                "Views that had to wait, those that reached the stream from the spool, and views and "
                "episodes given up, by reason. All a second.",
                {
                    "waited for Redis": SAMPLER.rate("publish_waits"),
                    "replayed": SAMPLER.rate("spool_replayed"),
                    "given up: {{reason}}": SAMPLER.rate("spool_dropped_views", "reason"),
                    "episodes given up: {{reason}}": SAMPLER.rate("spool_dropped_episodes", "reason"),
                },
            ),
            curves(
                "Bytes on disk",
                "Of the spool and of the tracking files of sampler and pilot.",
                {
                    "spool": SAMPLER.now("spool_bytes"),
                    "tracks": SAMPLER.now("track_bytes"),
                    "tracks of the pilot": PILOT.now("track_bytes"),
                },
                "bytes",
            ),
            curves(
                "Tracks",
                "Rows of the tracking files, by table, and rows that were lost, by reason, a second.",
                {
                    "{{table}}": SAMPLER.rate("track_rows", "table"),
                    "pilot: {{table}}": PILOT.rate("track_rows", "table"),
                    "lost: {{reason}}": SAMPLER.rate("track_dropped", "reason"),
                    "pilot lost: {{reason}}": PILOT.rate("track_dropped", "reason"),
                },
            ),
            curves(
                "Waggle",
                "Values and pictures that wait for pywaggle; handed on and dropped, by reason, a second.",
                {
                    "waiting": SAMPLER.now("waggle_queue"),
                    "values handed on": SAMPLER.rate("waggle_published"),
                    "pictures handed on": SAMPLER.rate("waggle_uploads"),
                    "dropped: {{reason}}": SAMPLER.rate("waggle_dropped", "reason"),
                },
            ),
            curves(
                "Free disk",
                "Of the disks that spool, originals and tracks lie on.",
                {"{{directory}}": SAMPLER.now("disk_free_bytes")},
                "bytes",
            ),
        ],
    },
)
