"""Dreams, the policy that is learnt in them, and the pilot that steers by it."""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, YELLOW, Dashboard, curves, listing, number
from observability.dashboards.queries import Queries

DREAMER, LEARNER, PILOT = Queries("dream_generator"), Queries("rl_agent_learner"), Queries("rl_agent_pilot")
SHARE, OTHER = 'term=~"reward_.+_share"', 'term!~"reward_.+_share"'

DREAMS_AND_AGENT = Dashboard(
    uid="ptzjepa-dreams-and-agent",
    title="PTZJEPA: Dreams and agent",
    description="What is dreamt, what the agent learns from it, and how it steers.",
    rows={
        "Now": [
            number("Dreams a second", "Published for agents to learn from.", DREAMER.rate("dreams")),
            number(
                "Since the last dreams",
                "Grows where none are published.",
                f"max({DREAMER.age('last_batch')})",
                "s",
                steps=[(None, GREEN), (60, YELLOW), (900, RED)],
            ),
            number("Updates a second", "Of the policy.", LEARNER.rate("updates")),
            number("Policy", "Newest version that the learner committed.", f"max({LEARNER.now('policy_version')})"),
            number(
                "Age of the policy in use", "Since it was committed.", f"max({PILOT.now('policy_age_seconds')})", "s"
            ),
            number("Commands a second", "Published by the pilot.", PILOT.rate("commands")),
        ],
        "Dreams": [
            curves(
                "Dreams",
                "Dreams and dreamed moves published, a second.",
                {"dreams": DREAMER.rate("dreams"), "moves": DREAMER.rate("steps")},
            ),
            curves(
                "Predicted surprise",
                "Mean reward of the newest batch, and its standard deviation.",
                {"mean": DREAMER.now("reward_mean"), "deviation": DREAMER.now("reward_deviation")},
            ),
            curves(
                "Not dreamt",
                "Batches skipped, by reason, and views that could not be decoded, a second. The backlog is the "
                "learner's: dreaming waits for it.",
                {"{{reason}}": DREAMER.rate("skipped", "reason"), "view rejected": DREAMER.rate("rejected_views")},
            ),
            curves("Backlog", "Batches that the learner has not finished.", {"batches": DREAMER.now("backlog")}),
            curves("Seconds a batch", "To dream, pack and store it.", DREAMER.quantiles("batch_seconds"), "s"),
            curves("Views to start from", "That the dreamer remembers.", {"views": DREAMER.now("views")}),
            curves("Dream files", "Bytes written a second.", {"written": DREAMER.rate("bytes")}, "Bps"),
            curves(
                "Decoder's error",
                "Squared, of pictures in [0, 1]; only where PTZ_DREAM_PICTURES is set.",
                {"error": DREAMER.now("decoder_error")},
            ),
            listing(
                "Dreamt from",
                "The world model of the pool that is dreamt from now, and the agent that moves there.",
                f"max by (instance, world_model, agent) ({DREAMER.now('dreaming_info')})",
            ),
        ],
        "Learning": [
            curves(
                "Policy version",
                "As committed by the learner, as steered with, and as dreamt under.",
                {
                    "learner": LEARNER.now("policy_version"),
                    "pilot": PILOT.now("policy_version"),
                    "dreams": DREAMER.now("policy_version"),
                },
            ),
            curves(
                "Learning",
                "Updates, updates left out, dreams and batches learnt from, and batches ignored, by reason, a second.",
                {
                    "updates": LEARNER.rate("updates"),
                    "left out": LEARNER.rate("skipped_updates"),
                    "dreams": LEARNER.rate("dreams"),
                    "batches": LEARNER.rate("batches"),
                    "ignored: {{reason}}": LEARNER.rate("ignored_batches", "reason"),
                },
            ),
            curves(
                "Commits",
                "Attempts to commit a policy, by outcome, a second.",
                {"{{outcome}}": LEARNER.rate("commits", "outcome")},
            ),
            curves(
                "Reward shares",
                "How much of the reward each part makes up.",
                {"{{term}}": LEARNER.now("term", SHARE)},
                "percentunit",
                bounds=(0, 1),
            ),
            curves(
                "What an update reports",
                "Loss terms and what else the learner watches.",
                {"{{term}}": LEARNER.now("term", OTHER)},
            ),
            curves("Seconds an update", "Of the policy.", LEARNER.quantiles("update_seconds"), "s"),
            listing(
                "Who learns",
                "The agent, its algorithm, and the world model whose dreams it learns from.",
                f"max by (instance, agent, algorithm, world_model) ({LEARNER.now('learning_info')})",
                width=12,
            ),
            curves(
                "Turns and runs",
                "Times an hour that dreaming turned to another world model, and that an agent was taken up.",
                {"turns": f"3600 * {DREAMER.rate('turns')}", "runs": f"3600 * {LEARNER.rate('runs')}"},
                width=12,
            ),
        ],
        "Steering": [
            curves(
                "Commands",
                "By how the move was chosen; commands that were lost; views that could not be looked at. All a second.",
                {
                    "{{mode}}": PILOT.rate("commands", "mode"),
                    "lost": PILOT.rate("lost_commands"),
                    "unusable view": PILOT.rate("unusable_views"),
                },
            ),
            curves("Time to act", "From having a view to having chosen a move.", PILOT.quantiles("act_seconds"), "s"),
            listing(
                "Who steers",
                "The agent whose policy the pilot follows.",
                f"max by (instance, agent) ({PILOT.now('steering_info')})",
            ),
        ],
    },
)
