"""The table of services that a run on one machine consists of: commands, environment, order of start and of stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from ptzjepa.options import RunOptions
from ptzjepa.run_directory import RunDirectory
from ptzjepa.supervisor import Plan, lower_priority
from shared.actions import DEFAULT_ACTIONS
from shared.settings import ENV_PREFIX
from shared.supervision import python_command

REDIS, BROKER, SAMPLER, TRAINER = "redis", "lock-broker", "camera-sampler", "world-model-trainer"
DREAMER, AGENT = "dream-generator", "rl-agent"

START_ORDER = (REDIS, BROKER, SAMPLER, TRAINER, DREAMER, AGENT)
STOP_ORDER = (AGENT, SAMPLER, DREAMER, TRAINER, BROKER, REDIS)
"""Who asks stops before who answers: nobody ends up waiting for a service that has gone."""

REDIS_URL, BROKER_URL, SEED = "PTZ_REDIS_URL", "PTZ_BROKER_URL", "PTZ_SEED"
KEPT_ORIGINALS = 2000

# Names a place or a port of this very run: two runs that differ in nothing else are the same configuration.
_PLACES = frozenset(
    {REDIS_URL, BROKER_URL, "PTZ_MODEL_STORE", "PTZ_KEEP_ORIGINALS", "PTZ_SPOOL", "PTZ_REPLAY", "PTZ_TRACK"}
    | {"PTZ_PANORAMA"}
    | {"PTZ_NODE", "PTZ_BROKER_HOST", "PTZ_BROKER_PORT", "PTZ_ADMIN_PORT_FILE", "PTZ_LOG_LEVEL"}
)
_SECRETS = ("PASSWORD", "TOKEN", "SECRET")


@dataclass(frozen=True)
class Table:
    """The plans of a run and the environment that all its services share."""

    plans: tuple[Plan, ...]
    environment: Mapping[str, str]
    external_redis: bool


def build(options: RunOptions, directory: RunDirectory, broker_port: int, environ: Mapping[str, str]) -> Table:
    """Make the table. What the user set in ``environ`` wins over a run's habits, not over its places and ports."""
    external = bool(environ.get(REDIS_URL))
    common = common_environment(options, directory, broker_port, environ)
    plans = [] if external else [_redis(directory)]
    plans += [_service(name, directory, common, broker_port) for name in START_ORDER if name != REDIS]
    return Table(tuple(plans), common, external)


