"""The broker's promises, each checked by itself on one resource's operations: simple, and quick on any length.

A lease is *surely held* from the return of its grant until its first release or force is called, or until the life
that the grant's or a renewal's answer promised is over. What overlaps that, or denies it, breaks a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ptzjepa.verification.history import NEVER, Operation, Stored, Violation, accepted, grants, of_lease

Check = Callable[[str, Sequence[Operation]], list[Violation]]


def surely_held(operations: Sequence[Operation]) -> list[tuple[Operation, float]]:
    """Return every lease with the moment until which it was surely held, in the order of the grants."""
    after = of_lease(operations)
    spans = [(grant, _sure_until(grant, after.get(grant.lease, []))) for grant in grants(operations)]
    return sorted(spans, key=lambda span: span[0].end)


def mutual_exclusion(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """Nobody holds a lease beside an exclusive one."""
    found: list[Violation] = []
    active: list[tuple[float, Operation]] = []
    for grant, until in surely_held(operations):
        active = [(end, other) for end, other in active if end > grant.end]
        if until <= grant.end:
            continue
        for _, other in active:
            if "exclusive" in (grant.mode, other.mode):
                detail = f"{_name(grant)} beside {_name(other)}"
                found.append(Violation("mutual exclusion", resource, detail, (other.number, grant.number)))
        active.append((until, grant))
    return found


def growing_tokens(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """A lease granted after another was has a greater token; no two leases have the same."""
    granted = grants(operations)
    found, newest = [], 0
    ended = sorted(granted, key=lambda item: item.end)
    place = 0
    for grant in sorted(granted, key=lambda item: item.start):
        while place < len(ended) and ended[place].end < grant.start:
            newest = max(newest, ended[place].token)
            place += 1
        if grant.token <= newest:
            detail = f"{_name(grant)} after token {newest} had been given out"
            found.append(Violation("growing tokens", resource, detail, (grant.number,)))
    seen: dict[int, Operation] = {}
    for grant in granted:
        other = seen.setdefault(grant.token, grant)
        if other is not grant:
            detail = f"{_name(grant)} and {_name(other)}"
            found.append(Violation("unique tokens", resource, detail, (other.number, grant.number)))
    return found


def one_lease_a_request(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """The same request never makes a second lease, nor a second version."""
    found = []
    made: dict[tuple[str, str], tuple[str, Operation]] = {}
    for operation in operations:
        if operation.outcome != "ok" or not operation.request:
            continue
        what = operation.lease if operation.kind == "acquire" else str(operation.version)
        first, other = made.setdefault((operation.kind, operation.request), (what, operation))
        if first != what:
            detail = f"request {operation.request} made {first} and {what}"
            found.append(Violation("idempotence", resource, detail, (other.number, operation.number)))
    return found


def chain_of_heads(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """Accepted commits make versions 1, 2, 3 …, each from its forerunner, with tokens that never go back."""
    found: list[Violation] = []
    by_version: dict[int, Operation] = {}
    open_ends = {item.expected + 1 for item in operations if item.kind == "commit" and (item.lost or item.end == NEVER)}
    for commit in accepted(operations):
        other = by_version.setdefault(commit.version, commit)
        if other.request != commit.request:
            detail = f"version {commit.version} was made twice"
            found.append(Violation("chain of heads", resource, detail, (other.number, commit.number)))
        if commit.version != commit.expected + 1:
            detail = f"version {commit.version} was made from {commit.expected}"
            found.append(Violation("chain of heads", resource, detail, (commit.number,)))
    newest, before = 0, None
    for version, commit in sorted(by_version.items()):
        missing = [number for number in range(newest + 1, version) if number not in open_ends]
        if missing:
            found.append(Violation("chain of heads", resource, f"nobody made version {missing[0]}", (commit.number,)))
        if before is not None and commit.token < before.token:
            detail = f"version {version} has token {commit.token}, version {newest} had {before.token}"
            found.append(Violation("fenced commits", resource, detail, (before.number, commit.number)))
        if before is not None and commit.end < before.start:
            detail = f"version {version} was there before version {newest} was asked for"
            found.append(Violation("chain of heads", resource, detail, (before.number, commit.number)))
        newest, before = version, commit
    return found


def stale_commits(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """No commit is accepted under a token older than an exclusive lease that was granted before the commit's call."""
    found, newest, place = [], 0, 0
    granted = sorted((item for item in grants(operations) if item.mode == "exclusive"), key=lambda item: item.end)
    for commit in sorted(accepted(operations), key=lambda item: item.start):
        while place < len(granted) and granted[place].end < commit.start:
            newest = max(newest, granted[place].token)
            place += 1
        if commit.token < newest:
            detail = f"version {commit.version} was accepted with token {commit.token} after {newest} was given out"
            found.append(Violation("fenced commits", resource, detail, (commit.number,)))
    return found


def whole_lives(resource: str, operations: Sequence[Operation]) -> list[Violation]:
    """A lease does not end before its time, and does nothing after its end."""
    found = []
    after = of_lease(operations)
    for grant in grants(operations):
        uses = after.get(grant.lease, [])
        ends = [item for item in uses if item.kind in ("release", "force")]
        first_end = min((item.start for item in ends), default=NEVER)
        over = min((item.end for item in ends if item.outcome == "ok"), default=NEVER)
        for use in uses:
            if use.kind not in ("renew", "commit") or (use.kind == "commit" and grant.mode == "shared"):
                continue
            if use.outcome == "ok" and use.start > over:
                found.append(Violation("ended is ended", resource, f"{use.kind} under {_name(grant)}", (use.number,)))
            sure = _life(grant, [item for item in uses if item.end < use.start])
            if use.outcome in ("ended", "stale") and use.token == grant.token and use.end < min(first_end, sure):
                detail = f"{_name(grant)} was called over {sure - use.end:.3f} s early"
                found.append(Violation("no early end", resource, detail, (grant.number, use.number)))
    return found


PROMISES: tuple[Check, ...] = (
    mutual_exclusion,
    growing_tokens,
    one_lease_a_request,
    chain_of_heads,
    stale_commits,
    whole_lives,
)


def remembered(resource: str, operations: Sequence[Operation], stored: Sequence[Stored]) -> list[Violation]:
    """Every accepted commit is in the registry at the end, as it was accepted."""
    kept = {item.version: item for item in stored}
    found = []
    for commit in accepted(operations):
        if kept and commit.version < min(kept):
            continue  # the registry remembers only so many
        version = kept.get(commit.version)
        if version is None or (version.token, version.request) != (commit.token, commit.request):
            detail = f"version {commit.version} was accepted, the registry has {version}"
            found.append(Violation("durable heads", resource, detail, (commit.number,)))
    return found


def _life(grant: Operation, uses: Sequence[Operation]) -> float:
    renewed = (item.until for item in uses if item.kind == "renew" and item.outcome == "ok")
    return max((grant.until, *renewed))


def _sure_until(grant: Operation, uses: Sequence[Operation]) -> float:
    ends = (item.start for item in uses if item.kind in ("release", "force"))
    return min((_life(grant, uses), *ends))


def _name(grant: Operation) -> str:
    return f"{grant.mode} lease {grant.lease}"
