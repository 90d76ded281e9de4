"""Tells rewards where the camera has really looked."""

from __future__ import annotations

from typing import Any

from dreamer_agent.reach import pose_tensor
from dreamer_agent.rewards import RewardMix
from shared.messages import StreamName, View
from shared.redis_client import RedisClients
from shared.service import Service
from shared.streams import Follower, look_back

REMEMBERED = 1024
"""Views that a start looks back on: their pictures come along."""


def note(rewards: RewardMix, view: View) -> None:
    """Tell the rewards of one view."""
    rewards.saw(pose_tensor([view.pose])[0], view.captured_at.timestamp())


async def watch(service: Service[Any], clients: RedisClients, rewards: RewardMix) -> None:
    """Tell the rewards of every view of the service's camera, beginning with the newest that the stream still holds."""
    stream = StreamName.views(service.settings.camera)
    received = await service.redis(lambda: look_back(clients.commands, stream, View, REMEMBERED))
    follower = Follower(clients, stream, View, start=received[-1].entry_id if received else "0-0")
    while not service.stopping.is_set():
        for item in received or []:
            note(rewards, item.message)
        received = await service.redis(lambda: follower.read(block_ms=500))
