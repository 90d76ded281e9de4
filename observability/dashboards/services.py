"""All processes: memory, processor time, starts, disks."""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, Dashboard, curves, listing

SERVICES = Dashboard(
    uid="ptzjepa-services",
    title="PTZJEPA: Services",
    description="What every process takes, when it was started, and how full the disks are.",
    rows={
        "Processes": [
            curves(
                "Memory",
                "Resident. A container that reaches its limit is killed.",
                {"{{process}}": "process:ptz_resident_memory_bytes"},
                "bytes",
                width=12,
            ),
            curves(
                "Processor time",
                "Cores kept busy.",
                {"{{process}}": "rate(process:ptz_cpu_seconds_total[$__rate_interval])"},
                width=12,
            ),
            curves(
                "Since the start",
                "Falls to nothing when a process is started again.",
                {"{{process}}": "time() - process:ptz_start_time_seconds"},
                "s",
            ),
            curves(
                "Children started again",
                "Processes of rl-agent and node that ended by themselves, an hour.",
                {"{{process}}: {{child}}": "increase(process:ptz_child_restarts_total[1h])"},
            ),
            curves(
                "Children that run",
                "Processes of rl-agent and node: 1 while it runs.",
                {"{{process}}: {{child}}": "process:ptz_child_up"},
                bounds=(0, 1),
            ),
            listing(
                "Versions",
                "Which version runs where, and for which camera.",
                'max by (service, instance, version, node, camera) ({__name__=~"ptz_.+_info", version!=""})',
                width=24,
            ),
        ],
        "Disks": [
            curves(
                "Free",
                "Share of the disk that each directory lies on.",
                {"{{process}}: {{directory}}": "process:ptz_disk_free:ratio"},
                "percentunit",
                width=12,
                bounds=(0, 1),
                steps=[(None, RED), (0.05, GREEN)],
            ),
            curves(
                "Services that answer",
                "1 while Prometheus gets their metrics.",
                {"{{service}}": 'up{job="ptzjepa"}'},
                width=12,
                bounds=(0, 1),
            ),
        ],
    },
)
