"""The registry: which version of a model counts. Versions are immutable; only the head moves, and only by its rules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import cast

from redis.asyncio import Redis

from lock_broker import keys, scripts
from lock_broker.metrics import BrokerMetrics
from lock_broker.problems import Refused
from shared.leases import CommitRequest, ModelState, ModelVersion
from shared.messages import utc_now

CARD_BYTES = 256 * 1024


class Registry:
    """Heads and versions. Every method raises ``Refused`` for a no, and redis-py's errors while Redis is away."""

    def __init__(self, redis: Redis, line: scripts.Line, metrics: BrokerMetrics, *, history: int) -> None:
        self._redis, self._line, self._metrics, self._history = redis, line, metrics, history

    async def commit(self, model: str, request: CommitRequest) -> tuple[ModelVersion, bool]:
        """Move the model's head. The flag says whether the version is new; it is not when the request is a copy."""
        _check_card(request)
        lease = keys.LeaseId.parse(request.lease_id)
        if lease is None or lease.name != model:
            self._metrics.commits.labels("stale").inc()
            raise Refused(HTTPStatus.PRECONDITION_FAILED, f"lease_id: not a lease of {model}")
        version = ModelVersion(
            model=model,
            version=request.expected_head + 1,
            token=request.token,
            committed_at=utc_now(),
            checkpoint=request.checkpoint,
            card=request.card,
        )
        reply = await scripts.commit(
            self._line,
            model,
            lease_id=request.lease_id,
            lease=lease,
            token=request.token,
            expected_head=request.expected_head,
            request_id=request.request_id,
            document=version.model_dump_json(),
            history=self._history,
        )
        return self._outcome(reply, version)

    def _outcome(self, reply: scripts.CommitReply, version: ModelVersion) -> tuple[ModelVersion, bool]:
        self._metrics.losses.inc(reply.lost)
        self._metrics.commits.labels("repeated" if reply.outcome == "same" else reply.outcome).inc()
        match reply.outcome:
            case "committed":
                return version, True
            case "same":
                before = ModelVersion.model_validate_json(reply.text)
                if before.checkpoint != version.checkpoint:
                    raise Refused(HTTPStatus.CONFLICT, "request_id: another checkpoint was committed with it")
                return before, False
            case "moved":
                raise Refused(
                    HTTPStatus.CONFLICT,
                    f"the head is version {reply.version}, not {version.version - 1}",
                    head=reply.version,
                )
            case _:
                raise Refused(HTTPStatus.PRECONDITION_FAILED, reply.text)

    async def models(self) -> list[ModelState]:
        """Return every model with its head, by name."""
        members = cast(set[bytes], await self._redis.smembers(keys.MODELS))
        names = sorted(member.decode() for member in members)
        states = []
        for name in names:
            head = await self._head_number(name)
            states.append(ModelState(model=name, head=await self._version(name, head)))
        return states

    async def resources(self, kind: str) -> list[str]:
        """Return the resources of a kind under whose lease a registered model is written, by name."""
        members = cast(set[bytes], await self._redis.smembers(keys.MODELS))
        names = sorted(member.decode() for member in members)
        written = [cast(bytes, await self._redis.hget(keys.head_key(name), "resource")) for name in names]
        resources = (resource.decode() for resource in written)
        return [resource for resource in resources if resource.startswith(f"{kind}/")]

    async def state(self, model: str) -> ModelState:
        """Return a model's head."""
        number = await self._head_number(model)
        if number == 0:
            raise Refused(HTTPStatus.NOT_FOUND, f"no version of {model} has been committed")
        return ModelState(model=model, head=await self._version(model, number))

    async def versions(self, model: str, limit: int) -> list[ModelVersion]:
        """Return the newest ``limit`` versions, newest first."""
        head = await self._head_number(model)
        if head == 0:
            raise Refused(HTTPStatus.NOT_FOUND, f"no version of {model} has been committed")
        return await self._documents(model, range(head, max(0, head - limit), -1))

    async def version(self, model: str, number: int) -> ModelVersion:
        """Return one version."""
        found = await self._version(model, number)
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"{model} has no version {number}, or it is forgotten")
        return found

    async def _head_number(self, model: str) -> int:
        return int(await self._redis.hget(keys.head_key(model), "version") or 0)

    async def _version(self, model: str, number: int) -> ModelVersion | None:
        found = await self._documents(model, [number])
        return found[0] if found else None

    async def _documents(self, model: str, numbers: Iterable[int]) -> list[ModelVersion]:
        documents = await self._redis.hmget(keys.versions_key(model), [str(number) for number in numbers])
        return [ModelVersion.model_validate_json(document) for document in documents if document is not None]


def _check_card(request: CommitRequest) -> None:
    """Refuse a card that JSON can't carry to every reader: NaN, lone surrogates, or too large."""
    try:
        size = len(json.dumps(request.card, allow_nan=False, ensure_ascii=False).encode())
    except ValueError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "card: holds a NaN, an infinity or broken text") from error
    if size > CARD_BYTES:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"card: {size} bytes, more than {CARD_BYTES}")
