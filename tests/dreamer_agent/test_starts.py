from __future__ import annotations

import random
from collections import Counter

import pytest

from dreamer_agent.starts import Start, StartPool
from shared.pose import PoseLimits
from tests.dreamer_agent.worlds import ORIGIN


def start(name: str) -> Start:
    return Start(name, b"", ORIGIN, PoseLimits())


def pool_of(count: int, capacity: int = 512) -> StartPool:
    pool = StartPool(capacity)
    for index in range(count):
        pool.add(start(f"v{index}"))
    return pool


def test_recent_views_are_drawn_more_often() -> None:
    weights = pool_of(200).weights()
    assert sum(weights) == pytest.approx(1.0)
    assert weights == sorted(weights)
    assert weights[-1] > 3.0 * weights[0]


def test_surprising_views_are_drawn_more_often_in_proportion() -> None:
    pool = pool_of(100)
    for index in range(100):
        pool.surprised(f"v{index}", 9.0 if index == 5 else 1.0)
    drawn = Counter(each.view for each in pool.draw(20_000, random.Random(0)))
    assert drawn["v5"] > 3 * drawn["v6"]
    assert set(drawn) == {f"v{index}" for index in range(100)}
    recency = StartPool.weights(pool_of(100))
    assert pool.weights()[5] == pytest.approx(0.5 * recency[5] + 0.5 * 9.0 / 108.0)


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
