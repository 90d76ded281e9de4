from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ptzjepa.summary import checks, software_versions
from ptzjepa.timeline import Timeline
from shared.messages import Surprise
from shared.supervision import Child
from tests.ptzjepa.synthetic import AGENT, WORLD_MODEL, SyntheticRun, at


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return SyntheticRun(3.0)


def test_a_good_run_is_ok_and_its_summary_is_json(run: SyntheticRun) -> None:
    summary = run.summary()
    assert summary["ok"] is True
    assert json.loads(json.dumps(summary)) == summary
    assert summary["world_model"]["ratio"] < 1.0
    assert summary["world_model"]["one_step_error"] == summary["checks"]["one_step_error"]["value"]
    assert [point["version"] for point in summary["world_model"]["curve"]] == list(range(1, 9))
    assert summary["agent"]["steered_share"] == round(summary["agent"]["steered_views"] / summary["views"], 4)
    assert sum(summary["agent"]["preferred_actions"].values()) == summary["agent"]["steered_views"]
    assert summary["services"]["lock-broker"] == {"restarts": 1, "exit": 0}


def test_without_anything_every_check_of_work_fails() -> None:
    results = checks(Timeline(WORLD_MODEL, AGENT), {}, 3.0)
    assert [name for name, check in results.items() if not check.ok] == [
        "views",
        "checkpoints",
        "dreams",
        "steered",
        "one_step_error",
    ]
    assert results["views"].required == 300
    assert results["dreams"].required == 500
    assert results["checkpoints"].required == 2


def test_shorter_runs_need_less() -> None:
    results = checks(Timeline(WORLD_MODEL, AGENT), {}, 0.75)
    assert (results["views"].required, results["dreams"].required, results["checkpoints"].required) == (75, 125, 1)
    assert checks(Timeline(WORLD_MODEL, AGENT), {}, 60.0)["dreams"].required == 500


def _crashed(child: Child) -> None:
    child.exit_code = -9


def _gave_up(child: Child) -> None:
    child.exit_code, child.given_up = 2, True


@pytest.mark.parametrize(("harm", "failed"), [(_crashed, {"services_exit"}), (_gave_up, {"services_exit", "gave_up"})])
def test_a_service_that_ended_badly_fails_the_run(
    run: SyntheticRun, harm: Callable[[Child], None], failed: set[str]
) -> None:
    children = run.children()
    harm(children["world-model-trainer"])
    results = checks(run.timeline, children, 3.0)
    assert {name for name, check in results.items() if not check.ok} == failed
    assert "world-model-trainer" in str(results["services_exit"].value)


def test_an_error_above_copy_last_fails_the_run_once_there_was_time_to_learn() -> None:
    timeline = Timeline(WORLD_MODEL, AGENT, started=at(0).timestamp())
    for number in range(10):
        surprise = Surprise(
            camera="camera-0",
            view=f"view-{number}",
            world_model=WORLD_MODEL,
            world_model_version=1,
            error=0.2,
            copy_last_error=0.1,
            predicted=0.0,
        )
        timeline.add_surprise(surprise)
        timeline.add_surprise(surprise)
    assert timeline.measurements == 10, "a view measured twice counts once"
    assert not checks(timeline, {}, 3.0)["one_step_error"].ok
    assert checks(timeline, {}, 0.5)["one_step_error"].ok


def test_only_versions_of_the_learner_count_as_steering() -> None:
    run = SyntheticRun(0.5)
    assert run.timeline.learned_steering == 0
    assert not checks(run.timeline, {}, 0.5)["steered"].ok


def test_versions_name_what_took_part() -> None:
    found = software_versions("valkey 9")
    assert found["redis_server"] == "valkey 9"
    assert all(found[name] for name in ("python", "ptzjepa", "torch", "numpy"))
