"""The registry: which version of a model counts. Versions are immutable; only the head moves, and only by its rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, cast

from redis.asyncio import Redis

from lock_broker import keys, scripts
from lock_broker.metrics import COMMIT_OUTCOMES, BrokerMetrics
from lock_broker.principals import ANONYMOUS, Principal
from lock_broker.problems import Refused
from shared.leases import ArchiveRequest, CommitRequest, LifeState, ModelState, ModelVersion, RollbackRequest
from shared.messages import utc_now

CARD_BYTES = 256 * 1024
StateFilter = Literal["active", "archived", "all"]

_REFUSALS = {
    "stale": HTTPStatus.PRECONDITION_FAILED,
    "foreign": HTTPStatus.FORBIDDEN,
    "moved": HTTPStatus.CONFLICT,
    "archived": HTTPStatus.CONFLICT,
    "current": HTTPStatus.CONFLICT,
    "full": HTTPStatus.CONFLICT,
    "unknown": HTTPStatus.NOT_FOUND,
    "forgotten": HTTPStatus.GONE,
}


@dataclass(frozen=True)
class _Head:
    version: int
    oldest: int
    resource: str
    state: LifeState
    pins: frozenset[int]

    @classmethod
    def of(cls, flat: Sequence[bytes | None], pins: set[bytes]) -> _Head | None:
        version, oldest, resource, archived = flat
        if version is None or oldest is None or resource is None:
            return None
        state: LifeState = "archived" if archived else "active"
        return cls(int(version), int(oldest), resource.decode(), state, frozenset(map(int, pins)))


class Registry:
    """Heads and versions. Every method raises ``Refused`` for a no, and redis-py's errors while Redis is away."""

    def __init__(self, redis: Redis, line: scripts.Line, metrics: BrokerMetrics, *, history: int) -> None:
        self._redis, self._line, self._metrics, self._history = redis, line, metrics, history

    async def commit(self, model: str, request: CommitRequest, who: Principal = ANONYMOUS) -> tuple[ModelVersion, bool]:
        """Move the model's head. The flag says whether the version is new; it is not when the request is a copy."""
        _check_card(request)
        version = ModelVersion(
            model=model,
            version=request.expected_head + 1,
            token=request.token,
            committed_at=utc_now(),
            checkpoint=request.checkpoint,
            card=request.card,
            principal=who.name,
            lineage=request.lineage,
        )
        reply = await scripts.commit(
            self._line,
            self._claim(model, request, who),
            expected_head=request.expected_head,
            document=_document(version),
            history=self._history,
        )
        made, new = self._made(model, reply)
        if made.checkpoint != request.checkpoint or made.restores is not None:
            raise Refused(HTTPStatus.CONFLICT, "request_id: another checkpoint was committed with it")
        return made, new

    async def rollback(
        self, model: str, request: RollbackRequest, who: Principal = ANONYMOUS
    ) -> tuple[ModelVersion, bool]:
        """Make a new head of an older version's checkpoint and card. The flag as for ``commit``."""
        source = (await self._documents(model, [request.to_version], frozenset()))[0]
        document = ""
        if source is not None:
            changes = {
                "version": request.expected_head + 1,
                "token": request.token,
                "committed_at": utc_now(),
                "principal": who.name,
                "restores": request.to_version,
            }
            document = _document(source.model_copy(update=changes))
        reply = await scripts.commit(
            self._line,
            self._claim(model, request, who),
            expected_head=request.expected_head,
            document=document,
            history=self._history,
            restores=request.to_version,
            reason=request.reason,
        )
        made, new = self._made(model, reply)
        if made.restores != request.to_version:
            raise Refused(HTTPStatus.CONFLICT, "request_id: something else was committed with it")
        return made, new

    async def archive(self, model: str, request: ArchiveRequest, who: Principal = ANONYMOUS) -> ModelState:
        """Allow no more commits, and offer the model to nobody."""
        reply = await scripts.archive(self._line, self._claim(model, request, who), request.reason)
        self._metrics.losses.inc(reply.lost)
        if reply.outcome not in ("archived", "same"):
            raise _refusal(model, reply.outcome, reply.text)
        return await self.state(model)

    async def restore(self, model: str, who: Principal = ANONYMOUS) -> ModelState:
        """Allow commits again, and offer the model as before."""
        reply = await scripts.restore(self._line, model, who)
        if reply.outcome == "unknown":
            raise _refusal(model, reply.outcome, reply.text)
        return await self.state(model)

    async def pin(self, model: str, number: int, who: Principal = ANONYMOUS, *, wanted: bool = True) -> ModelVersion:
        """Keep a version from being forgotten, or no longer."""
        before = await self.version(model, number)
        reply = await scripts.pin(self._line, model, number, who, wanted=wanted)
        if reply.outcome not in ("done", "same"):
            raise _refusal(model, reply.outcome, reply.text)
        return before.model_copy(update={"pinned": wanted})

    async def models(self, state: StateFilter = "all", kind: str | None = None) -> list[ModelState]:
        """Return models with their heads, by name."""
        states = []
        for name, head in await self._heads():
            found = head.resource.partition("/")[0]
            if state in ("all", head.state) and kind in (None, found):
                newest = (await self._documents(name, [head.version], head.pins))[0]
                states.append(ModelState(model=name, kind=found, state=head.state, head=newest))
        return states

    async def resources(self, kind: str) -> list[str]:
        """Return the resources of a kind under whose lease a model is written that is not archived, by name."""
        heads = [head for _, head in await self._heads() if head.state == "active"]
        return [head.resource for head in heads if head.resource.startswith(f"{kind}/")]

    async def state(self, model: str) -> ModelState:
        """Return a model's head."""
        head = await self._head(model)
        newest = (await self._documents(model, [head.version], head.pins))[0]
        return ModelState(model=model, kind=head.resource.partition("/")[0], state=head.state, head=newest)

    async def versions(self, model: str, limit: int, before: int | None = None) -> list[ModelVersion]:
        """Return the newest ``limit`` versions that are remembered, of those below ``before``, newest first."""
        head = await self._head(model)
        kept = [*range(head.version, head.oldest - 1, -1), *sorted(n for n in head.pins if n < head.oldest)[::-1]]
        numbers = [number for number in kept if before is None or number < before][:limit]
        found = await self._documents(model, numbers, head.pins)
        return [version for version in found if version is not None]

    async def version(self, model: str, number: int) -> ModelVersion:
        """Return one version."""
        head = await self._head(model)
        if number > head.version:
            raise Refused(HTTPStatus.NOT_FOUND, f"{model} has no version {number}; its head is {head.version}")
        found = (await self._documents(model, [number], head.pins))[0]
        if found is None:
            raise Refused(HTTPStatus.GONE, f"version {number} of {model} is forgotten")
        return found

    def _claim(
        self, model: str, request: CommitRequest | RollbackRequest | ArchiveRequest, who: Principal
    ) -> scripts.Claim:
        lease = keys.LeaseId.parse(request.lease_id)
        if lease is None or lease.name != model:
            self._metrics.commits.labels("stale").inc()
            raise Refused(HTTPStatus.PRECONDITION_FAILED, f"lease_id: not a lease of {model}")
        return scripts.Claim(model, request.lease_id, lease, request.token, request.request_id, who)

    def _made(self, model: str, reply: scripts.CommitReply) -> tuple[ModelVersion, bool]:
        self._metrics.losses.inc(reply.lost)
        counted = "repeated" if reply.outcome == "same" else reply.outcome
        self._metrics.commits.labels(counted if counted in COMMIT_OUTCOMES else "refused").inc()
        if reply.outcome not in ("committed", "same"):
            raise _refusal(model, reply.outcome, reply.text, reply.version)
        return ModelVersion.model_validate_json(reply.text), reply.outcome == "committed"

    async def _head(self, model: str) -> _Head:
        found = (await self._heads_of([model]))[0]
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"no version of {model} has been committed")
        return found

    async def _heads(self) -> list[tuple[str, _Head]]:
        members = cast(set[bytes], await self._redis.smembers(keys.MODELS))
        names = sorted(member.decode() for member in members)
        heads = zip(names, await self._heads_of(names), strict=True)
        return [(name, head) for name, head in heads if head is not None]

    async def _heads_of(self, names: Sequence[str]) -> list[_Head | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(keys.head_key(name), "version", "oldest", "resource", "archived")
                pipe.smembers(keys.pins_key(name))
            answers = await pipe.execute()
        return [_Head.of(flat, pins) for flat, pins in zip(answers[::2], answers[1::2], strict=True)]

    async def _documents(self, model: str, numbers: Sequence[int], pins: frozenset[int]) -> list[ModelVersion | None]:
        if not numbers:
            return []
        texts = await self._redis.hmget(keys.versions_key(model), [str(number) for number in numbers])
        return [
            None if text is None else ModelVersion.model_validate_json(text).model_copy(update={"pinned": n in pins})
            for n, text in zip(numbers, texts, strict=True)
        ]


def _document(version: ModelVersion) -> str:
    # Who holds the lease is for the script to say, and whether it is pinned is no part of a version.
    return version.model_dump_json(exclude={"by", "pinned"})


def _refusal(model: str, outcome: str, text: str, head: int = 0) -> Refused:
    extra = {"head": head} if head else {}
    return Refused(_REFUSALS[outcome], f"{model}: {text}", **extra)


def _check_card(request: CommitRequest) -> None:
    """Refuse a card that JSON can't carry to every reader: NaN, lone surrogates, or too large."""
    try:
        size = len(json.dumps(request.card, allow_nan=False, ensure_ascii=False).encode())
    except ValueError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "card: holds a NaN, an infinity or broken text") from error
    if size > CARD_BYTES:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"card: {size} bytes, more than {CARD_BYTES}")
