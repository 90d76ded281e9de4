"""``python -m dreamer_agent dream`` and ``python -m dreamer_agent agent [--role both|learner|pilot]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dreamer_agent.settings import AgentSettings, DreamSettings
from shared.errors import EXIT_USER, UserError
from shared.service import serve
from shared.threads import limit_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the services until it is told to stop; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m dreamer_agent", description=__doc__)
    services = parser.add_subparsers(dest="service", required=True)
    services.add_parser("dream", help="the dream generator")
    agent = services.add_parser("agent", help="the RL agent: a learner and a pilot")
    agent.add_argument("--role", choices=("both", "learner", "pilot"), default="both", help="default: both")
    options = parser.parse_args(arguments)
    try:
        if options.service == "dream":
            return _dream()
        return _agent(options.role)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER


# Each imports its service only now: torch reads the thread count once, when it is imported, and the parent of learner
# and pilot does without torch altogether.


def _dream() -> int:
    settings = DreamSettings.from_environment()
    limit_threads(settings.threads)
    from dreamer_agent.dream_service import DreamGenerator

    return serve(DreamGenerator, lambda: settings)


def _agent(role: str) -> int:
    settings = AgentSettings.from_environment()
    limit_threads(settings.threads)
    if role == "learner":
        from dreamer_agent.agent_service import Learner

        return serve(Learner, lambda: settings)
    if role == "pilot":
        from dreamer_agent.pilot import Pilot

        return serve(Pilot, lambda: settings)
    from dreamer_agent.container import AgentContainer

    return serve(AgentContainer, lambda: settings)


if __name__ == "__main__":
    sys.exit(main())
