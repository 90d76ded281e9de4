"""``ptzjepa camera probe`` and ``ptzjepa camera emulate``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import EXIT_FAULT, EXIT_OK, UserError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from camera_sampler.access import Access, Settled
    from ptzjepa.camera_probe import Probe

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a camera, or be one.")

User = Annotated[str | None, typer.Option(metavar="NAME", help="User; else PTZ_CAMERA_USER.")]


@app.command()
def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="http://HOST[:PORT], without user and password.")],
    brand: Annotated[str | None, typer.Option(metavar="NAME", help="hanwha, axis or onvif; else found out.")] = None,
    user: User = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the picture there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what a camera is, where it looks, and whether it lets you in.

    The password comes from PTZ_CAMERA_PASSWORD or the file that
    PTZ_CAMERA_PASSWORD_FILE names; on a terminal it is asked for. A wrong one
    is sent once only. PTZ_CAMERA_MAGNIFICATION, PTZ_CAMERA_NETWORKS,
    PTZ_CAMERA_CA_FILE and PTZ_PAN_MIN to PTZ_ZOOM_MAX count as in the sampler;
    an ONVIF camera needs the first. Exit code: 0 if all worked, 1 if something
    did not, 2 if the input was wrong.
    """
    # Imported late: help and version shall not wait for it.
    from camera_sampler.access import check_url
    from ptzjepa.camera_probe import probe as ask

    check_url(url, "URL")
    _check_brand(brand)
    name, password = _login(user)
    if name and not password.get_secret_value() and sys.stdin.isatty():
        password = type(password)(typer.prompt(f"Password of {name}", hide_input=True, err=True))
    found = asyncio.run(ask(_access(url, name, password), brand, *_settled()))
    if picture is not None and found.picture is not None:
        _save(picture, found.picture.data)
    if as_json:
        print(json.dumps(found.document(), indent=2))
    else:
        _show(found, picture)
    for finding in found.failures:
        print(f"error: {finding.question}: {finding.error}", file=sys.stderr)
    raise typer.Exit(EXIT_OK if found.ok else EXIT_FAULT)


@app.command()
def emulate(
    brand: Annotated[str, typer.Option(metavar="NAME", help="hanwha, axis or onvif.")],
    panorama: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Equirectangular image to look at; else a generated scene.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")] = 0,
    user: User = None,
    faults: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="RATE", help="Share of requests that meet a fault.")
    ] = 0.0,
) -> None:
    """Be a camera that speaks a vendor's protocol, until Ctrl-C.

    The password comes from PTZ_CAMERA_PASSWORD or the file that
    PTZ_CAMERA_PASSWORD_FILE names; without one a random one is written to a
    private file, for as long as this runs.
    """
    from ptzjepa.camera_emulation import emulate as serve
    from ptzjepa.camera_emulation import password_file

    _check_brand(brand)
    name, given = _login(user)
    name = name or "admin"
    with password_file(given.get_secret_value()) as (password, file):

        def say(url: str) -> None:
            print(f"url       {url}\nuser      {name}\npassword  {f'in {file}' if file else 'as given'}", flush=True)

        asyncio.run(serve(brand, panorama, port, name, password, faults, say))
    raise typer.Exit(EXIT_OK)


def _check_brand(brand: str | None) -> None:
    from ptzjepa.camera_brands import BRANDS

    if brand is not None and brand not in BRANDS:
        raise UserError(f"--brand: must be one of {', '.join(BRANDS)}")


def _login(user: str | None) -> tuple[str, SecretStr]:
    """Return user and password, empty where none is given."""
    from pydantic import SecretStr

    from shared.settings import ServiceSettings

    class Login(ServiceSettings):
        camera_user: str = ""
        camera_password: SecretStr | None = None

    login = Login.from_environment()
    return login.camera_user if user is None else user, login.camera_password or SecretStr("")


def _access(url: str, user: str, password: SecretStr) -> Access:
    """Return how to reach a camera; what the sampler's settings say of that counts here, too."""
    from pydantic import Field

    from camera_sampler.access import Access
    from camera_sampler.networks import Networks
    from shared.settings import ServiceSettings

    class Way(ServiceSettings):
        camera_timeout_seconds: float = Field(default=5.0, gt=0.0, le=60.0)
        camera_networks: str = ""
        camera_ca_file: Path | None = None

    way = Way.from_environment()
    networks = Networks.parse(way.camera_networks)
    return Access(url, user, password, way.camera_timeout_seconds, networks=networks, ca_file=way.camera_ca_file)


def _settled() -> tuple[Settled, float | None]:
    """Return the limits, and the magnification at the most zoom, that are set for the camera."""
    from pydantic import Field

    from camera_sampler.access import Settled
    from shared.settings import ServiceSettings

    class Reach(ServiceSettings):
        camera_magnification: float | None = Field(default=None, gt=1.0, le=100.0)
        pan_min: float | None = Field(default=None, ge=-180.0, le=180.0)
        pan_max: float | None = Field(default=None, ge=-180.0, le=180.0)
        tilt_min: float | None = Field(default=None, ge=-90.0, le=90.0)
        tilt_max: float | None = Field(default=None, ge=-90.0, le=90.0)
        zoom_max: float | None = Field(default=None, ge=1.0, le=100.0)

    reach = Reach.from_environment()
    limits = Settled(reach.pan_min, reach.pan_max, reach.tilt_min, reach.tilt_max, reach.zoom_max)
    return limits, reach.camera_magnification


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UserError(f"--picture {path}: {error.strerror}; give a writable file") from error


def _show(found: Probe, saved: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", style="dim", no_wrap=True)
    for name, text, question in _lines(found, saved):
        seconds = found.seconds(question)
        table.add_row(name, text, "" if seconds is None else f"{seconds * 1000.0:,.0f} ms")
    Console(highlight=False, markup=False, emoji=False).print(table)


def _lines(found: Probe, saved: Path | None) -> list[tuple[str, str, str]]:
    """Return what is shown: a name, words, and the question whose answer's time stands beside them."""
    from ptzjepa.camera_brands import BRANDS

    words = [BRANDS[found.brand].title if found.brand else "unknown", found.model or ""]
    camera = " ".join(filter(None, words)) + (f", firmware {found.firmware}" if found.firmware else "")
    limits, pose, picture = found.limits, found.pose, found.picture
    lines = [("address", found.url, ""), ("camera", camera, "brand"), ("login", found.login, "")]
    if limits is not None:
        pan = "all round" if limits.full_circle else f"{limits.pan_min:g}° to {limits.pan_max:g}°"
        tilt = f"{limits.tilt_min:g}° to {limits.tilt_max:g}°"
        lines.append(("limits", f"pan {pan}, tilt {tilt}, zoom 1× to {limits.zoom_max:g}×", "limits"))
    if pose is not None:
        lines.append(("pose", f"pan {pose.pan:z.2f}°, tilt {pose.tilt:z.2f}°, zoom {pose.zoom:.2f}×", "pose"))
    if picture is not None:
        size = f"{picture.image.width} × {picture.image.height}, {len(picture.data):,} bytes"
        lines.append(("picture", size + (f", saved as {saved}" if saved else ""), "picture"))
    return lines
