"""A follower that leaves its weights behind: ``python -m tests.world_model_trainer.follower PORT FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist

from world_model_trainer.following import follow
from world_model_trainer.team import join

if __name__ == "__main__":
    torch.set_num_threads(1)
    port, file = sys.argv[1:]
    join(dist.TCPStore("127.0.0.1", int(port), 2, is_master=False), 1, 2)  # type: ignore[attr-defined]
    trainer = follow(torch.device("cpu"))
    assert trainer is not None
    Path(file).write_bytes(safetensors.torch.save(trainer.model.state_dict()))
    dist.destroy_process_group()
