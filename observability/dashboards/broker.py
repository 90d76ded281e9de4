"""The lock broker, its Redis, and the streams."""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, YELLOW, Dashboard, curves, listing, number, states
from observability.dashboards.queries import Queries

BROKER = Queries("lock_broker", 'instance=~"$instance"')
TRAINER, DREAMER, LEARNER = (Queries(name) for name in ("world_model_trainer", "dream_generator", "rl_agent_learner"))
REFUSED = 'status=~"401|403|408|413|414|429|431"'


def answers(*matchers: str, by: str = "status") -> str:
    """Return the requests answered a second."""
    return f"sum by ({by}) (rate({BROKER.now('request_seconds_count', *matchers)}[$__rate_interval]))"


BROKER_REDIS_STREAMS = Dashboard(
    uid="ptzjepa-broker",
    title="PTZJEPA: Broker, Redis and streams",
    description="Who holds what, how long requests wait, how Redis is, and who keeps up with its streams.",
    instances="ptz_lock_broker_ready",
    rows={
        "Now": [
            number("Leases held", "Live now.", f"max({BROKER.now('leases_held')})"),
            number(
                "Waiting in line",
                "Requests for leases.",
                f"sum({BROKER.now('lease_waiters')})",
                steps=[(None, GREEN), (10, YELLOW), (50, RED)],
            ),
            number(
                "Requests a second",
                "Answered by all brokers.",
                f"sum(rate({BROKER.now('request_seconds_count')}[$__rate_interval]))",
            ),
            number(
                "Redis", "1 when it answered last.", f"min({BROKER.now('redis_up')})", steps=[(None, RED), (1, GREEN)]
            ),
            number(
                "Memory of Redis",
                "Share of what it may use.",
                'max(instance:ptz_redis_memory:ratio{instance=~"$instance"})',
                "percentunit",
                steps=[(None, GREEN), (0.75, YELLOW), (0.9, RED)],
            ),
            number(
                "Furthest behind",
                "Of all consumers of streams.",
                "max(process:ptz_stream_lag_seconds)",
                "s",
                steps=[(None, GREEN), (10, YELLOW), (120, RED)],
            ),
        ],
        "Leases": [
            listing(
                "Who holds what",
                "Live leases and their fencing tokens, the first 64.",
                f"max by (resource, holder) ({BROKER.now('lease_fencing_token')})",
                width=12,
            ),
            curves(
                "What became of leases",
                "A second. Lost ones ran out before they were given back.",
                {
                    "granted": BROKER.rate("lease_grants"),
                    "denied": BROKER.rate("lease_denials"),
                    "renewed": BROKER.rate("lease_renewals"),
                    "released": BROKER.rate("lease_releases"),
                    "lost": BROKER.rate("lease_losses"),
                    "taken away by an admin": BROKER.rate("lease_forced"),
                },
                width=12,
            ),
            curves(
                "Changes of hands",
                "Fencing tokens granted an hour, by resource.",
                {"{{resource}}": f"sum by (resource) (changes({BROKER.now('lease_fencing_token')}[1h]))"},
            ),
            curves(
                "Held and waited for",
                "Leases held now, and requests that stand in line.",
                {"held": f"max({BROKER.now('leases_held')})", "waiting": f"sum({BROKER.now('lease_waiters')})"},
            ),
            curves(
                "Time in line",
                "How long requests stood in line for a lease, granted or not.",
                BROKER.quantiles("lease_wait_seconds"),
                "s",
            ),
        ],
        "Requests": [
            curves("Requests by status", "A second.", {"{{status}}": answers()}),
            curves("Requests by route", "A second.", {"{{method}} {{route}}": answers(by="method, route")}),
            curves(
                "Latency",
                "95 % of requests are answered within, by route.",
                {"{{method}} {{route}}": BROKER.quantile(0.95, "request_seconds", "method, route")},
                "s",
            ),
            curves(
                "Refused at the gate",
                "No valid token or certificate (401), a role that is too low or another's lease (403), too "
                "many requests (429), too slow (408), too large (413, 414, 431). A second.",
                {"{{status}}": answers(REFUSED)},
            ),
            curves("Commits", "A second, by what came of them.", {"{{outcome}}": BROKER.rate("commits", "outcome")}),
            states(
                "Standing by",
                "1 while another host's brokers are the active ones.",
                {"{{instance}}": BROKER.now("standby")},
                {0: ("active", GREEN), 1: ("standing by", YELLOW)},
            ),
        ],
        "Redis": [
            curves(
                "Memory",
                "Used, and the most that it may use.",
                {"used": BROKER.now("redis_memory_bytes"), "limit": BROKER.now("redis_memory_limit_bytes")},
                "bytes",
            ),
            curves("Connections", "To Redis.", {"connections": BROKER.now("redis_clients")}),
            curves(
                "Append-only file",
                "1 while it cannot be written or rewritten.",
                {"failing": BROKER.now("redis_append_failing")},
                bounds=(0, 1),
                steps=[(None, GREEN), (1, RED)],
            ),
        ],
        "Streams": [
            curves(
                "Behind",
                "From the newest entry that a consumer was given to the newest of its stream.",
                {"{{process}}: {{stream}}": "process:ptz_stream_lag_seconds"},
                "s",
                steps=[(None, GREEN), (120, RED)],
            ),
            curves(
                "Unread",
                "Entries that a consumer was not given yet.",
                {"{{process}}: {{stream}}": "process:ptz_stream_unread_entries"},
            ),
            curves(
                "Unfinished",
                "Entries that a consumer was given and that are not done.",
                {
                    "{{stream}} (trainer)": TRAINER.now("stream_unfinished_entries"),
                    "{{stream}} (dreamer)": DREAMER.now("stream_unfinished_entries"),
                    "{{stream}} (learner)": LEARNER.now("stream_unfinished_entries"),
                },
            ),
            curves(
                "Dead letters",
                "Entries put on dead-letter streams within an hour.",
                {"{{process}}: {{stream}}": "increase(process:ptz_dead_letters_total[1h])"},
            ),
            curves(
                "Entries",
                "Of the streams, as their consumers see them.",
                {
                    "{{stream}} (trainer)": TRAINER.now("stream_entries"),
                    "{{stream}} (dreamer)": DREAMER.now("stream_entries"),
                    "{{stream}} (learner)": LEARNER.now("stream_entries"),
                },
            ),
        ],
    },
)
