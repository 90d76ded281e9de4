"""The grader: walks whose marks are known beforehand, and arithmetic against independent versions of it."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_agent.agents.base import Mode
from dreamer_agent.examination.grader import Grader, Sitting, verdicts
from dreamer_agent.examination.measures import (
    NEVER,
    Walk,
    attraction_share,
    coverage,
    frames_ratio,
    frames_to,
    habituation_share,
    learnt_at,
    tv_share,
)
from dreamer_agent.examination.oracle import OracleAgent
from dreamer_agent.examination.statistics import bootstrap, spearman
from dreamer_agent.examination.zones import ZONES, Zone, ZoneLayout
from dreamer_agent.reach import limits_tensor, reach
from shared.pose import PoseLimits

FRAMES, ONSET = 3000, 1000
Poses = list[list[float]]


def at(layout: ZoneLayout, zone: Zone) -> list[float]:
    return [layout.middle(zone), 0.0]


def wander(seed: int, frames: int = FRAMES) -> Poses:
    generator = np.random.default_rng(seed)
    pans = generator.uniform(-180.0, 180.0, frames)
    return np.stack([pans, generator.uniform(-30.0, 30.0, frames)], 1).tolist()


def sitting(
    arm: str, seed: int, poses: Poses, *, explained: list[float] | None = None, fresh: list[float] | None = None
) -> Sitting:
    """What an arm left whose world model explained so much, every 500 frames, and which learns like ``fresh``."""
    looks = [
        {
            "frame": 500 * (number + 1),
            "zones": {name: {"error": 1.0 - share, "explained": share} for name in ("boring", "hard", "tv", "new")},
        }
        for number, share in enumerate(explained or [0.1] * 6)
    ]
    curve = [
        {
            "frames": 1000 * (number + 1),
            "zones": {name: {"error": error, "explained": 0.8} for name in ("boring", "hard", "new")},
        }
        for number, error in enumerate(fresh or [1.0, 0.5, 0.25])
    ]
    fidelity = {step: {"error": 0.5, "copy_last": 1.0, "mean": 2.0} for step in ("1", "5")}
    result: dict[str, Any] = {
        "poses": poses, "looks": looks, "fidelity": fidelity, "fresh": curve, "shuffled": None, "control": None,
    }  # fmt: skip
    return Sitting(arm, seed, result)


# Zones


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_all_zones_have_one_solid_angle_and_no_two_touch(seed: int) -> None:
    layout = ZoneLayout.drawn(seed)
    angles = [layout.solid_angle(zone) for zone in ZONES]
    assert angles == pytest.approx([angles[0]] * 4)
    around = list(layout.sectors)
    assert all(Zone.AROUND in pair for pair in itertools.pairwise([*around, around[0]]))
    # Counted over the sphere, not computed: points even by area between the limits of tilt.
    pans = (np.arange(20_000) + 0.5) * 360.0 / 20_000 - 180.0
    zones = layout.zone_at(pans)
    for zone in ZONES:
        assert (zones == zone).mean() == pytest.approx(layout.part([zone]), abs=1e-3)
    band = 2.0 * math.pi * (math.sin(math.radians(30.0)) - math.sin(math.radians(-30.0)))
    assert angles[0] == pytest.approx(band / 8)


@given(st.integers(0, 1000), st.floats(-720.0, 720.0))
@settings(max_examples=30, deadline=None)
def test_a_full_turn_leads_back_into_the_same_zone(seed: int, pan: float) -> None:
    layout = ZoneLayout.drawn(seed)
    inside = (pan - layout.start) % layout.width
    if 1e-6 < inside < layout.width - 1e-6:
        assert layout.zone_at(pan) == layout.zone_at(pan + 360.0)
    for zone in ZONES:
        assert layout.zone_at(layout.middle(zone)) == zone


# Measures on walks made by hand


def test_shares_are_counted_where_they_are_due() -> None:
    layout = ZoneLayout.drawn(3)
    hard, new, tv, boring = (at(layout, zone) for zone in (Zone.HARD, Zone.NEW, Zone.TV, Zone.BORING))
    # The 1,000 frames before the onset count for nothing; then 600 in HARD, 300 in NEW, 600 elsewhere, 500 in the TV.
    walk = Walk.of([hard] * 1000 + [hard] * 600 + [new] * 300 + [boring] * 600 + [tv] * 500, layout)
    assert attraction_share(walk, ONSET) == pytest.approx(900 / 1500)
    assert tv_share(walk) == pytest.approx(500 / 1000)


def test_what_shuffling_costs_is_counted_over_all_moments() -> None:
    left = sitting("random", 0, wander(0))
    tried = [{"seeing": 0.5, "shuffled": 0.2}, {"seeing": 0.3, "shuffled": 0.4}]
    for shuffled, cost in ((tried, 0.25), ([{"seeing": 0.0, "shuffled": 0.0}], None), (None, None)):
        grader = Grader([Sitting("random", 0, {**left.result, "shuffled": shuffled})], onset=ONSET, half_width=15.0)
        mark = grader.marks()["random"]["shuffled_cost"]
        assert (mark and mark["mean"]) == (cost and pytest.approx(cost))


def test_habituation_is_asked_only_once_all_is_learnt() -> None:
    layout = ZoneLayout.drawn(3)
    hard, boring = at(layout, Zone.HARD), at(layout, Zone.BORING)
    walk = Walk.of([hard] * 2000 + [boring] * 250 + [hard] * 750, layout)
    rising = [(500, 0.9, 0.9), (1000, 0.3, 0.0), (1500, 0.9, 0.4), (2000, 0.9, 0.8)]
    assert learnt_at(ONSET, rising) == 2000, "what was learnt before the onset does not count"
    assert habituation_share(walk, ONSET, rising) == pytest.approx(0.0), "it left for 250 frames"
    assert habituation_share(Walk.of([hard] * 3000, layout), ONSET, rising) == pytest.approx(1.0), "it never left"
    assert habituation_share(walk, ONSET, rising[:3]) is None, "NEW was never learnt"
    assert habituation_share(walk, ONSET, [*rising[:3], (2900, 0.9, 0.9)]) is None, "too late to tell"


def test_coverage_of_one_view_and_of_all() -> None:
    layout = ZoneLayout.drawn(0)
    half = 15.0
    still = coverage(Walk.of([[0.0, 0.0]] * 2000, layout), layout, half)
    # The view's solid angle over the band's, both known in closed form.
    view = 4.0 * math.asin(math.sin(math.radians(half)) ** 2)
    assert still == pytest.approx(view / (2.0 * math.pi), rel=0.08)
    everywhere = [[pan, tilt] for pan in range(-180, 180, 20) for tilt in (-30.0, -10.0, 10.0, 30.0)]
    assert coverage(Walk.of(everywhere * 14, layout), layout, half) == pytest.approx(1.0)
    # What was seen earlier than in the last 1,000 frames does not count.
    assert coverage(Walk.of(everywhere * 14 + [[0.0, 0.0]] * 1000, layout), layout, half) == pytest.approx(still)


def test_frames_to_an_error_are_read_between_the_points() -> None:
    curve = [(1000, 1.0), (2000, 0.25), (4000, 0.25)]
    assert frames_to(curve, 1.0) == 1000.0
    assert frames_to(curve, 0.5) == pytest.approx(1000.0 * math.sqrt(2.0)), "half way, logarithm against logarithm"
    assert frames_to(curve, 0.25) == pytest.approx(2000.0)
    assert frames_to(curve, 0.1) is None
    assert frames_ratio(curve, curve) == pytest.approx(1.0)
    assert frames_ratio(curve, [(1000, 4.0), (2000, 2.0), (4000, 1.0)]) == pytest.approx(0.25)
    assert frames_ratio([(1000, 1.0), (4000, 0.9)], curve) == NEVER


# Statistics against independent versions


def test_bounds_match_an_independent_bootstrap() -> None:
    values = [2.1, 3.4, 2.8, 4.0, 2.2]
    draws = random.Random(1)
    means = [statistics.fmean(draws.choices(values, k=5)) for _ in range(20_000)]
    cuts = statistics.quantiles(means, n=20)
    found = bootstrap(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((cuts[0], cuts[-1]), abs=0.04)
    assert bootstrap([]) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_bounds_enclose_the_mean_and_stay_within_the_values(values: list[float]) -> None:
    found = bootstrap(values)
    assert found is not None
    slack = 1e-6 * (1.0 + max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found.mean == pytest.approx(statistics.fmean(values), abs=slack)


def ranks(values: list[int]) -> list[float]:
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
@settings(max_examples=30, deadline=None)
def test_spearman_is_the_correlation_of_ranks(pairs: list[tuple[int, int]]) -> None:
    first, second = [list(each) for each in zip(*pairs, strict=True)]
    found = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == 0.0
    else:
        assert found == pytest.approx(statistics.correlation(ranks(first), ranks(second)))


# The grader finds out what was planted


def test_an_oracle_gets_the_best_and_a_watcher_of_the_tv_is_caught() -> None:
    sittings = []
    for seed in range(5):
        layout = ZoneLayout.drawn(seed)
        hard, new, tv = (at(layout, zone) for zone in (Zone.HARD, Zone.NEW, Zone.TV))
        learns = [0.1, 0.3, 0.5, 0.9, 0.9, 0.9]
        knowing = [hard] * 1500 + [new] * 500 + wander(seed + 50, 1000)
        sittings += [
            sitting("random", seed, wander(seed)),
            sitting("oracle", seed, knowing, explained=learns, fresh=[0.25, 0.1, 0.05]),
            sitting("watcher", seed, wander(seed + 100, 1000) + [tv] * 2000),
            sitting("addict", seed, [hard] * 3000, explained=learns),
        ]
    marks = Grader(sittings, onset=ONSET, half_width=15.0).marks()
    assert marks["random"]["attraction"]["mean"] == pytest.approx(1.0, abs=0.05), "a quarter, but for its luck"
    assert marks["random"]["tv"]["mean"] == pytest.approx(1.0, abs=0.1), "an eighth"
    attraction = {arm: found["attraction"]["low"] for arm, found in marks.items()}
    assert attraction["oracle"] > 2.5
    assert attraction["watcher"] < 1.0
    met = {arm: verdicts(found) for arm, found in marks.items()}
    assert met["oracle"]["attraction"]
    assert met["oracle"]["tv"]
    assert met["oracle"]["habituation"]
    assert met["oracle"]["frames_ratio"]
    assert not met["watcher"]["tv"]
    assert marks["watcher"]["tv"]["low"] > 6.0
    assert not met["addict"]["habituation"], "it never stops looking at what is learnt"
    assert not met["addict"]["coverage"]
    assert met["random"]["coverage"]
    assert not met["random"]["frames_ratio"]
    assert marks["random"]["habituation"] is None, "nothing was learnt"
    assert met["random"]["calibration"] is None
    assert marks["oracle"]["frames_ratio_sweep"] is None, "nobody swept"


def test_marks_do_not_depend_on_the_order_of_the_sittings() -> None:
    both = [sitting(arm, seed, wander(seed + 9 * (arm == "a"), 1200)) for seed in range(4) for arm in ("random", "a")]
    straight = Grader(both, onset=200, half_width=15.0).marks()["a"]
    again = Grader([both[place] for place in (5, 0, 3, 6, 1, 7, 2, 4)], onset=200, half_width=15.0).marks()["a"]
    for name in ("attraction", "tv", "coverage", "frames_ratio"):
        assert again[name]["mean"] == pytest.approx(straight[name]["mean"])


@pytest.mark.parametrize("frame", [0, 5000])
def test_the_oracle_finds_the_zones_from_anywhere_and_stays(frame: int) -> None:
    limits = PoseLimits(tilt_min=-30.0, tilt_max=30.0, zoom_max=2.0)
    deltas = torch.tensor([(0.0, 0.0, 0.0), (-20.0, 0.0, 0.0), (-5.0, 0.0, 0.0), (5.0, 0.0, 0.0), (20.0, 0.0, 0.0)])
    generator = torch.Generator().manual_seed(0)
    for seed in range(6):
        layout = ZoneLayout.drawn(seed)
        agent = OracleAgent(layout, 1000, deltas, limits_tensor([limits]))
        pose = torch.tensor([[60.0 * seed - 170.0, 0.0, 2.0]])
        agent.frame = frame
        zones = []
        for _ in range(40):
            chosen, _ = agent.act(torch.zeros(1, 4), pose, Mode.SAMPLE, generator=generator)
            pose = reach(pose, deltas[chosen], limits_tensor([limits]))
            zones.append(int(layout.zone_at(float(pose[0, 0]))))
        # The time stands still here, so the goal does.
        goal = Zone.HARD if frame < 1000 or frame // 64 % 2 == 0 else Zone.NEW
        assert zones[-20:] == [goal] * 20
