"""``python -m world_model_trainer``."""

import sys

from shared.errors import EXIT_USER, UserError
from shared.threads import limit_threads
from world_model_trainer.settings import TrainerSettings


def main() -> int:
    """Run the service until it is told to stop."""
    try:
        limit_threads(TrainerSettings.from_environment().threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    # torch reads the thread count once, when it is imported.
    from shared.service import serve
    from world_model_trainer.service import WorldModelTrainer

    return serve(WorldModelTrainer, TrainerSettings.from_environment)


if __name__ == "__main__":
    sys.exit(main())
