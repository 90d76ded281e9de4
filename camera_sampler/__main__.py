"""``python -m camera_sampler``."""

from __future__ import annotations

import sys

from shared.errors import EXIT_USER, UserError
from shared.memory import hold_little_memory
from shared.service import serve
from shared.threads import limit_threads


def main() -> int:
    """Run the sampler; return the exit code."""
    # The settings name the number of threads, and numpy must not be imported before it is set.
    from camera_sampler.settings import SamplerSettings

    try:
        settings = SamplerSettings.from_environment()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    limit_threads(settings.threads)
    hold_little_memory()
    from camera_sampler.service import CameraSampler

    return serve(CameraSampler, lambda: settings)


if __name__ == "__main__":
    sys.exit(main())
