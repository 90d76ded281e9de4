"""``ptzjepa dream show``: what the newest dreams look like, as a filmstrip and a film."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import UserError
from shared.messages import Checkpoint, DreamBatch, StreamName
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.store.model_store import CorruptObject, MissingObject, ModelStore, StoreAway
from shared.streams import look_back

if TYPE_CHECKING:
    from dreamer_agent.settings import DreamSettings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at dreams.")


@app.callback()
def _dream() -> None:
    """Look at dreams."""


@app.command()
def show(
    out: Annotated[Path, typer.Option(metavar="FILE", help="PNG to write; the film beside it.")] = Path("dreams.png"),
    dreams: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Dreams, a row each.")] = 6,
) -> None:
    """Show the newest dreams as a filmstrip: real view first, then the dream.

    PTZ_REDIS_URL and PTZ_MODEL_STORE say where they are. The dream generator
    must run with PTZ_DREAM_PICTURES=true, so that there is a decoder. The same
    as a film goes beside it, as MP4, where PyAV is installed.
    """
    if out.suffix.lower() == ".mp4":
        raise UserError(f"--out {out}: name the PNG; the film goes beside it, with .mp4 at its end")
    # Imported late: help shall not wait for torch.
    import torch

    from dreamer_agent.dreams import Dreams
    from dreamer_agent.film import write_film
    from dreamer_agent.pictures import filmstrip
    from dreamer_agent.settings import DreamSettings
    from shared.world_model.decoder import load_decoder

    settings = DreamSettings.from_environment()
    batch = asyncio.run(_newest(settings))
    try:
        store = ModelStore.from_settings(settings)
        found, origin = Dreams.from_bytes(
            store.get(Checkpoint(address=batch.address, sha256=batch.sha256, size=batch.size))
        )
        files = store.files(f"decoders/{origin.world_model}")
        if not files:
            raise UserError(
                f"no decoder of {origin.world_model} yet: run the dream generator with PTZ_DREAM_PICTURES=true"
            )
        last = files[-1]
        decoder, card = load_decoder(
            store.get(Checkpoint(address=last.address, sha256=Path(last.address).stem, size=last.size))
        )
        strip = filmstrip(found.pick(torch.arange(min(dreams, len(found)))), decoder, settings.actions())
    except (MissingObject, CorruptObject, StoreAway, ValueError) as error:
        raise UserError(f"the newest dreams cannot be shown: {error}") from error
    try:
        strip.save(out, "PNG")
        film = write_film(out.with_suffix(".mp4"), strip, found.length + 1)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; give a writable file") from error
    typer.echo(
        f"{out}: {origin.world_model} version {origin.world_model_version}, {origin.agent} version "
        f"{origin.policy_version}; decoder of version {card['world_model_version']}"
    )
    typer.echo(f"{out.with_suffix('.mp4')}" if film else "no film: pip install 'ptzjepa[rtsp]' brings PyAV")


async def _newest(settings: DreamSettings) -> DreamBatch:
    """Return the newest batch of dreams. ``UserError`` where there is none."""
    clients = RedisClients.from_settings(settings)
    try:
        found = await look_back(clients.commands, StreamName.DREAMS, DreamBatch, 1)
    except REDIS_AWAY as error:
        raise UserError(f"Redis does not answer ({type(error).__name__}); set PTZ_REDIS_URL") from error
    finally:
        await clients.aclose()
    if not found:
        raise UserError("nobody has dreamt yet: the stream of dreams is empty")
    return found[-1].message
