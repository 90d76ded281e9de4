"""The checker on histories made by hand and by a lease service that keeps its promises."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ptzjepa.verification.checker import check, check_resource
from ptzjepa.verification.history import NEVER, History, Operation, Stored
from ptzjepa.verification.leases import Trial, run
from ptzjepa.verification.linearizability import linearizable
from ptzjepa.verification.planting import excerpt
from ptzjepa.verification.promises import remembered
from ptzjepa.verification.report import Report
from shared.errors import UserError
from shared.leases import Mode

R = "world-model/wm_00_00"


def grant(
    number: int, start: float, end: float, token: int, *, mode: Mode = "exclusive", ttl: float = 10.0
) -> Operation:
    return Operation(
        number, "acquire", (R,), start, end, "ok", request=f"r{number}", mode=mode, ttl=ttl, lease=f"l{token}",
        until=start + ttl, token=token,
    )  # fmt: skip


def use(
    number: int, kind: str, of: Operation, start: float, end: float, outcome: str = "ok", **facts: object
) -> Operation:
    values = {"kind": kind, "number": number, "start": start, "end": end, "outcome": outcome, "request": "", **facts}
    return replace(of, **values)  # type: ignore[arg-type]


def promises(operations: list[Operation]) -> set[str]:
    return {violation.promise for violation in check_resource(R, sorted(operations, key=lambda item: item.start))}


def test_one_after_the_other_is_fine() -> None:
    first = grant(0, 0.0, 1.0, 1)
    second = grant(2, 2.5, 4.0, 2)
    denied = replace(second, number=3, outcome="denied", start=1.5, end=1.8, lease="", token=0, request="r3")
    commit = use(4, "commit", first, 1.1, 1.4, request="c", expected=0, version=1)
    stale = use(5, "commit", first, 5.0, 5.1, "stale", request="d", expected=1)
    assert promises([first, use(1, "release", first, 2.0, 3.0), second, denied, commit, stale]) == set()


def test_readers_share_and_writers_do_not() -> None:
    readers = [grant(number, float(number), number + 0.5, number + 1, mode="shared") for number in range(3)]
    assert promises(readers) == set()
    assert promises([*readers, grant(9, 4.0, 5.0, 9)]) == {"mutual exclusion", "linearizability"}


def test_a_lease_may_run_out_but_not_early() -> None:
    first = grant(0, 0.0, 1.0, 1, ttl=5.0)
    assert promises([first, grant(1, 4.0, 5.5, 2)]) == set(), "it may have been granted at 5.2"
    assert promises([first, grant(1, 3.0, 4.9, 2)]) == {"mutual exclusion", "linearizability"}
    renewed = use(2, "renew", first, 3.0, 3.1, until=8.0)
    assert promises([first, renewed, grant(1, 6.0, 7.0, 2)]) == {"mutual exclusion", "linearizability"}
    assert promises([first, use(2, "renew", first, 2.0, 3.0, "ended")]) == {"no early end", "linearizability"}


def test_an_operation_without_an_answer_may_explain_what_follows() -> None:
    first = grant(0, 0.0, 1.0, 1)
    second = grant(1, 4.0, 5.0, 2)
    lost = use(2, "release", first, 2.0, NEVER, "unknown")
    assert "linearizability" in promises([first, second])
    assert promises([first, second, lost]) == set()


def test_a_denial_needs_a_reason() -> None:
    denied = Operation(0, "acquire", (R,), 1.0, 2.0, "denied", request="a", ttl=1.0)
    assert [found.promise for found in linearizable(R, [denied])] == ["linearizability"]
    waits = Operation(1, "acquire", (R,), 0.5, 3.0, "denied", request="b", ttl=1.0, wait=1.0)
    assert "linearizability" not in {found.operations for found in linearizable(R, [denied, waits])}
    assert linearizable(R, [denied, grant(2, 0.0, 0.5, 1)]) == []


def test_a_second_attempt_may_be_refused_and_the_first_come_late() -> None:
    first = grant(0, 0.0, 1.0, 1)
    refused = Operation(1, "acquire", (R,), 1.5, 1.8, "denied", request="late", ttl=1.0)
    freed = use(2, "release", first, 2.0, 2.5)
    denied = Operation(3, "acquire", (R,), 3.0, 3.5, "denied", request="b", ttl=1.0)
    assert promises([first, refused, freed, denied]) == {"linearizability"}
    assert promises([first, replace(refused, lost=1), freed, denied]) == set()


def test_versions_that_the_registry_lost() -> None:
    first = grant(0, 0.0, 1.0, 1)
    commit = use(1, "commit", first, 1.1, 1.4, request="c", expected=0, version=1)
    assert remembered(R, [first, commit], [Stored(1, 1, "c")]) == []
    for stored in ([], [Stored(1, 1, "other")], [Stored(1, 2, "c")]):
        assert [found.promise for found in remembered(R, [first, commit], stored)] == ["durable heads"]


def test_one_request_never_has_leases_of_two_resources() -> None:
    first = grant(0, 0.0, 1.0, 1)
    other = replace(first, number=1, resources=("world-model/wm_00_01",))
    assert "idempotence" in {found.promise for found in check(History([first, other]))}
    assert "answers" in {found.promise for found in check(History([first], strange=["acquire: HTTP 500"]))}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.floats(0.0, 0.15))
def test_a_service_that_keeps_its_promises_is_never_blamed(seed: int, clients: int, lossy: float) -> None:
    operations = recorded(random.Random(seed), clients, lossy)
    # Of many clients that lose many answers, the search may give up: that blames nobody, and must be said.
    assert all(found.detail.startswith("not decided") for found in check_resource(R, operations))
    assert check_resource(R, excerpt(operations, 40)) == []


def recorded(rng: random.Random, clients: int, lossy: float) -> list[Operation]:
    """Let clients use one resource; each operation takes effect at a moment between its call and its return."""
    moments = sorted((at, client) for client in range(clients) for at in (rng.uniform(0.0, 60.0) for _ in range(30)))
    free = [0.0] * clients
    held: dict[int, Operation] = {}
    live: dict[str, tuple[Operation, float]] = {}
    token = head = 0
    operations: list[Operation] = []
    for number, (at, client) in enumerate(moments):
        before = max(free[client], at - rng.uniform(0.0, 1.0))
        if before >= at:
            continue
        end = free[client] = at + rng.uniform(0.001, 1.0)
        live = {name: entry for name, entry in live.items() if entry[1] > at}
        mine = held.get(client)
        if mine is None:
            mode: Mode = rng.choice(("exclusive", "shared"))
            ttl, request = rng.uniform(1.0, 8.0), f"r{number}"
            made = Operation(number, "acquire", (R,), before, end, "denied", request=request, mode=mode, ttl=ttl)
            if not any("exclusive" in (mode, other.mode) for other, _ in live.values()):
                token += rng.choice((1, 1, 1000))
                made = replace(made, outcome="ok", lease=f"l{token}", token=token, until=before + made.ttl)
                live[made.lease] = made, at + made.ttl
                held[client] = made
        else:
            kind = rng.choice(("renew", "commit", "release", "force"))
            alive = mine.lease in live
            made = use(number, kind, mine, before, end, "ok" if alive else "ended")
            if kind == "commit":
                made = replace(made, request=f"c{number}", expected=head, outcome="stale")
                if alive and mine.mode == "exclusive":
                    head += 1
                    made = replace(made, outcome="ok", version=head)
            elif alive and kind == "renew":
                live[mine.lease] = mine, at + mine.ttl
                made = replace(made, until=before + mine.ttl)
            elif alive:
                del live[mine.lease]
            if kind in ("release", "force"):
                del held[client]
        if rng.random() < lossy and made.kind != "acquire":
            made = replace(made, outcome="unknown", end=NEVER, version=0, until=0.0)
        operations.append(made)
    return sorted(operations, key=lambda item: item.start)


def test_a_small_trial_of_the_real_broker(tmp_path: Path) -> None:
    """Some seconds of what ``ptzjepa verify leases`` does for minutes."""
    path = tmp_path / "result.json"
    said = io.StringIO()
    code = run(Trial(2500, 2.0, path, seed=1), Console(file=said, width=120))
    document = json.loads(path.read_text())
    assert document["violations"] == []
    assert document["operations"] >= 2500
    assert document["faults"] > 0
    assert all(entry["caught"] == entry["planted"] > 0 for entry in document["planted"].values()), document["planted"]
    assert document["planted_caught"]
    assert code == 0
    assert "all 65 planted violations were seen" in said.getvalue()


def test_a_result_that_cannot_be_written_is_said_before_the_trial(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its folder does not exist"):
        run(Trial(10, 0.1, tmp_path / "nowhere" / "x.json"), Console())


def test_a_broken_promise_is_reported_with_its_operations() -> None:
    history = History([grant(0, 0.0, 1.0, 1), grant(1, 2.0, 3.0, 2)])
    report = Report(history, check(history), [], {}, 2, 1.0, 0, False, {})
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert document["violation_count"] == 2
    assert {item["number"] for item in document["violations"][0]["operations"]} == {0, 1}
    assert "BROKEN mutual exclusion" in report.summary()
    assert not report.good
