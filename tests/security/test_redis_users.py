"""Every service does its whole work under its own Redis user, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lock_broker import keys, scripts
from shared.messages import Command, DreamBatch, Message, StreamName, Surprise, TrainingProgress, View
from shared.pose import Pose, PoseLimits
from shared.redis_client import REDIS_AWAY, RedisClients, ResponseError
from shared.settings import ServiceSettings
from shared.streams import DEAD_SUFFIX, Consumer, Follower, look_back, publish
from tests.security.guarded import MAKER, NAMES, GuardedRedis, make_secrets, password_file
from tests.support import REPOSITORY

VIEWS, COMMANDS, SURPRISE = (kind("north") for kind in (StreamName.views, StreamName.commands, StreamName.surprise))
LEASE = keys.resource_key("world-model/wm_00_00")
HEAD = keys.head_key("wm_00_00")
SERVICES = NAMES[:5]


def servers() -> list[str | None]:
    """The embedded server, and Redis of the distribution where it is installed: an older relative."""
    found = shutil.which("redis-server")
    return [None, found] if found else [None]


@pytest.fixture(scope="module", params=servers(), ids=lambda binary: "redis-server" if binary else "embedded")
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    server = GuardedRedis(Path(tmp_path_factory.mktemp("r")), binary=request.param)
    server.start()
    yield server
    server.kill()


ALLOWED: list[tuple[str, str]] = [
    ("camera-sampler", f"XADD {VIEWS} MAXLEN ~ 8192 * message x jpeg y"),
    ("camera-sampler", f"XREVRANGE {VIEWS} + - COUNT 64"),
    ("camera-sampler", f"XREAD BLOCK 1000 STREAMS {COMMANDS} 0-0"),
    ("camera-sampler", f"XREVRANGE {SURPRISE} + - COUNT 64"),
    ("world-model-trainer", f"XREVRANGE {VIEWS} + - COUNT 64"),
    ("world-model-trainer", f"XADD {SURPRISE} * message x"),
    ("world-model-trainer", f"XADD {StreamName.PROGRESS} * message x"),
    ("dream-generator", f"XREAD BLOCK 1000 STREAMS {SURPRISE} 0-0"),
    ("dream-generator", f"XREVRANGE {StreamName.DREAMS} + - COUNT 64"),
    ("dream-generator", f"XINFO GROUPS {StreamName.DREAMS}"),
    ("dream-generator", f"XRANGE {StreamName.DREAMS} (0-0 + COUNT 8"),
    ("dream-generator", f"XLEN {StreamName.DREAMS}"),
    ("dream-generator", f"XADD {StreamName.DREAMS} * message x"),
    ("rl-agent", f"XREAD BLOCK 1000 STREAMS {VIEWS} 0-0"),
    ("rl-agent", f"XADD {COMMANDS} * message x"),
    ("rl-agent", f"XADD {StreamName.PROGRESS} * message x"),
    ("lock-broker", f"XRANGE {keys.EVENTS} - + COUNT 10"),
    ("lock-broker", f"SUBSCRIBE {keys.FREE}"),
    ("lock-broker", "INFO server"),
    ("operator", f"XREAD STREAMS {VIEWS} 0-0"),
    ("operator", f"XREVRANGE {StreamName.DREAMS} + - COUNT 1"),
    ("operator", "INFO server"),
    # What KEDA asks to scale dream generators.
    ("operator", f"XINFO GROUPS {StreamName.DREAMS}"),
    ("operator", f"XPENDING {StreamName.DREAMS} rl-agent"),
    ("health", "PING"),
    ("admin", "FLUSHALL"),
    *((name, "PING") for name in SERVICES),
]
SERVERS_OWN = [
    *(
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "CONFIG SET dir /",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "MONITOR",
        "DEBUG SLEEP 0",
    ),
    *("SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER default on nopass", "CLIENT LIST", "CLIENT KILL TYPE normal", "SAVE"),
    *("REPLICAOF example.org 6379", "MODULE LIST", "FUNCTION LIST", "SCRIPT FLUSH", "SWAPDB 0 1", "SELECT 1"),
    *(f"DEL {VIEWS}", f"XTRIM {VIEWS} MAXLEN 0", f"RENAME {VIEWS} x", f"XGROUP DESTROY {VIEWS} dream-generator"),
    *("SET elsewhere 1", "GET elsewhere", "XADD elsewhere * a b"),
]
REFUSED: list[tuple[str, str]] = [
    # Leases and heads are the broker's.
    *(
        (name, command)
        for name in NAMES
        if name not in ("lock-broker", "admin")
        for command in (
            f"HGET {LEASE} document",
            f"HSET {HEAD} version 7",
            f"HMGET {HEAD} version",
            f"SET {keys.fence_key('agent/ag_00_00')} 1",
            f"DEL {HEAD}",
            f"XRANGE {keys.EVENTS} - +",
            f"XREAD STREAMS {keys.EVENTS} 0",
            f"XADD {keys.EVENTS} * event stolen",
            f"SUBSCRIBE {keys.FREE}",
            f"PUBLISH {keys.FREE} x",
            f"EVAL return 0 {LEASE}",
        )
    ),
    # The server's own business is nobody's but the admin's.
    *((name, command) for name in NAMES if name != "admin" for command in SERVERS_OWN),
    ("camera-sampler", f"XADD {COMMANDS} * message x"),
    ("camera-sampler", f"XADD {SURPRISE} * message x"),
    ("camera-sampler", f"XREAD STREAMS {StreamName.DREAMS} 0"),
    ("camera-sampler", f"XREADGROUP GROUP dream-generator x STREAMS {VIEWS} >"),
    ("world-model-trainer", f"XADD {VIEWS} * message x"),
    ("world-model-trainer", f"XADD {COMMANDS} * message x"),
    ("world-model-trainer", f"XADD {StreamName.DREAMS} * message x"),
    ("world-model-trainer", f"SET ptz:done:{VIEWS}:dream-generator:1 1"),
    ("dream-generator", f"XADD {VIEWS} * message x"),
    ("dream-generator", f"XADD {COMMANDS} * message x"),
    ("dream-generator", f"XADD {SURPRISE} * message x"),
    ("dream-generator", f"XACK {StreamName.DREAMS} rl-agent 1-1"),
    ("rl-agent", f"XADD {VIEWS} * message x"),
    ("rl-agent", f"XADD {StreamName.DREAMS} * message x"),
    ("rl-agent", f"XADD {SURPRISE} * message x"),
    ("lock-broker", f"XADD {VIEWS} * message x"),
    ("lock-broker", f"XREVRANGE {VIEWS} + -"),
    ("lock-broker", f"XREAD STREAMS {COMMANDS} 0"),
    ("operator", f"XADD {VIEWS} * message x"),
    ("operator", f"XACK {VIEWS} dream-generator 1-1"),
    ("health", f"XREVRANGE {VIEWS} + -"),
    ("health", "INFO server"),
]


async def verdicts(guarded: GuardedRedis, cases: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """What the server itself says: user, command, OK or the reason."""
    admin = guarded.clients("admin").commands
    async with admin.pipeline(transaction=False) as pipe:
        for user, command in cases:
            # EVAL's keys are counted; "return 0 KEY" stands for a script of one word.
            words = ["EVAL", "return", "1", command.split()[-1]] if command.startswith("EVAL") else command.split()
            pipe.execute_command("ACL", "DRYRUN", user, *words)
        answers = await pipe.execute(raise_on_error=False)
    await admin.aclose()
    texts = [answer.decode() if isinstance(answer, bytes) else str(answer) for answer in answers]
    return [(user, command, text) for (user, command), text in zip(cases, texts, strict=True)]


async def test_each_user_may_do_its_work(guarded: GuardedRedis) -> None:
    assert [case for case in await verdicts(guarded, ALLOWED) if case[2] != "OK"] == []


async def test_no_user_may_do_anything_else(guarded: GuardedRedis) -> None:
    answers = await verdicts(guarded, REFUSED)
    assert [case[:2] for case in answers if "has no permissions" not in case[2]] == []


@pytest.mark.parametrize("binary", servers(), ids=lambda binary: "redis-server" if binary else "embedded")
def test_what_was_written_is_there_after_a_kill(binary: str | None, short_dir: Path) -> None:
    """Redis 7 reads its append-only file as the user without a name, and drops transactions that this may not do."""
    server = GuardedRedis(short_dir, binary=binary)
    server.start()
    try:
        two = "redis.call('HSET', KEYS[1], 'x', 'a') return redis.call('HSET', KEYS[2], 'x', 'b')"
        assert asyncio.run(server.ask("lock-broker", "EVAL", two, 2, HEAD, LEASE)) == 1
        server.kill()
        server.start()
        assert [asyncio.run(server.ask("lock-broker", "HGET", key, "x")) for key in (HEAD, LEASE)] == ["a", "b"]
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("default", "x"), ("camera-sampler", "x"), ("nobody", "x")]
)
async def test_who_has_no_name_or_a_wrong_password_stays_out(
    guarded: GuardedRedis, user: str | None, password: str | None
) -> None:
    secret = SecretStr(password) if password else None
    clients = RedisClients.from_settings(ServiceSettings(redis_url=guarded.url, redis_user=user, redis_password=secret))
    # For a service this is a Redis that is away: it waits, and says in /readyz what for.
    with pytest.raises(REDIS_AWAY, match=r"Authentication required|invalid username-password"):
        await clients.commands.ping()
    await clients.aclose()


async def test_refusals_are_real(guarded: GuardedRedis) -> None:
    """What the dry run says is what happens."""
    for user, command in (
        ("camera-sampler", ("HGETALL", LEASE)),
        ("rl-agent", ("HSET", HEAD, "version", 9)),
        ("operator", ("FLUSHALL",)),
        ("world-model-trainer", ("EVAL", f"return redis.call('HGETALL', '{LEASE}')", 0)),
        ("lock-broker", ("EVAL", f"return redis.call('DEL', '{VIEWS}')", 0)),
    ):
        with pytest.raises(ResponseError, match=r"no permissions|ACL failure|executing the script can't"):
            await guarded.ask(user, *command)
    await guarded.forget_refusals()


async def test_every_command_of_the_brokers_scripts_is_allowed(guarded: GuardedRedis) -> None:
    text = "".join(path.read_text() for path in Path(scripts.__file__).parent.glob("*.lua"))
    # `redis.call(busy and 'SADD' or 'SREM', …)` names two.
    calls = re.findall(r"redis\.call\(([^,]+),", text)
    used = {name for call in calls for name in re.findall(r"'([A-Z]+)'", call)}
    assert {"HSET", "INCR", "SADD", "SREM", "PUBLISH", "XADD"} <= used
    examples = {"PUBLISH": keys.FREE, "XADD": f"{keys.EVENTS} * a b"}
    cases = [("lock-broker", f"{name} {examples.get(name, LEASE + ' 1 1')}") for name in sorted(used)]
    answers = await verdicts(guarded, cases)
    # A wrong number of arguments is a matter of the example, not of rights.
    assert [case for case in answers if "no permissions" in case[2]] == []


def a_view(step: int) -> View:
    return View(
        camera="north",
        pose=Pose(pan=0.0, tilt=0.0),
        pose_before=Pose(pan=0.0, tilt=0.0),
        captured_at="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        episode="e",
        step=step,
        limits=PoseLimits(),
        policy="walk",
        width=8,
        height=8,
    )


def a_batch(number: int) -> DreamBatch:
    return DreamBatch(
        address=f"dreams/{number}", sha256="0" * 64, size=1, dreams=1, length=1, camera="north", world_model="wm_00_00",
        world_model_version=1, agent="ag_00_00", policy_version=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("user", "stream", "group", "kind"),
    [
        ("world-model-trainer", VIEWS, "world-model-trainer.wm_00_00", View),
        ("dream-generator", VIEWS, "dream-generator", View),
        ("rl-agent", StreamName.DREAMS, "rl-agent", DreamBatch),
    ],
)
async def test_a_consumer_may_do_all_that_consumers_do(
    guarded: GuardedRedis, user: str, stream: str, group: str, kind: type[Message]
) -> None:
    """Groups made, entries claimed, poison and what cannot be read buried, duplicates passed over."""
    await guarded.ask("admin", "FLUSHALL")
    await guarded.forget_refusals()
    admin, clients = guarded.clients("admin"), guarded.clients(user)
    consumer = Consumer(clients, stream, kind, group=group, name="one", min_idle_ms=1, max_deliveries=2)
    await consumer.create_group()
    assert await consumer.delivered_until() == "0-0"
    make = a_view if kind is View else a_batch
    messages = [make(number) for number in range(4)]
    for message in messages:
        await publish(admin.commands, stream, message, max_length=100)
    await publish(admin.commands, stream, messages[0], max_length=100)
    await admin.commands.xadd(stream, {b"nonsense": b"1"})
    received = await consumer.read(block_ms=100)
    assert [item.message for item in received] == messages
    await consumer.done(received[:1])
    await consumer.reject(received[1], "not wanted")
    for number in range(3):
        # Another member takes over what the one before left, until it counts as poison.
        await asyncio.sleep(0.01)
        other = Consumer(clients, stream, kind, group=group, name=f"other-{number}", min_idle_ms=1, max_deliveries=2)
        await other.read(block_ms=100)
    assert await admin.commands.xlen(stream + DEAD_SUFFIX) == 4
    assert await guarded.refusals() == []
    for each in (admin, clients):
        await each.aclose()


async def test_the_operator_may_watch(guarded: GuardedRedis) -> None:
    await guarded.forget_refusals()
    admin, operator = guarded.clients("admin"), guarded.clients("operator")
    await publish(admin.commands, VIEWS, a_view(1), max_length=100)
    for stream, kind in (
        (VIEWS, View),
        (SURPRISE, Surprise),
        (StreamName.PROGRESS, TrainingProgress),
        (COMMANDS, Command),
    ):
        await Follower(operator, stream, kind).read(block_ms=10)
        await look_back(operator.commands, stream, kind, 3)
    assert await guarded.refusals() == []
    await asyncio.gather(admin.aclose(), operator.aclose())


def test_no_password_is_in_the_file(tmp_path: Path) -> None:
    users = make_secrets(tmp_path).read_text()
    for name in NAMES:
        assert password_file(tmp_path, name).read_text().strip() not in users
        assert re.search(rf"^user {name} on #[0-9a-f]{{64}} ", users, flags=re.MULTILINE)
    assert users.startswith("user default off resetpass ~* &* +@all\n")
    assert users.count("\n") == len(NAMES) + 1


def test_own_lines_are_added_and_a_missing_password_is_told(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    (tmp_path / "redis_more_users").write_text("user edge-7 on #00 +ping")
    made = subprocess.run([sys.executable, MAKER, tmp_path], capture_output=True, text=True, check=True)
    assert made.stdout.endswith("\nuser edge-7 on #00 +ping\n")
    for spoil, says in ((lambda file: file.write_text("\n"), "is empty"), (lambda file: file.unlink(), "No such file")):
        spoil(password_file(tmp_path, "rl-agent"))
        made = subprocess.run([sys.executable, MAKER, tmp_path], capture_output=True, text=True)
        assert made.returncode == 2
        assert made.stdout == ""
        assert says in made.stderr
        assert made.stderr.startswith("error: ")


def test_the_names_here_are_those_of_the_template() -> None:
    template = (REPOSITORY / "deploy" / "redis" / "users.acl.template").read_text()
    assert tuple(re.findall(r"^user ([a-z-]+) on", template, flags=re.MULTILINE)) == NAMES