def common_environment(
    options: RunOptions, directory: RunDirectory, broker_port: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the ``PTZ_…`` variables of all services of a run."""
    pace = _pace_seconds(options)
    habits = {
        "PTZ_CAMERA": "camera-0",
        "PTZ_WORLD_MODEL": "wm_00_00",
        "PTZ_AGENT": "ag_00_00",
        # Several torch processes on two cores: one thread each, or they starve each other.
        "PTZ_THREADS": "1",
        "PTZ_VIEWS_PER_SECOND": "12",
        "PTZ_TIME_SCALE": "20",
        # Three minutes at this pace are a quarter of a day: light that changes, and slowly enough to follow.
        "PTZ_DAY_SECONDS": "14400",
        "PTZ_KEEP_ORIGINALS_COUNT": str(KEPT_ORIGINALS),
        "PTZ_COMMIT_SECONDS": f"{pace:g}",
        "PTZ_POLICY_SECONDS": f"{pace / 2:g}",
        # On one machine nothing but a crash interrupts a holder, and whoever starts again waits for its own old lease.
        "PTZ_LEASE_TTL_MS": "10000",
    }
    places = {
        REDIS_URL: environ.get(REDIS_URL) or redis_url(directory.redis),
        BROKER_URL: f"http://127.0.0.1:{broker_port}",
        "PTZ_KEEP_ORIGINALS": str(directory.originals),
        "PTZ_SPOOL": str(directory.spool),
        "PTZ_REPLAY": _replay(directory, environ),
        SEED: str(options.seed),
        "PTZ_ADMIN_HOST": "127.0.0.1",
        "PTZ_ADMIN_PORT": "0",
        "PTZ_LOG_FORMAT": "json",
    }
    places["PTZ_MODEL_STORE"] = _model_store(directory, environ)
    if options.panorama is not None:
        places["PTZ_PANORAMA"] = str(options.panorama.resolve())
    chosen = {name: environ.get(name, value) for name, value in habits.items()}
    return {**chosen, **places}


def _model_store(directory: RunDirectory, environ: Mapping[str, str]) -> str:
    if not environ.get(REDIS_URL):
        return str(directory.store)
    # The registry lives in a Redis that outlasts this run; what it names has to outlast it, too.
    return environ.get("PTZ_MODEL_STORE") or str(directory.root / "model-store")


def _replay(directory: RunDirectory, environ: Mapping[str, str]) -> str:
    if not environ.get(REDIS_URL):
        return str(directory.replay)
    # So does what the training state belongs to.
    return environ.get("PTZ_REPLAY") or str(directory.root / "replay")


def _pace_seconds(options: RunOptions) -> float:
    """Seconds between checkpoints: 20, and less in runs so short that few would come about."""
    return 20.0 if options.seconds is None else min(20.0, max(5.0, options.seconds / 9.0))


def _redis(directory: RunDirectory) -> Plan:
    child = redis_child(directory.redis)
    return Plan(
        name=REDIS,
        command=child.command,
        log_file=directory.log_of(REDIS),
        probe=lambda: wait_until_up(directory.redis, seconds=1.0),
    )


COMMANDS: Mapping[str, tuple[str, ...]] = {
    BROKER: ("lock_broker",),
    SAMPLER: ("camera_sampler",),
    TRAINER: ("world_model_trainer",),
    DREAMER: ("dreamer_agent", "dream"),
    AGENT: ("dreamer_agent", "agent"),
}
_AFTER: Mapping[str, tuple[str, ...]] = {
    BROKER: (REDIS,),
    # The camera starts last: nobody misses what it sees, and the run's clock counts no time without it.
    SAMPLER: (REDIS, BROKER, TRAINER, DREAMER, AGENT),
}
_PATIENT = (TRAINER, DREAMER)
"""They only compute; the camera and its pilot answer within fractions of a second."""


def _service(name: str, directory: RunDirectory, common: Mapping[str, str], broker_port: int) -> Plan:
    port_file = directory.ports / f"{name}.port"
    command = python_command(*COMMANDS[name])
    environment = {**common, "PTZ_ADMIN_PORT_FILE": str(port_file)}
    if name == BROKER:
        environment |= {"PTZ_BROKER_HOST": "127.0.0.1", "PTZ_BROKER_PORT": str(broker_port)}
    return Plan(
        name=name,
        command=lower_priority(command) if name in _PATIENT else command,
        log_file=directory.log_of(name),
        environment=environment,
        after=_AFTER.get(name, (REDIS, BROKER)),
        url=f"http://127.0.0.1:{broker_port}" if name == BROKER else None,
        port_file=None if name == BROKER else port_file,
        # A dreamer waits for a world model, a pilot for a policy, and both for views: alive is all they can be.
        up_when="alive" if name in (DREAMER, AGENT) else "ready",
    )


def config_hash(environment: Mapping[str, str], panorama: Path | None, environ: Mapping[str, str]) -> str:
    """Return sixteen hex digits that name what was run: settings, moves and picture, but not where or on which port.

    ``environ`` is the user's environment, which the services inherit. Secrets do not enter.
    """
    inherited = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX)}
    settings = {
        name: value
        for name, value in sorted({**inherited, **environment}.items())
        if name not in _PLACES and not any(word in name for word in _SECRETS)
    }
    picture = hashlib.sha256(panorama.read_bytes()).hexdigest() if panorama else "generated"
    text = json.dumps({"settings": settings, "panorama": picture, "actions": DEFAULT_ACTIONS.digest})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
