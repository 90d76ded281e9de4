"""Run as a process of its own: drives a camera by ``onvif-zeep-async``, which reads answers by ONVIF's own WSDL."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from datetime import timedelta
from typing import Any

from onvif import ONVIFCamera
from onvif.settings import DEFAULT_SETTINGS
from PIL import Image
from zeep.exceptions import Fault

TOKEN = {"ProfileToken": "profile_1"}
DEGREES = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/SphericalPositionSpaceDegrees"
MOVED_DEGREES = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/SphericalTranslationSpaceDegrees"


def numbers(position: Any) -> list[float]:
    return [position.PanTilt.x, position.PanTilt.y, position.Zoom.x]


async def arrived(ptz: Any) -> list[float]:
    """Wait until the camera says that it stands still, and in the same place twice."""
    async with asyncio.timeout(30.0):
        before: list[float] = []
        while True:
            status = await ptz.GetStatus(TOKEN)
            now = numbers(status.Position)
            if now == before and status.MoveStatus.PanTilt == status.MoveStatus.Zoom == "IDLE":
                return now
            before = now
            await asyncio.sleep(0.02)


# The package forgives cameras much; an emulator has to keep to the schema.
DEFAULT_SETTINGS.strict = True


async def drive(host: str, port: int, user: str, password: str) -> dict[str, Any]:
    camera = ONVIFCamera(host, port, user, password, adjust_time=True, no_cache=True)
    await camera.update_xaddrs()
    media, ptz = await camera.create_media_service(), await camera.create_ptz_service()
    device = await camera.create_devicemgmt_service()
    result: dict[str, Any] = {"model": (await device.GetDeviceInformation()).Model}
    profiles = await media.GetProfiles()
    result["profiles"] = [[profile.token, profile.PTZConfiguration is not None] for profile in profiles]
    [node] = await ptz.GetNodes()
    result["spaces"] = [space.URI for space in node.SupportedPTZSpaces.AbsolutePanTiltPositionSpace]
    [configuration] = await ptz.GetConfigurations()
    result["node"] = configuration.NodeToken == node.token
    options = await ptz.GetConfigurationOptions({"ConfigurationToken": configuration.token})
    result["options"] = len(options.Spaces.AbsolutePanTiltPositionSpace)
    result["start"] = await arrived(ptz)
    await ptz.AbsoluteMove(TOKEN | {"Position": {"PanTilt": {"x": 0.5, "y": -0.25}, "Zoom": {"x": 0.5}}})
    result["absolute"] = await arrived(ptz)
    await ptz.RelativeMove(TOKEN | {"Translation": {"PanTilt": {"x": -0.25, "y": 0.5}, "Zoom": {"x": -0.25}}})
    result["relative"] = await arrived(ptz)
    await ptz.SetPreset(TOKEN | {"PresetName": "tower & <bridge>"})
    await ptz.AbsoluteMove(TOKEN | {"Position": {"PanTilt": {"x": 90.0, "y": 0.0, "space": DEGREES}}})
    result["degrees"] = await arrived(ptz)
    await ptz.RelativeMove(TOKEN | {"Translation": {"PanTilt": {"x": -45.0, "y": 0.0, "space": MOVED_DEGREES}}})
    result["moved_degrees"] = await arrived(ptz)
    [preset] = await ptz.GetPresets(TOKEN)
    result["preset"] = [preset.Name, *numbers(preset.PTZPosition)]
    await ptz.GotoPreset(TOKEN | {"PresetToken": preset.token})
    result["at_preset"] = await arrived(ptz)
    await ptz.ContinuousMove(TOKEN | {"Velocity": {"PanTilt": {"x": 1.0, "y": 0.0}}, "Timeout": timedelta(minutes=1)})
    await ptz.Stop(TOKEN | {"PanTilt": True, "Zoom": True})
    result["stopped"] = await arrived(ptz) == await arrived(ptz)
    await ptz.GotoHomePosition(TOKEN)
    result["home"] = await arrived(ptz)
    try:
        await ptz.GotoPreset(TOKEN | {"PresetToken": "none"})
    except Fault as fault:
        result["fault"] = [fault.message, [code.localname for code in fault.subcodes]]
    picture = Image.open(io.BytesIO(await camera.get_snapshot("profile_1", basic_auth=False)))
    picture.load()
    result["picture"] = [picture.format, *picture.size]
    await camera.close()
    return result


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(*json.loads(sys.stdin.read())))))
