"""A world model in training."""

from __future__ import annotations

from observability.dashboards.panels import GREEN, RED, YELLOW, Dashboard, curves, listing, number
from observability.dashboards.queries import Queries

TRAINER = Queries("world_model_trainer", 'instance=~"$instance"')
DREAMER = Queries("dream_generator")

WORLD_MODEL = Dashboard(
    uid="ptzjepa-world-model",
    title="PTZJEPA: World model",
    description="What the world model learns, beside its floors, and what it learns from.",
    instances="ptz_world_model_trainer_ready",
    rows={
        "Now": [
            number("Version", "Of the head.", f"max({TRAINER.now('world_model_version')})"),
            number(
                "Age of the checkpoint",
                "Since the head moved last.",
                f"max({TRAINER.age('last_commit')})",
                "s",
                steps=[(None, GREEN), (600, YELLOW), (3600, RED)],
            ),
            number(
                "Error against copy-last",
                "On fresh views of the last hour; below 1 the model knows something.",
                'max(instance:ptz_error:ratio_avg1h{instance=~"$instance"})',
                steps=[(None, GREEN), (0.95, YELLOW), (1, RED)],
            ),
            number(
                "Effective rank",
                "Dimensions that embeddings of held-out views use.",
                f"min({TRAINER.now('effective_rank')})",
                steps=[(None, RED), (6, YELLOW), (16, GREEN)],
            ),
            number("Steps a second", "Of the optimiser.", TRAINER.rate("steps")),
            number(
                "Plateau",
                "1 while training gets nowhere and goes slowly.",
                f"max({TRAINER.now('plateau')})",
                steps=[(None, GREEN), (1, YELLOW)],
            ),
        ],
        "Learning": [
            curves("Loss terms", "Weighted and smoothed.", {"{{term}}": TRAINER.now("loss")}),
            curves(
                "One-step error on fresh views",
                "Surprise: measured before the views are learnt from, beside the error of predicting no change.",
                {"world model": TRAINER.now("one_step_error"), "copy last": TRAINER.now("copy_last_error")},
            ),
            curves(
                "Held-out error ÷ copy-last",
                "Views set aside and never trained on; below 1 is better than predicting no "
                "change. The older half rising above the newer one is forgetting.",
                {
                    "{{age}}": TRAINER.now("held_out_ratio"),
                    "all": f"{TRAINER.now('held_out_error')} / {TRAINER.now('held_out_copy_last_error')}",
                },
                steps=[(None, GREEN), (1, RED)],
            ),
            curves(
                "Effective rank over time",
                "Of embeddings of held-out views, beside the dimensions that they have. Near 1 they have collapsed.",
                {"effective rank": TRAINER.now("effective_rank"), "dimensions": TRAINER.now("embedding_dimensions")},
            ),
            curves(
                "Work",
                "Optimiser steps, views measured and views that could not be used, a second.",
                {
                    "steps": TRAINER.rate("steps"),
                    "views measured": TRAINER.rate("views_measured"),
                    "views rejected": TRAINER.rate("views_rejected"),
                },
            ),
            curves("Learning rate", "Of the last step.", {"{{instance}}": TRAINER.now("learning_rate")}),
        ],
        "Checkpoints": [
            curves(
                "Versions",
                "Of the head: as trained, and as dreamt from.",
                {"trained": TRAINER.now("world_model_version"), "dreamt from": DREAMER.now("world_model_version")},
            ),
            curves(
                "Commits and training states",
                "A minute.",
                {
                    "commits": f"60 * {TRAINER.rate('commits')}",
                    "training states": f"60 * {TRAINER.rate('training_states')}",
                },
            ),
            listing(
                "In training",
                "The world model, its networks and objective.",
                f"max by (instance, world_model, preset, objective, surprise) ({TRAINER.now('training_info')})",
            ),
        ],
        "What it learns from": [
            curves(
                "Replay",
                "Views on the trainer's disk, and those found damaged at its start.",
                {"{{use}}": TRAINER.now("replay_views"), "damaged": TRAINER.now("replay_damaged_total")},
            ),
            curves(
                "Bytes of the replay",
                "Of its file, beside what is free on its disk.",
                {"replay": TRAINER.now("replay_bytes"), "free: {{directory}}": TRAINER.now("disk_free_bytes")},
                "bytes",
            ),
            curves(
                "Stream of views",
                "Entries that the trainer was not given yet, and those that it was given and has not done.",
                {
                    "unread": TRAINER.now("stream_unread_entries"),
                    "unfinished": TRAINER.now("stream_unfinished_entries"),
                },
            ),
        ],
    },
)
