from __future__ import annotations

import itertools

import pytest

from ptzjepa.timeline import Recent, Thinned, Timeline, directions
from shared.actions import DEFAULT_ACTIONS, Action
from tests.ptzjepa.synthetic import AGENT, WORLD_MODEL, SyntheticRun, at, version


def test_thinned_series_spans_everything_evenly_within_its_limit() -> None:
    series: Thinned[int] = Thinned(limit=10)
    for number in range(1000):
        series.append(number)
        assert len(series) <= 10
    kept = list(series)
    assert kept[0] == 0
    gaps = {after - before for before, after in itertools.pairwise(kept)}
    assert len(gaps) == 1, "evenly spread"
    assert 1000 - kept[-1] <= 2 * gaps.pop(), "up to the end"


def test_recent_forgets_the_oldest() -> None:
    recent: Recent[int, str] = Recent(3)
    for number in range(5):
        recent[number] = str(number)
    assert list(recent) == [2, 3, 4]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("noop")], ["stay"]),
        (DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("short_left_up")], ["left", "up"]),
        (Action(name="random", pan=10.0, tilt=-2.0, zoom=-0.2), ["right", "down", "zoom out"]),
        (Action(name="random", zoom=0.1), ["zoom in"]),
    ],
)
def test_directions_of_a_move(action: Action, expected: list[str]) -> None:
    assert directions(action) == expected


def test_counts_are_exact_and_add_up() -> None:
    timeline = SyntheticRun(2.0).timeline
    assert timeline.views == len(timeline.looks) == 960
    assert timeline.steered_views == timeline.policies["agent"] == timeline.learned_steering
    assert sum(timeline.policies.values()) == timeline.views
    assert sum(sum(counter.values()) for counter in timeline.actions.values()) == timeline.views - 1
    assert timeline.dreams == timeline.dreamt[-1].total == 64 * len(timeline.dreamt)


def test_one_step_error_is_the_mean_over_the_second_half() -> None:
    timeline = SyntheticRun(1.0).timeline
    half = list(timeline.measured)[len(timeline.measured) // 2 :]
    errors = timeline.errors()
    assert errors is not None
    assert errors[0] == pytest.approx(sum(item.error for item in half) / len(half))
    assert errors[1] == pytest.approx(sum(item.copy_last_error for item in half) / len(half))


def test_versions_of_earlier_runs_do_not_count() -> None:
    timeline = Timeline(WORLD_MODEL, AGENT, started=at(0).timestamp())
    timeline.add_versions(AGENT, [version(AGENT, 8, 10.0), version(AGENT, 7, -3600.0)])
    assert [item.version for item in timeline.checkpoints(AGENT)] == [8]
    assert timeline.committed[AGENT] == 1


def test_versions_that_the_registry_forgets_stay() -> None:
    timeline = Timeline(WORLD_MODEL, AGENT, started=at(0).timestamp())
    timeline.add_versions(AGENT, [version(AGENT, 2, 20.0), version(AGENT, 1, 10.0)])
    timeline.add_versions(AGENT, [version(AGENT, 3, 30.0), version(AGENT, 2, 20.0)])
    assert timeline.committed[AGENT] == 3
    assert [item.version for item in timeline.checkpoints(AGENT)] == [1, 2, 3]
    assert timeline.newest_version(AGENT) == 3
    assert timeline.newest_version(WORLD_MODEL) == 0
    assert timeline.seconds_of(timeline.checkpoints(AGENT)[1]) == 20.0
