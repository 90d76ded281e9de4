"""The networks: the only part of ``shared`` that imports torch.

A world model encodes a view into an embedding and predicts the next embedding from the embedding, the pose, the action
and the next pose. Its judge says how much it expects to be surprised.
"""

from shared.world_model.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors
from shared.world_model.config import WorldModelConfig
from shared.world_model.device import autocast, pick_device
from shared.world_model.encoder import Encoding
from shared.world_model.features import action_features, pose_features
from shared.world_model.images import decode_images
from shared.world_model.model import Prediction, WorldModel

__all__ = [
    "Encoding",
    "Prediction",
    "WorldModel",
    "WorldModelConfig",
    "action_features",
    "autocast",
    "decode_images",
    "load_checkpoint",
    "load_tensors",
    "pick_device",
    "pose_features",
    "save_checkpoint",
    "save_tensors",
]
