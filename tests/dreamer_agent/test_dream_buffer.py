from __future__ import annotations

from dataclasses import replace

import torch

from dreamer_agent.agents import RandomAgent
from dreamer_agent.dream_buffer import DreamBuffer
from dreamer_agent.dreams import Dreams
from tests.dreamer_agent.worlds import origin, toy_dreams


def batch(mark: float, *, count: int = 8, **shape: int) -> Dreams:
    dreams = toy_dreams(RandomAgent(21), count=count, **shape)  # type: ignore[arg-type]
    dreams.rewards.fill_(mark)
    return dreams


def test_it_holds_so_many_batches_and_no_more() -> None:
    buffer = DreamBuffer(3, 2, seed=0)
    for mark in range(6):
        buffer.add(batch(mark), origin())
    assert len(buffer) == 3
    drawn = buffer.draw(1000)
    assert set(drawn.rewards[:, 0].tolist()) == {3.0, 4.0, 5.0}


def test_half_of_a_draw_is_fresh() -> None:
    buffer = DreamBuffer(8, 2, seed=0)
    for mark in range(4):
        buffer.add(batch(mark), origin())
    marks = buffer.draw(12).rewards[:, 0]
    assert len(marks) == 12
    assert int((marks == 3.0).sum()) == 6
    assert bool((buffer.newest().rewards == 3.0).all())


def test_dreams_of_old_world_models_go_when_news_of_a_new_one_comes() -> None:
    buffer = DreamBuffer(8, 2, seed=0)
    for version in (1, 2, 3):
        buffer.add(batch(version), origin(world_model_version=version))
    assert len(buffer) == 3
    buffer.hear_of(4)
    assert buffer.is_stale(1)
    assert not buffer.is_stale(2)
    assert len(buffer) == 2
    buffer.hear_of(2)
    assert buffer.newest_version == 4


def test_batches_of_another_shape_replace_the_old_ones() -> None:
    buffer = DreamBuffer(8, 2, seed=0)
    buffer.add(batch(1.0), origin())
    buffer.add(batch(2.0, length=4), origin())
    assert len(buffer) == 1
    assert torch.equal(buffer.draw(4).rewards, torch.full((4, 4), 2.0))


def test_dreams_from_one_start_are_drawn_together() -> None:
    buffer = DreamBuffer(8, 2, seed=0)
    for mark in range(3):
        buffer.add(batch(mark, count=6, per_start=4), origin())
    for _ in range(20):
        drawn = buffer.draw(16)
        _, sizes = torch.unique(drawn.starts, return_counts=True)
        assert sizes.tolist() == [4] * 4
        # The number of a start means the same view only within a batch: joined, they must not be taken for one.
        for number in drawn.starts.unique():
            assert len(drawn.poses[drawn.starts == number, 0].unique(dim=0)) == 1


def test_a_world_model_with_another_idea_of_surprise_begins_anew() -> None:
    buffer = DreamBuffer(8, 2, seed=0)
    buffer.add(batch(1.0), origin())
    buffer.add(replace(batch(2.0), surprise="progress"), origin())
    assert len(buffer) == 1
    buffer.forget()
    assert (len(buffer), buffer.newest_version) == (0, 0)
