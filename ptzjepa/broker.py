"""``ptzjepa broker``: what an operator of the lock broker prepares."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from lock_broker import tokens
from shared.errors import UserError

TOKEN_BYTES = 32

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prepare the lock broker: make bearer tokens.")


@app.callback()
def _broker() -> None:
    """Prepare the lock broker."""


@app.command()
def token(
    name: Annotated[str, typer.Option(metavar="NAME", help="Whose token: a machine, a service, a person.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help="reader, worker or admin.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="New file for the token. [default: NAME.token]")] = (
        None
    ),
) -> None:
    """Make a random bearer token, for its owner, and its line for the broker.

    The token goes into a new file that only you may read, the line to
    stdout: append it to the file that PTZ_BROKER_TOKENS_FILE names. The token
    itself is never shown.
    """
    principal = tokens.principal(name, role)
    path = out or Path(f"{name}.token")
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        # Never over another file: that may be the only copy of a token in use.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
    except FileExistsError:
        raise UserError(f"{path} exists; remove it, or name another file with --out") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(tokens.line(principal.name, principal.role, secret))
    typer.echo(f"the token is in {path}: its owner sets PTZ_BROKER_TOKEN_FILE to it", err=True)
