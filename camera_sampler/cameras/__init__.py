"""One file a brand behind one protocol; ``open_camera`` picks by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camera_sampler.access import Access, Settled
from camera_sampler.cameras.base import ERROR_KINDS, Camera, CameraError, Snapshot
from camera_sampler.settings import SamplerSettings
from shared.errors import UserError

if TYPE_CHECKING:
    from camera_sampler.cameras.onvif import OnvifCamera

__all__ = ["ERROR_KINDS", "Camera", "CameraError", "Snapshot", "open_camera", "open_onvif"]


def open_camera(settings: SamplerSettings) -> Camera:
    """Return the camera that the settings name. ``UserError`` where they can't be met. Blocking, for seconds."""
    camera = _of_its_kind(settings)
    if not settings.snapshot_url:
        return camera
    from camera_sampler.cameras.rtsp import StreamSnapshots

    return StreamSnapshots(camera, settings.stream_access)


def _of_its_kind(settings: SamplerSettings) -> Camera:
    # A brand is another branch here and another value of ``camera_kind``. Each imports what it needs and no more: the
    # simulation and the drivers would cost each other's users 10 to 20 MB.
    if settings.camera_kind == "hanwha":
        from camera_sampler.cameras.hanwha import HanwhaCamera

        return HanwhaCamera(settings.access, settings.settled_limits)
    if settings.camera_kind == "axis":
        from camera_sampler.cameras.axis import AxisCamera

        return AxisCamera(
            settings.access,
            settings.settled_limits,
            magnification=settings.camera_magnification,
            resolution=settings.settled_size,
        )
    if settings.camera_kind == "onvif":
        return open_onvif(settings.access, settings.settled_limits, settings.camera_magnification)
    if settings.camera_kind == "stored" and settings.stored_images is not None:
        from camera_sampler.cameras.stored import open_stored

        return open_stored(settings.stored_images, settings)
    return _simulated(settings)


def _simulated(settings: SamplerSettings) -> Camera:
    from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
    from camera_sampler.simulation.motion import Speeds
    from camera_sampler.simulation.scenes import open_scene

    return SimulatedCamera(
        open_scene(settings.panorama, seed=settings.seed, day_seconds=settings.day_seconds),
        Sensor(settings.snapshot_width, settings.snapshot_height),
        limits=settings.limits,
        speeds=Speeds(settings.pan_speed, settings.tilt_speed, settings.zoom_speed, settings.settle_seconds),
        clock=fast_clock(settings.time_scale),
    )


def open_onvif(access: Access, narrow: Settled, magnification: float | None) -> OnvifCamera:
    """Return an ONVIF camera. ``UserError`` where the package is missing that this brand alone needs."""
    try:
        from camera_sampler.cameras.onvif import OnvifCamera
    except ModuleNotFoundError as error:
        if error.name != "onveef":
            raise
        raise UserError("an ONVIF camera needs the package onveef: pip install 'ptzjepa[onvif]'") from None
    return OnvifCamera(access, narrow, magnification=magnification)
