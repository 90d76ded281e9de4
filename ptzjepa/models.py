"""``ptzjepa models``: look at the registry of world models and agents, roll one back, export it as PTZJEPA's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptzjepa.ask_broker import ask, cut, print_json, table
from shared.broker.client import BrokerAway, BrokerClient, CommitRefused
from shared.errors import UserError
from shared.leases import ModelState, ModelVersion, RollbackRequest
from shared.settings import ServiceSettings

_FOLDERS = {"wm": "world_models", "ag": "agents"}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at world models and agents, roll them back, export them.",
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="For instance wm_00_00.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
State = Annotated[str, typer.Option(metavar="STATE", help="active, archived or all.")]
Kind = Annotated[str | None, typer.Option(metavar="KIND", help="Only world-model, or agent.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Newest versions shown.")]


@app.command("list")
def list_models(state: State = "all", kind: Kind = None, as_json: Json = False) -> None:
    """List the models and their heads."""
    if state not in ("active", "archived", "all"):
        raise UserError(f"--state {state}: not active, archived or all")
    states = ask(lambda broker: broker.models(state, kind))
    if as_json:
        print_json([item.model_dump(mode="json") for item in states])
        return
    _show_table(
        ("MODEL", "KIND", "STATE", "HEAD", "COMMITTED", "BY"),
        [(item.model, item.kind, item.state, *_of_head(item.head)) for item in states],
    )


@app.command()
def show(model: Model, as_json: Json = False) -> None:
    """Show a model's head and where it comes from."""
    state = ask(lambda broker: _known(broker, model))
    if as_json:
        print_json(state.model_dump(mode="json"))
        return
    head = state.head
    lines = [("model", model), ("kind", state.kind), ("state", state.state)]
    if head is not None:
        lines += [
            ("version", _version(head)),
            ("committed", f"{_when(head)} by {head.by or 'unknown'}"),
            ("file", f"{head.checkpoint.size} bytes, SHA-256 {head.checkpoint.sha256[:16]}…"),
            ("address", head.checkpoint.address),
        ]
        lines += _lineage(head)
        lines += [(name, str(value)) for name, value in head.card.items() if isinstance(value, int | float | str)]
    for name, value in lines:
        typer.echo(cut(f"{name:<16} {value}"))


@app.command()
def history(model: Model, limit: Limit = 20, as_json: Json = False) -> None:
    """List a model's versions, newest first."""

    async def work(broker: BrokerClient) -> list[ModelVersion]:
        await _known(broker, model)
        return await broker.versions(model, limit)

    versions = ask(work)
    if as_json:
        print_json([version.model_dump(mode="json") for version in versions])
        return
    _show_table(
        ("VERSION", "COMMITTED", "RESTART", "PARENTS", "BY"),
        [(_version(v), _when(v), _restart(v), _parents(v), v.by) for v in versions],
    )


@app.command()
def rollback(
    model: Model,
    version: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="The version that shall count again.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; for the audit stream.")] = "by hand",
    as_json: Json = False,
) -> None:
    """Make an older version's weights the head again, as a new version.

    Takes the model's lease: stop whoever trains it before. Exit code 1 if the
    broker refuses, 2 if the input is wrong or the broker is away.
    """
    if not 1 <= len(reason) <= 256:
        raise UserError("--reason: give 1 to 256 characters")

    async def work(broker: BrokerClient) -> ModelVersion:
        state = await _known(broker, model)
        head = state.head.version if state.head else 0
        if version >= head:
            raise UserError(f"{model}: version {version} is not older than its head, {head}")
        settings = ServiceSettings.from_environment()
        async with broker.lease(f"{state.kind}/{model}", holder=f"ptzjepa-models@{settings.node}") as lease:
            request = RollbackRequest(
                lease_id=lease.lease_id, token=lease.token, expected_head=head, to_version=version, reason=reason
            )
            try:
                return await broker.rollback(model, request)
            except BrokerAway:
                # Only the answer may be lost; the request carries its id, so asking again cannot do it twice.
                return await broker.rollback(model, request)

    made = ask(work)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(f"{model}: version {made.version} is the head, with the weights of version {version}")


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that gets the files; made if need be.")],
    as_json: Json = False,
) -> None:
    """Write progress_model_names.txt and every model_info.yaml, laid out as
    PTZJEPA lays out /persistence. Archived models go to finished_models.
    """
    written, left_out = ask(lambda broker: _export(broker, directory))
    if as_json:
        print_json({"written": [str(path) for path in written], "left_out": left_out})
        return
    for path in written:
        typer.echo(str(path))
    for model in left_out:
        typer.echo(f"left out: {model} (PTZJEPA knows only names like wm_00_03)", err=True)


async def _export(broker: BrokerClient, directory: Path) -> tuple[list[Path], list[str]]:
    texts = {directory / "progress_model_names.txt": await broker.text("/v1/export/progress_model_names.txt")}
    left_out = []
    for state in await broker.models():
        try:
            text = await broker.text(f"/v1/models/{state.model}/model_info.yaml")
        except CommitRefused:
            left_out.append(state.model)
            continue
        folder = "finished_models" if state.state == "archived" else _FOLDERS[state.model[:2]]
        texts[directory / folder / state.model / "model_info.yaml"] = text
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return list(texts), left_out


async def _known(broker: BrokerClient, model: str) -> ModelState:
    state = await broker.model(model)
    if state is None:
        raise UserError(f"there is no model {model!r}; see: ptzjepa models list")
    return state


def _show_table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for line in table(titles, rows):
        typer.echo(line)


def _of_head(head: ModelVersion | None) -> tuple[str, str, str]:
    return ("0", "", "") if head is None else (str(head.version), _when(head), head.by)


def _when(version: ModelVersion) -> str:
    return version.committed_at.strftime("%Y-%m-%d %H:%MZ")


def _version(version: ModelVersion) -> str:
    restored = f" = {version.restores}" if version.restores else ""
    return f"{version.version}{restored}{' pinned' if version.pinned else ''}"


def _restart(version: ModelVersion) -> str:
    return str(version.lineage.restart) if version.lineage else "?"


def _parents(version: ModelVersion) -> str:
    found = version.lineage.parents if version.lineage else []
    return " ".join(f"{parent.model}@{parent.version}" for parent in found) or "-"


def _lineage(head: ModelVersion) -> list[tuple[str, str]]:
    if head.lineage is None:
        return []
    data = [
        (f"camera {span.camera}", f"{span.views} views, {span.first:%Y-%m-%d %H:%MZ} to {span.last:%Y-%m-%d %H:%MZ}")
        for span in head.lineage.data
    ]
    return [
        ("generation", str(head.lineage.generation)),
        ("restart", _restart(head)),
        ("parents", _parents(head)),
        *data,
    ]
