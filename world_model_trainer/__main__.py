"""``python -m world_model_trainer``, or ``torchrun --nproc-per-node=N -m world_model_trainer``."""

import sys

from shared.errors import EXIT_OK, EXIT_USER, UserError
from shared.threads import limit_threads
from world_model_trainer.launching import launched
from world_model_trainer.settings import TrainerSettings


def main() -> int:
    """Run the service until it is told to stop; as a rank of torchrun's above 0, follow the one that does."""
    place = launched()
    try:
        settings = TrainerSettings.from_environment(**(place.settings if place else {}))
        limit_threads(settings.threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    # torch reads the thread count once, when it is imported.
    if place is not None and place.rank > 0:
        from world_model_trainer.following import follow_leader

        follow_leader(None, place.rank, place.size, device=settings.device, threads=settings.threads)
        return EXIT_OK
    from shared.service import serve
    from world_model_trainer.service import WorldModelTrainer

    return serve(WorldModelTrainer, lambda: settings)


if __name__ == "__main__":
    sys.exit(main())
