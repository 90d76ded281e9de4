from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer_agent.starts import Start, StartPool
from shared.pose import Pose, PoseLimits


def start(name: str, pan: float = 5.0, tilt: float = 5.0, zoom: float = 1.0) -> Start:
    return Start(name, b"", Pose(pan=pan, tilt=tilt, zoom=zoom), PoseLimits())


def pool_of(count: int, capacity: int = 512) -> StartPool:
    """Views that all are of one place."""
    pool = StartPool(capacity)
    for index in range(count):
        pool.add(start(f"v{index}"))
    return pool


def names(pool: StartPool) -> set[str]:
    return {each.view for each in pool.draw(5_000, random.Random(0))}


def test_recent_views_are_drawn_more_often() -> None:
    weights = pool_of(200).weights()
    assert sum(weights) == pytest.approx(1.0)
    assert weights == sorted(weights)
    assert weights[-2] > 3.0 * weights[0]


def test_surprising_views_are_drawn_more_often_in_proportion() -> None:
    pool = pool_of(100)
    for index in range(100):
        pool.surprised(f"v{index}", 9.0 if index == 5 else 1.0)
    drawn = Counter(each.view for each in pool.draw(20_000, random.Random(0)))
    assert drawn["v5"] > 3 * drawn["v6"]
    assert set(drawn) == {f"v{index}" for index in range(100)}
    without = pool_of(100).weights()
    # Without surprise recency has a half; with it, a third, and so has surprise.
    assert pool.weights()[5] == pytest.approx((2.0 * without[5] + 9.0 / 108.0) / 3.0)


def test_any_place_is_as_likely_as_the_one_where_the_camera_stays() -> None:
    pool = StartPool(64)
    for index in range(10):
        pool.add(start(f"place{index}", pan=20.0 * index))
    for index in range(1000):
        pool.add(start(f"here{index}", pan=-100.0))
    weights = dict(zip((each.view for each in pool.starts()), pool.weights(), strict=True))
    assert len(pool) == 64
    for index in range(10):
        assert weights[f"place{index}"] == pytest.approx(0.5 / 11, rel=0.2)
    assert {f"here{index}" for index in range(950, 1000)} <= set(weights)


@pytest.mark.parametrize("other", [{"pan": 15.0}, {"tilt": 15.0}, {"zoom": 2.5}])
def test_a_place_is_a_direction_at_a_zoom(other: dict[str, float]) -> None:
    pool = StartPool(4)
    pool.add(start("first", **other))
    for index in range(20):
        pool.add(start(f"v{index}", pan=5.0 + 0.1 * index))
    assert names(pool) == {"first", "v17", "v18", "v19"}


@given(
    capacity=st.integers(2, 12),
    places=st.lists(st.integers(0, 15), min_size=1, max_size=60),
    forgotten=st.sets(st.integers(0, 59), max_size=5),
)
def test_the_pool_keeps_the_newest_half_and_then_the_newest_of_each_place(
    capacity: int, places: list[int], forgotten: set[int]
) -> None:
    pool = StartPool(capacity)
    for index, place in enumerate(places):
        pool.add(start(str(index), pan=10.0 * place + 1.0))
        if index in forgotten:
            pool.forget(str(index))
    kept = [int(each.view) for each in pool.starts()]
    added = [index for index in range(len(places)) if index not in forgotten]
    assert kept == sorted(kept)
    assert len(kept) <= capacity
    assert sum(pool.weights()) == pytest.approx(1.0 if kept else 0.0)
    if not forgotten:
        assert len(kept) == min(capacity, len(places))
        assert set(added[-(capacity // 2) :]) <= set(kept)
        if len(set(places)) <= capacity // 2:
            assert {places[index] for index in kept} == set(places)


def test_news_of_a_surprise_may_come_before_the_view_and_for_views_long_gone() -> None:
    pool = StartPool(4)
    for index in range(50):
        pool.surprised(f"gone{index}", 1.0)
    pool.surprised("v1", 8.0)
    for index in range(4):
        pool.add(start(f"v{index}"))
    weights = pool.weights()
    # All others count as average ones, and the only one that was judged is the average.
    assert weights == sorted(weights)
    pool.surprised("v2", 1.0)
    assert pool.weights()[1] > pool.weights()[2]
    assert len(pool._errors) <= 8


def test_the_pool_is_bounded_and_counts_a_view_once() -> None:
    pool = pool_of(30, capacity=16)
    assert len(pool) == 16
    pool.add(start("v29"))
    assert len(pool) == 16
    pool.forget("v29")
    pool.forget("unknown")
    assert len(pool) == 15
    assert StartPool(4).draw(3, random.Random(0)) == []


def test_without_any_surprise_recency_alone_counts() -> None:
    pool = pool_of(3)
    for index in range(3):
        pool.surprised(f"v{index}", 0.0)
    assert sum(pool.weights()) == pytest.approx(1.0)
