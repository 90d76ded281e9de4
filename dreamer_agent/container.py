"""The rl-agent's container: a learner and a pilot as two supervised processes behind one port.

Two processes, so that a learner at work, stuck, or killed never keeps the pilot from steering.
"""

from __future__ import annotations

from typing import ClassVar

from dreamer_agent.settings import AgentSettings
from shared.several import Member, Several
from shared.supervision import python_command

ROLES = ("pilot", "learner")
"""In the order in which they stop: first nobody steers, then the learner commits what it has."""
STOP_SECONDS = 12.0


class AgentContainer(Several[AgentSettings]):
    """Ready when both children are; its /metrics are its own and both children's."""

    name: ClassVar[str] = "rl-agent"

    def __init__(self, settings: AgentSettings) -> None:
        members = [
            Member(role, python_command("dreamer_agent", "agent", "--role", role), STOP_SECONDS) for role in ROLES
        ]
        super().__init__(settings, members, stop_order=ROLES)
