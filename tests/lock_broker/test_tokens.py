"""Tokens and their file, and the rate limit: the arithmetic and the parser."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lock_broker import rate
from lock_broker.principals import DEFAULT, Principal, Role, needed
from lock_broker.rate import RateLimit
from lock_broker.tokens import Tokens, line, parse
from shared.errors import UserError

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True).filter(lambda n: n not in ("default", "anonymous"))
ROLES: tuple[Role, ...] = ("reader", "worker", "admin")


@settings(max_examples=40)
@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(ROLES), st.text("abcXYZ019-_", min_size=1)), max_size=5))
def test_the_file_says_what_was_written(entries: dict[str, tuple[Role, str]]) -> None:
    tokens = {token: (name, role) for name, (role, token) in entries.items()}
    text = "# principals\n\n" + "".join(
        f"  {line(name, role, token)}  # {name}\n" for token, (name, role) in tokens.items()
    )
    assert sorted((who.name, who.role) for who in parse(text).values()) == sorted(tokens.values())


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(UserError):
        parse(text)


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blade worker", "line 1"),
        (f"\nblade owner {DIGEST}", "line 2: there is no role 'owner'"),
        (f"Blade worker {DIGEST}", "line 1"),
        (f"default worker {DIGEST}", "default"),
        (f"a worker {DIGEST}\nb worker {DIGEST}", "line 2: this token"),
        (f"a worker {DIGEST}\na admin {'cd' * 32}", "line 2: a has another role"),
    ],
)
def test_wrong_lines_are_named(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        parse(text)
    assert DIGEST not in str(caught.value)


def test_who_bears_what(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{line('blade', 'worker', 'one')}\n{line('blade', 'worker', 'two')}\n")
    tokens = Tokens(shared="all", file=file)
    blade = Principal("blade", "worker")
    for header, who in {
        b"Bearer one": blade,
        b"bearer  two": blade,
        b"Bearer all": DEFAULT,
        b"Basic one": None,
        b"Bearer": None,
        b"Bearer onE": None,
        b"one": None,
        b"": None,
        b"Bearer \xff": None,
    }.items():
        assert tokens.bearer(header) == who, header
    assert tokens.principals == 2
    assert Tokens().bearer(b"Bearer " + bytes(32)) is None


def test_a_changed_file_counts_and_a_bad_one_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    file.write_text(line("a", "reader", "one"))
    tokens = Tokens(file=file)

    def write(text: str) -> None:
        replacement = tmp_path / "new"
        replacement.write_text(text)
        os.replace(replacement, file)  # noqa: PTH105 - as a secret's update does
        tokens.refresh()

    write(line("a", "reader", "two"))
    assert (tokens.bearer(b"Bearer one"), tokens.bearer(b"Bearer two")) == (None, Principal("a", "reader"))
    capsys.readouterr()
    write("nonsense")
    tokens.refresh()
    assert capsys.readouterr().out.count("not taken") == 1
    assert tokens.bearer(b"Bearer two")
    file.unlink()
    tokens.refresh()
    assert tokens.bearer(b"Bearer two")
    write("# nobody\n")
    assert tokens.bearer(b"Bearer two") is None, "an empty file shuts everybody out"
    assert tokens.required


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "away", "No such file"), (tmp_path, "directory")):
        with pytest.raises(UserError, match=words):
            Tokens(file=path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    for name, words in (("binary", "not a text file"), ("large", "larger")):
        with pytest.raises(UserError, match=words):
            Tokens(file=tmp_path / name)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/v1/leases", "reader"),
        ("HEAD", "/v1/models", "reader"),
        ("POST", "/v1/leases", "worker"),
        ("DELETE", "/v1/leases/x", "worker"),
        ("PUT", "/v1/models/x/versions/1/pin", "worker"),
        ("POST", "/v1/leases/x/force-release", "admin"),
        ("POST", "/v1/models/x/restore", "admin"),
        ("BREW", "/v1/leases", "worker"),
    ],
)
def test_roles(method: str, path: str, role: Role) -> None:
    assert needed(method, path) == role
    assert [Principal("x", held).may(role) for held in ROLES] == [
        ROLES.index(held) >= ROLES.index(role) for held in ROLES
    ]


class Hand:
    """A clock turned by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.floats(0.1, 50.0),
    burst=st.floats(1.0, 20.0),
    steps=st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from("ab")), max_size=80),
)
def test_nobody_gets_more_than_the_bucket_and_its_stream(
    rate: float, burst: float, steps: list[tuple[float, str]]
) -> None:
    clock = Hand()
    limit = RateLimit(rate, burst, clock=clock)
    passed: dict[str, list[float]] = {"a": [], "b": []}
    for pause, key in steps:
        clock.now += pause
        wait = limit.take(key)
        if wait == 0.0:
            passed[key].append(clock.now)
        else:
            assert 0.0 < wait <= 1.0 / rate + 1e-9
    for times in passed.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-6
    # Whoever waits as long as told passes, whatever was before.
    wait = limit.take("a")
    clock.now += wait + 1e-6
    assert wait == 0.0 or limit.take("a") == 0.0


def test_buckets_are_bounded_and_zero_limits_nobody() -> None:
    limit = RateLimit(1.0, 1.0)
    for number in range(rate.MOST_KEYS + 100):
        limit.take(str(number))
    assert len(limit) == rate.MOST_KEYS
    free = RateLimit(0.0, 1.0)
    assert {free.take("a") for _ in range(100)} == {0.0}
    assert len(free) == 0


def test_log_lines_hold_no_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(json.dumps({"token": "s3cret"}))
    assert "s3cret" not in str(caught.value) + capsys.readouterr().out
