"""Stored views as a place: pictures with poses and times, as ``PTZ_CAMERA_KIND=stored`` reads them.

Held out by time: probes are fitted on the earlier part, which is also what the look-up knows, and everything is judged
on the later part. Walks are pictures in the order of time; their actions are what the poses differ by.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from camera_sampler.cameras.stored_index import StoredIndex, read_index
from camera_sampler.snapshots import MAX_BYTES, BadSnapshot, training_jpeg, verify
from ptzjepa.world_model.walking import change
from shared.errors import UserError
from shared.world_model import decode_images
from world_model_trainer.evaluation import Place, Views, Walks

MOST_VIEWS = 12_000
"""The newest ones; 147 MB at 64 pixels."""
LEAST_VIEWS = 200
EARLIER_SHARE = 0.6
MOST_WALKS = 256


def stored_place(path: Path, size: int, field_of_view: float, camera: str = "") -> Place:
    """Read a directory or an index of pictures. ``UserError`` where it cannot be read or holds too few sound ones."""
    try:
        index = read_index(path, camera=camera)
    except UserError as error:
        # The stored camera speaks of its settings; here they are options.
        said = str(error).replace("PTZ_STORED_IMAGES", "--views").replace("PTZ_STORED_CAMERA", "--camera")
        raise UserError(said) from error
    views, aspect = _read(index, path, size)
    earlier = round(EARLIER_SHARE * len(views))
    fit, later = _part(views, slice(0, earlier)), _part(views, slice(earlier, None))
    return Place(
        name=path.name,
        kind="stored",
        field_of_view=field_of_view,
        fit=fit,
        held_out=later,
        walks=_walks(later),
        earlier=[fit],
        aspect=aspect,
    )


def _read(index: StoredIndex, path: Path, size: int) -> tuple[Views, float]:
    newest = range(max(0, len(index) - MOST_VIEWS), len(index))
    images, kept, aspect = [], [], 1.0
    for at in newest:
        try:
            with index.path(at).open("rb") as file:
                picture = verify(file.read(MAX_BYTES + 1)).image
            images.append(decode_images([training_jpeg(picture, size)], size))
        except (OSError, ValueError, BadSnapshot):
            continue
        aspect = picture.width / picture.height
        kept.append(at)
    if len(kept) < LEAST_VIEWS:
        raise UserError(f"--views: {path} has {len(kept)} sound pictures of {len(newest)}; give at least {LEAST_VIEWS}")
    poses = np.stack([index.pan[kept], index.tilt[kept], index.zoom[kept]], axis=1).astype(np.float32)
    return Views(torch.cat(images), torch.from_numpy(poses), torch.from_numpy(index.microseconds[kept] / 1e6)), aspect


def _part(views: Views, which: slice) -> Views:
    return Views(views.images[which], views.poses[which], views.seconds[which])


def _walks(views: Views) -> Walks:
    """Cut views into walks of sixteen moves, or of four where there are few."""
    length = 17 if len(views) >= 16 * 17 else 5
    count = min(MOST_WALKS, len(views) // length)
    used = _part(views, slice(len(views) - count * length, None))
    images, poses, seconds = (
        each.reshape(count, length, *each.shape[1:]) for each in (used.images, used.poses, used.seconds)
    )
    return Walks(images, poses, torch.from_numpy(change(poses.numpy())), seconds)
