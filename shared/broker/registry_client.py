"""The registry's half of the lock broker's client: models, versions, fenced changes of them."""

from __future__ import annotations

from functools import partial

import httpx
import structlog
from pydantic import BaseModel

from shared.broker import answers
from shared.broker.answers import BrokerAway
from shared.broker.tls import broker_connection
from shared.leases import (
    ArchiveRequest,
    CommitRequest,
    ModelList,
    ModelState,
    ModelVersion,
    RollbackRequest,
    VersionList,
)
from shared.settings import ServiceSettings

VERSIONS_PAGE = 100


class RegistryClient:
    """Asks the broker for models and changes them; ``BrokerAway`` where nobody answers."""

    def __init__(self, settings: ServiceSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(**broker_connection(settings), timeout=answers.patience(), transport=transport)
        self._log = structlog.get_logger()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def head(self, model: str) -> ModelVersion | None:
        """Return the model's newest committed version, or None for a model that has none."""
        state = await self.model(model)
        return None if state is None else state.head

    async def models(self, state: str = "all", kind: str | None = None) -> list[ModelState]:
        """Return models with their heads, by name; ``state`` is ``active``, ``archived`` or ``all``."""
        only = "" if kind is None else f"&kind={kind}"
        return answers.parse(await self._send("GET", f"/v1/models?state={state}{only}"), ModelList).models

    async def model(self, model: str) -> ModelState | None:
        """Return a model's kind, state and head, or None where no version of it has been committed."""
        response = await self._send("GET", f"/v1/models/{model}")
        return None if response.status_code == httpx.codes.NOT_FOUND else answers.parse(response, ModelState)

    async def versions(self, model: str, limit: int | None = None) -> list[ModelVersion]:
        """Return the newest ``limit`` versions that the registry remembers, or all, newest first."""
        found: list[ModelVersion] = []
        while limit is None or len(found) < limit:
            page = VERSIONS_PAGE if limit is None else min(VERSIONS_PAGE, limit - len(found))
            before = f"&before={found[-1].version}" if found else ""
            response = await self._send("GET", f"/v1/models/{model}/versions?limit={page}{before}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return []
            more = answers.parse(response, VersionList).versions
            found += more
            if len(more) < page:
                break
        return found

    async def version(self, model: str, version: int) -> ModelVersion | None:
        """Return one version of a model, or None where there is none (any more)."""
        response = await self._send("GET", f"/v1/models/{model}/versions/{version}")
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return None
        return answers.parse(response, ModelVersion)

    async def commit(self, model: str, request: CommitRequest) -> ModelVersion:
        """Move the model's head. ``CommitRefused`` if the token is stale or the head is another than expected."""
        return answers.parse(await self._change("POST", f"/v1/models/{model}/versions", request), ModelVersion)

    async def rollback(self, model: str, request: RollbackRequest) -> ModelVersion:
        """Make an older version's weights the head again. ``CommitRefused`` as for ``commit``."""
        return answers.parse(await self._change("POST", f"/v1/models/{model}/rollback", request), ModelVersion)

    async def archive(self, model: str, request: ArchiveRequest) -> ModelState:
        """Allow no more commits. ``CommitRefused`` if the token is stale or there is no such model."""
        return answers.parse(await self._change("POST", f"/v1/models/{model}/archive", request), ModelState)

    async def restore(self, model: str) -> ModelState:
        """Allow commits again. For admins."""
        return answers.parse(await self._change("POST", f"/v1/models/{model}/restore"), ModelState)

    async def pin(self, model: str, version: int, *, wanted: bool = True) -> ModelVersion:
        """Keep a version from being forgotten and deleted, or no longer. ``CommitRefused`` where that can't be."""
        method = "PUT" if wanted else "DELETE"
        return answers.parse(await self._change(method, f"/v1/models/{model}/versions/{version}/pin"), ModelVersion)

    async def text(self, path: str) -> str:
        """Return a document that is not JSON, such as the exports. ``CommitRefused`` where there is none."""
        return answers.successful(await self._change("GET", path)).text

    async def _change(self, method: str, path: str, body: BaseModel | None = None) -> httpx.Response:
        return answers.changed(await self._send(method, path, body))

    async def _send(self, method: str, path: str, body: BaseModel | None = None, *, wait_ms: int = 0) -> httpx.Response:
        content = None if body is None else body.model_dump_json()
        headers = {"Content-Type": "application/json"} if content is not None else None
        ask = partial(
            self._http.request, method, path, content=content, headers=headers, timeout=answers.patience(wait_ms)
        )
        try:
            try:
                response = await ask()
            except (httpx.RemoteProtocolError, httpx.ReadError):
                if method != "GET":
                    raise
                # A kept connection may be closed while the question is on its way; to ask again changes nothing.
                response = await ask()
        except httpx.TransportError as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
        return answers.checked(response)
