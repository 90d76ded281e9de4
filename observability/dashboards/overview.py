"""The page that Grafana opens on: does it run, does it learn, and is anything wrong?"""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, YELLOW, Dashboard, curves, listing, number, states
from observability.dashboards.queries import Queries

SAMPLER, TRAINER = Queries("camera_sampler"), Queries("world_model_trainer")
DREAMER, LEARNER, PILOT = Queries("dream_generator"), Queries("rl_agent_learner"), Queries("rl_agent_pilot")
BROKER = Queries("lock_broker")
YES_OR_NO = {0: ("no", RED), 1: ("yes", GREEN)}

OVERVIEW = Dashboard(
    uid="ptzjepa",
    title="PTZJEPA",
    description="A curious camera: what it sees, what is learnt from it, what is dreamt, and who steers.",
    rows={
        "At a glance": [
            number("Views a second", "What the cameras publish now.", SAMPLER.rate("views")),
            number(
                "Agent steers",
                "Cameras that obey an agent at present.",
                f"sum({SAMPLER.now('steering')})",
                steps=[(None, YELLOW), (1, GREEN)],
            ),
            number(
                "Error against copy-last",
                "One-step error divided by the error of predicting no change, both on fresh views of the last hour. "
                "Below 1 the model knows something.",
                "max(instance:ptz_error:ratio_avg1h)",
                steps=[(None, GREEN), (0.95, YELLOW), (1, RED)],
            ),
            number(
                "Effective rank",
                "Share of their dimensions that embeddings of held-out views use. Near 0 they have collapsed.",
                "min(instance:ptz_effective_rank:ratio)",
                "percentunit",
                steps=[(None, RED), (0.05, YELLOW), (0.15, GREEN)],
            ),
            number("Dreams a second", "Dreams that were published for agents to learn from.", DREAMER.rate("dreams")),
            number(
                "Age of the policy",
                "Of the oldest policy that steers, since it was committed.",
                f"max({PILOT.now('policy_age_seconds')})",
                "s",
            ),
            number(
                "World model",
                "Version of the head that is being trained.",
                f"max({TRAINER.now('world_model_version')})",
            ),
            number("Policy", "Version of the policy that steers; 0 for none.", f"max({PILOT.now('policy_version')})"),
            number(
                "Coverage",
                "Share of their reach that the last 1,000 views of the cameras looked at.",
                f"min({SAMPLER.now('coverage_ratio')})",
                "percentunit",
                steps=[(None, RED), (0.1, YELLOW), (0.3, GREEN)],
            ),
            number(
                "Leases held",
                "Leases that are live now.",
                f"max({BROKER.now('leases_held')})",
            ),
            number(
                "Memory of Redis",
                "Share of what it may use. When it is full it refuses writes.",
                "max(instance:ptz_redis_memory:ratio)",
                "percentunit",
                steps=[(None, GREEN), (0.75, YELLOW), (0.9, RED)],
            ),
            number(
                "Fullest disk",
                "Share that is free of the disk with the least.",
                "min(process:ptz_disk_free:ratio)",
                "percentunit",
                steps=[(None, RED), (0.05, YELLOW), (0.15, GREEN)],
            ),
        ],
        "What is wrong": [
            listing(
                "Alerts",
                "What somebody should look at; docs/operations.md has a heading for each.",
                'sum by (alertname, severity, process, service, part) (ALERTS{alertstate="firing"})',
                width=12,
            ),
            states(
                "Ready",
                "Whether each process can do its work. A lock broker that stands by is not ready, and need not be.",
                {"{{process}}": "max by (process) (process:ptz_ready)"},
                YES_OR_NO,
            ),
            states(
                "Lacks",
                "Parts that a process lacks; its /readyz says why.",
                {"{{process}}: {{part}}": "max by (process, part) (process:ptz_missing) > 0"},
                {1: ("lacks it", RED)},
            ),
            curves(
                "Since the last success",
                "Ages of the last view, checkpoint, batch of dreams, policy and command. Each grows without end where "
                "it goes no further.",
                {
                    "view": SAMPLER.age("last_view"),
                    "checkpoint": TRAINER.age("last_commit"),
                    "dreams": DREAMER.age("last_batch"),
                    "policy": LEARNER.age("last_commit"),
                    "command": PILOT.age("last_command"),
                },
                "s",
                width=12,
            ),
        ],
        "The loop": [
            curves(
                "Views and rejects",
                "Views published a second, by who chose the move, and snapshots that were not good enough.",
                {"{{policy}}": SAMPLER.rate("views", "policy"), "rejects": SAMPLER.rate("rejects")},
            ),
            curves(
                "Held-out error ÷ copy-last",
                "Views never trained on; below 1 is better than predicting no change.",
                {"{{age}}": TRAINER.now("held_out_ratio")},
                steps=[(None, GREEN), (1, RED)],
            ),
            curves(
                "Dreams and updates",
                "Dreams published, and updates of the policy, a second.",
                {"dreams": DREAMER.rate("dreams"), "updates": LEARNER.rate("updates")},
            ),
        ],
    },
)
