"""Proves the checker: histories that were recorded, each with one violation planted in it, must all be caught."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ptzjepa.verification.checker import check_resource
from ptzjepa.verification.history import NEVER, History, Operation, accepted, grants
from ptzjepa.verification.promises import remembered, surely_held

EXCERPT = 500
"""Operations of one resource that a violation is planted in."""
TRIALS = 5
"""Places in which each kind is planted."""

Operations = list[Operation]
Plant = Callable[[Operations, random.Random], Operations | None]
"""Returns the operations with a violation in them; None where there is no place for it."""


@dataclass(frozen=True)
class Planted:
    """What came of planting one kind."""

    kind: str
    planted: int
    caught: int


def _moment(operations: Operations, rng: random.Random, mode: str = "") -> tuple[Operation, float, float] | None:
    """Find a lease that is surely held, and for how long."""
    spans = [
        (grant, grant.end, until)
        for grant, until in surely_held(operations)
        if until - grant.end > 0.002 and mode in ("", grant.mode)
    ]
    return rng.choice(spans) if spans else None


def _another(grant: Operation, begin: float, until: float, **changes: object) -> Operation:
    """Make the grant of another lease, wholly within a span."""
    step = (until - begin) / 4.0
    values: dict[str, object] = {
        "number": 1_000_000_000,
        "start": begin + step,
        "end": begin + 2.0 * step,
        "request": "planted-request",
        "lease": "planted~lease",
        "token": grant.token + 1,
        "until": until,
        "lost": 0,
        "wait": 0.0,
        **changes,
    }
    return replace(grant, **values)  # type: ignore[arg-type]


def double_grant(operations: Operations, rng: random.Random) -> Operations | None:
    """Two hold it exclusively."""
    place = _moment(operations, rng, "exclusive")
    return place and [*operations, _another(*place)]


def shared_beside_exclusive(operations: Operations, rng: random.Random) -> Operations | None:
    """A reader gets in beside a writer."""
    place = _moment(operations, rng, "exclusive")
    return place and [*operations, _another(*place, mode="shared")]


def exclusive_beside_shared(operations: Operations, rng: random.Random) -> Operations | None:
    """A writer gets in beside a reader."""
    place = _moment(operations, rng, "shared")
    return place and [*operations, _another(*place, mode="exclusive")]


def _two_grants(operations: Operations, rng: random.Random) -> tuple[Operation, Operation] | None:
    """Find two leases of which one was granted before the other was asked for."""
    granted = sorted(grants(operations), key=lambda item: item.start)
    pairs = [(a, b) for a, b in itertools.pairwise(granted) if a.end < b.start]
    return rng.choice(pairs) if pairs else None


def _with_token(operations: Operations, grant: Operation, token: int) -> Operations:
    """Give a lease another token, everywhere."""
    return [replace(item, token=token) if item.lease == grant.lease else item for item in operations]


def token_reuse(operations: Operations, rng: random.Random) -> Operations | None:
    """The next lease gets the same token."""
    pair = _two_grants(operations, rng)
    return pair and _with_token(operations, pair[1], pair[0].token)


def token_going_back(operations: Operations, rng: random.Random) -> Operations | None:
    """The next lease gets a smaller token."""
    pair = _two_grants(operations, rng)
    return pair and _with_token(operations, pair[1], pair[0].token - 1)


def tokens_anew(operations: Operations, rng: random.Random) -> Operations | None:
    """From some lease on tokens begin at 1 again, as after a restart that forgot the fence."""
    pair = _two_grants(operations, rng)
    if pair is None:
        return None
    base = pair[1].token - 1
    later = {item.lease for item in grants(operations) if item.token >= pair[1].token}
    return [replace(item, token=item.token - base) if item.lease in later else item for item in operations]


def stale_commit(operations: Operations, rng: random.Random) -> Operations | None:
    """A refused commit under a lease that another has succeeded is accepted."""
    newest: list[Operation] = []
    for item in sorted(operations, key=lambda item: item.start):
        later = [grant for grant in grants(operations) if grant.mode == "exclusive" and grant.end < item.start]
        refused = item.kind == "commit" and item.outcome in ("stale", "ended") and not item.lost
        if refused and any(grant.token > item.token for grant in later):
            newest.append(item)
    if not newest:
        return None
    chosen = rng.choice(newest)
    head = max((item.version for item in accepted(operations) if item.end < chosen.start), default=0)
    return [
        replace(item, outcome="ok", expected=head, version=head + 1, lost=0) if item is chosen else item
        for item in operations
    ]


def lost_update(operations: Operations, rng: random.Random) -> Operations | None:
    """Two commits make the same version: the second has overwritten the first."""
    made = sorted(accepted(operations), key=lambda item: item.version)
    if len(made) < 2:
        return None
    place = rng.randrange(1, len(made))
    before = made[place - 1]
    return [
        replace(item, expected=before.expected, version=before.version) if item.request == made[place].request else item
        for item in operations
    ]


def forgotten_version(operations: Operations, rng: random.Random) -> Operations | None:
    """The chain has a hole: a version that nobody made."""
    open_ends = {item.expected + 1 for item in operations if item.kind == "commit" and (item.lost or item.end == NEVER)}
    made = [item.version for item in accepted(operations) if item.version not in open_ends]
    if not made:
        return None
    start = rng.choice(made)
    return [
        replace(item, expected=item.expected + 1, version=item.version + 1)
        if item.kind == "commit" and item.outcome == "ok" and item.version >= start
        else item
        for item in operations
    ]


def two_leases_for_a_request(operations: Operations, rng: random.Random) -> Operations | None:
    """A request that was given its lease is given another when it comes again."""
    granted = grants(operations)
    if not granted:
        return None
    grant = rng.choice(granted)
    newest = max(item.token for item in granted)
    end = max((item.end for item in operations if item.end < NEVER), default=0.0) + 3600.0
    again = _another(grant, end, end + 1.0, request=grant.request, token=newest + 1)
    return [*operations, again]


def early_end(operations: Operations, rng: random.Random) -> Operations | None:
    """A holder is told before its time that its lease is over."""
    place = _moment(operations, rng)
    if place is None:
        return None
    grant, begin, until = place
    step = (until - begin) / 4.0
    told = _another(
        grant, begin, until, kind="renew", outcome="ended", lease=grant.lease, token=grant.token, request=""
    )
    return [*operations, replace(told, start=begin + step, end=begin + 2.0 * step)]


def life_after_release(operations: Operations, rng: random.Random) -> Operations | None:
    """A lease that was given back, or taken away, is renewed."""
    ended = [item for item in operations if item.kind in ("release", "force") and item.outcome == "ok"]
    if not ended:
        return None
    item = rng.choice(ended)
    renewed = replace(
        item, number=1_000_000_000, kind="renew", start=item.end + 0.001, end=item.end + 0.002, ttl=1.0, lost=0
    )
    return [*operations, renewed]


PLANTS: tuple[Plant, ...] = (
    double_grant,
    shared_beside_exclusive,
    exclusive_beside_shared,
    token_reuse,
    token_going_back,
    tokens_anew,
    stale_commit,
    lost_update,
    forgotten_version,
    two_leases_for_a_request,
    early_end,
    life_after_release,
)


def plant_all(history: History, seed: int) -> list[Planted]:
    """Plant every kind into excerpts of the history, and let the checker look for it.

    Only excerpts in which the checker finds nothing as they are serve: else the catch would prove nothing.
    """
    rng = random.Random(seed)
    excerpts = [(name, excerpt(items)) for name, items in sorted(history.by_resource().items())]
    sound = [(name, items) for name, items in excerpts if not check_resource(name, items)]
    return [_try(plant, sound, rng) for plant in PLANTS] + [_lost_from_the_registry(history, rng)]


def excerpt(operations: Sequence[Operation], most: int = EXCERPT) -> Operations:
    """Return the first operations of a resource; one that had not returned when they end is one without an answer."""
    first = list(operations[:most])
    until = operations[most].start if len(operations) > most else NEVER
    return [item if item.end < until else replace(item, end=NEVER, outcome="unknown") for item in first]


def _try(plant: Plant, excerpts: Sequence[tuple[str, Operations]], rng: random.Random) -> Planted:
    planted = caught = 0
    for name, operations in rng.sample(excerpts, len(excerpts)):
        if planted == TRIALS:
            break
        spoilt = plant(operations, rng)
        if spoilt is not None:
            planted += 1
            caught += bool(check_resource(name, sorted(spoilt, key=lambda item: item.start)))
    return Planted(plant.__name__.replace("_", " "), planted, caught)


def _lost_from_the_registry(history: History, rng: random.Random) -> Planted:
    """An accepted version is not there at the end, or somebody else's is there in its place."""
    planted = caught = 0
    operations = history.by_resource()
    for resource, stored in sorted(history.heads.items()):
        if planted == TRIALS or not stored or remembered(resource, operations.get(resource, []), stored):
            continue
        made = [item.version for item in accepted(operations.get(resource, [])) if item.version > stored[0].version]
        if not made:
            continue
        victim = rng.choice(made)
        changed = [item for item in stored if item.version != victim]
        planted += 1
        caught += bool(remembered(resource, operations[resource], changed))
    return Planted("version lost from the registry", planted, caught)
