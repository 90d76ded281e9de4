"""Cameras that speak their vendors' protocols over HTTP, with a simulated camera behind: for tests and for laptops."""

from __future__ import annotations

from camera_sampler.simulation.emulators.axis import AxisEmulator
from camera_sampler.simulation.emulators.base import Emulator
from camera_sampler.simulation.emulators.faults import Fault, Faults
from camera_sampler.simulation.emulators.hanwha import HanwhaEmulator
from camera_sampler.simulation.emulators.onvif import OnvifEmulator
from camera_sampler.simulation.emulators.rtsp import RtspEmulator

__all__ = ["AxisEmulator", "Emulator", "Fault", "Faults", "HanwhaEmulator", "OnvifEmulator", "RtspEmulator"]
