"""A small service whose end the environment chooses: ``python -m tests.shared.sample_service``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import ClassVar

from shared.errors import UserError
from shared.service import Service, serve
from shared.settings import ServiceSettings


class Sample(Service[ServiceSettings]):
    name: ClassVar[str] = "sample"

    async def run(self) -> None:
        word = "hunter2"  # a local variable that no log may show
        self.metrics.counter("turns", "Turns made").inc()
        match os.environ.get("SAMPLE"):
            case "user-error":
                raise UserError("the panorama\nis a text file")
            case "user-error-in-a-group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.fail())
            case "crash":
                raise RuntimeError(f"of length {len(word)}")
            case "stubborn":
                self.set_ready("camera", "looking for it")
                await asyncio.sleep(60)
            case "finishes":
                return
            case _:
                await self.stopping.wait()

    async def fail(self) -> None:
        raise UserError("no such camera")


if __name__ == "__main__":
    sys.exit(serve(Sample, ServiceSettings.from_environment))
