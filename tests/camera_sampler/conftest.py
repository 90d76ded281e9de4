from __future__ import annotations

import pytest

from camera_sampler.settings import SamplerSettings
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.camera_sampler.sampling import Agent, fast


@pytest.fixture
def sampler_settings(settings: ServiceSettings) -> SamplerSettings:
    return fast(settings.redis_url)


@pytest.fixture
def agent(clients: RedisClients) -> Agent:
    return Agent(clients)
