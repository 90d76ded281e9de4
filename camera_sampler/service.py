"""The camera sampler: move, wait until the camera stands still, take a snapshot, verify it, publish the view.

Views come in episodes: a jump to the pose where a policy begins, then ``movements`` moves, each chosen by an agent
that answered the view before it in time, or by a policy of the sampler's own. After ``episodes`` of them, where that is
set, the service ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import ClassVar

from camera_sampler.cameras import ERROR_KINDS, Camera, CameraError, open_camera
from camera_sampler.cameras.watched import WatchedCamera
from camera_sampler.coverage import LATELY, Coverage
from camera_sampler.looking import ANSWER_SECONDS, Look, Looker, NoView
from camera_sampler.originals import Originals
from camera_sampler.outbox import DIRECT_SECONDS, Outbox
from camera_sampler.policies import optics, own_policy
from camera_sampler.reporting import Reports
from camera_sampler.settings import SamplerSettings
from camera_sampler.snapshots import BADNESS, training_jpeg
from camera_sampler.steering import OUTCOMES, Outcome, Steering
from camera_sampler.tracking import Tracks
from shared.actions import Action
from shared.messages import Command, View, new_id
from shared.pose import PoseLimits, wrap_pan
from shared.redis_client import RedisClients
from shared.service import Service

AGENT = "agent"
_CAMERA_AWAY = (CameraError, NoView, TimeoutError)
_GIVEN_UP = (*ERROR_KINDS, "no-view", "no-answer", "lost")
"""Why no view came of a move: the camera's error, no good picture, no answer to the move, or Redis and spool away."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.5, 30.0
_MOVE_TRIES, _FIRST_MOVE_PAUSE = 3, 0.2
_LOCKED_OUT = ("unauthorized", "locked-out")
_SMOOTHING = 0.2
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Choice:
    """The next move and who chose it; without an action it is the jump that begins an episode."""

    action: Action | None
    policy: str
    policy_version: int | None = None


class CameraSampler(Service[SamplerSettings]):
    """Owns one camera."""

    name: ClassVar[str] = "camera-sampler"

    def __init__(self, settings: SamplerSettings) -> None:
        super().__init__(settings)
        self._policy = own_policy(settings)
        self._actions = settings.actions()
        self._originals: Originals | None = None
        if settings.keep_originals is not None:
            self._originals = Originals(
                settings.keep_originals,
                settings.keep_originals_count,
                naming=settings.keep_names,
                embedded=settings.keep_exif == "on",
            )
        self._last: View | None = None
        """The view that the next move leaves from; None when an episode has to begin."""
        self._due = 0.0
        self._move_seconds = 0.0
        """What a move has taken lately, standing still included."""
        self._back_off = _FIRST_BACK_OFF
        """How long to leave a camera alone that failed; it grows while it fails."""
        self._agent_steers: bool | None = None
        """Unknown until the first move of an episode."""
        self._begun = 0
        self._coverage = Coverage(optics(settings))
        self._make_metrics()
        self._outbox = Outbox(self)
        self._reports = Reports(self)
        self._tracks = Tracks(settings, self.metrics)

    def _make_metrics(self) -> None:
        metrics = self.metrics
        self._moves = metrics.counter("moves", "Moves begun, jumps included; each ends as a view or is given up")
        self._given_up = metrics.counter("given_up", "Moves that no view came of, by reason", ("kind",))
        self._views = metrics.counter("views", "Views published or spooled, by who chose the move", ("policy",))
        self._rejects = metrics.counter("rejects", "Snapshots rejected, by reason", ("kind",))
        self._camera_errors = metrics.counter("camera_errors", "What went wrong with the camera, by kind", ("kind",))
        self._commands = metrics.counter("commands", "Commands read, by what became of them", ("outcome",))
        self._fallbacks = metrics.counter(
            "fallbacks", "Moves chosen for want of an agent's answer, by whom", ("policy",)
        )
        self._settle = metrics.histogram("settle_seconds", "From a move to standing still", buckets=_SECONDS)
        self._unsettled = metrics.counter("unsettled", "Views taken although the camera did not stand still")
        self._episodes = metrics.counter("episodes", "Episodes begun")
        self._originals_lost = metrics.counter("originals_lost", "Snapshots that could not be kept")
        self._steering_gauge = metrics.gauge("steering", "1 while an agent steers the camera")
        self._pose_gauge = metrics.gauge("pose_degrees", "Where the last view was taken, in degrees", ("axis",))
        self._zoom_gauge = metrics.gauge("zoom_ratio", "Magnification of the last view")
        metrics.gauge(
            "coverage_ratio", f"Share of the camera's reach that its last {LATELY} views looked at"
        ).set_function(lambda: self._coverage.ratio)
        settings = self.settings
        metrics.disks({"spool": settings.spool, "originals": settings.keep_originals, "track": settings.track})
        self._last_view = metrics.gauge("last_view_timestamp_seconds", "When the last published view was taken")
        for kind in (*BADNESS, "no-answer"):
            self._rejects.labels(kind)
        for outcome in OUTCOMES:
            self._commands.labels(outcome)
        for kind in _GIVEN_UP:
            self._given_up.labels(kind)

    async def run(self) -> None:
        """Look until told to stop."""
        self.set_ready("camera", "opening")
        camera = await asyncio.to_thread(open_camera, self.settings)
        try:
            async with self.redis_clients() as clients:
                await self.sample(camera, clients)
        finally:
            with contextlib.suppress(*_CAMERA_AWAY):
                await camera.aclose()

    async def sample(self, camera: Camera, clients: RedisClients) -> None:
        """Look through ``camera`` until told to stop."""
        camera = WatchedCamera(camera, self._camera_errors)
        free = self.settings.free_moves
        steering = Steering(clients, self.settings.camera, self._actions, self._note_command, free_moves=free)
        looker = Looker(camera, self.settings, self._rejects, self._settle)
        async with (
            self._outbox.open(clients),
            self._reports.open(),
            self._tracks.open(),
            asyncio.TaskGroup() as group,
        ):
            limits = await self.outlast(camera.limits, part="camera", away=_CAMERA_AWAY)
            connecting = group.create_task(self.redis(lambda: self._connect(clients, steering)))
            # With a spool the camera looks without Redis, too; where Redis is there, no answer to a view is missed.
            await asyncio.wait({connecting}, timeout=DIRECT_SECONDS if self._outbox.spools else None)
            background = [
                group.create_task(self._listen(connecting, steering)),
                group.create_task(self._outbox.replay()),
                group.create_task(self._reports.run(clients)),
            ]
            while limits is not None and not self.stopping.is_set():
                choice = await self._choose(steering, limits)
                if choice.action is None and self._begun == self.settings.episodes:
                    self.log.info("all episodes done", episodes=self._begun)
                    break
                look = None if self.stopping.is_set() else await self._move_and_look(camera, looker, choice, limits)
                if look is not None:
                    await self._publish_view(steering, choice, look, limits)
            for task in (connecting, *background):
                task.cancel()

    async def _connect(self, clients: RedisClients, steering: Steering) -> bool:
        await clients.commands.ping()
        await steering.open()
        return True

    async def _listen(self, connecting: asyncio.Task[bool | None], steering: Steering) -> None:
        if await connecting and self.settings.policy == "follow":
            await steering.listen()

    async def _choose(self, steering: Steering, limits: PoseLimits) -> Choice:
        last = self._last
        if last is None or last.step >= self.settings.movements or self._outbox.lost(last.episode):
            self._last = None
            return Choice(None, self._policy.name)
        if self.settings.policy == "follow":
            command = await self._command(steering)
            if command is not None:
                return Choice(command.action, AGENT, command.policy_version)
            self._fallbacks.labels(self._policy.name).inc()
        return Choice(self._policy.choose(last.pose, limits), self._policy.name)

    async def _command(self, steering: Steering) -> Command | None:
        # An agent that was heard is worth the full wait. Without one, only the time that would pass idle anyway is
        # spent: a camera that nobody steers keeps its pace.
        idle = self._due - self._move_seconds - time.monotonic()
        patience = self.settings.command_seconds if steering.agent_heard else min(idle, self.settings.command_seconds)
        command = await steering.wait(patience, self.stopping)
        if command is None and patience >= self.settings.command_seconds:
            steering.missed()
        self._note_steering(command)
        return command

    def _note_steering(self, command: Command | None) -> None:
        steers = command is not None
        self._steering_gauge.set(float(steers))
        if command is not None and not self._agent_steers:
            self.log.info("an agent steers", agent=command.agent, policy_version=command.policy_version)
        elif not steers and self._agent_steers is not False:
            self.log.info("no agent steers; falling back", policy=self._policy.name)
        self._agent_steers = steers

    async def _move_and_look(self, camera: Camera, looker: Looker, choice: Choice, limits: PoseLimits) -> Look | None:
        """Make the move and look. None when that failed: the chain of views is broken, and an episode must begin."""
        began = time.monotonic()
        self._moves.inc()
        try:
            settled = await self._move(camera, looker, choice, limits)
            self._move_seconds += _SMOOTHING * (time.monotonic() - began - self._move_seconds)
            await self._keep_pace()
            look = await looker.look(settled)
        except _CAMERA_AWAY as error:
            self._last = None
            self._given_up.labels(_why(error)).inc()
            reason = f"{type(error).__name__}: {error}"[:200]
            if "camera" not in self.not_ready:
                self.log.warning("waiting", part="camera", reason=reason)
            self.set_ready("camera", reason)
            await self.pause(self._back_off / self.settings.time_scale)
            self._back_off = min(2.0 * self._back_off, _LONGEST_BACK_OFF)
            return None
        self._back_off = _FIRST_BACK_OFF
        if "camera" in self.not_ready:
            self.set_ready("camera")
            self.log.info("available", part="camera")
        return look

    async def _move(self, camera: Camera, looker: Looker, choice: Choice, limits: PoseLimits) -> bool:
        """Move and wait until the camera stands; False when it did not. What passes is tried again, to the same pose.

        The pose, and not the change, since nobody knows how far a camera came that failed on its way.
        """
        last, action = self._last, choice.action
        target = self._policy.begin(limits) if last is None or action is None else action.apply(last.pose, limits)
        for attempt in range(_MOVE_TRIES):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if action is None or attempt:
                        await camera.move_to(target)
                    else:
                        await camera.move_by(action)
                return await looker.stand_still()
            except CameraError as error:
                if error.kind in _LOCKED_OUT or attempt == _MOVE_TRIES - 1:
                    raise
                await self.pause(_FIRST_MOVE_PAUSE * 2.0**attempt / self.settings.time_scale)
        raise CameraError("no move")

    async def _keep_pace(self) -> None:
        now = time.monotonic()
        if self._due > now:
            await self.pause(self._due - now)
        # A late view moves the schedule; it is not made up for by a burst.
        self._due = max(self._due, now) + 1.0 / self.settings.views_per_second

    async def _publish_view(self, steering: Steering, choice: Choice, look: Look, limits: PoseLimits) -> None:
        settings, previous = self.settings, self._last if choice.action is not None else None
        jpeg = await asyncio.to_thread(training_jpeg, look.picture.image, settings.view_size)
        view = View(
            source=f"{self.name}@{settings.node}",
            camera=settings.camera,
            pose=look.pose,
            pose_before=look.pose_before,
            captured_at=look.snapshot.taken_at,
            episode=previous.episode if previous else new_id(),
            step=previous.step + 1 if previous else 0,
            previous=previous.id if previous else None,
            action=made(choice.action, previous, look) if choice.action and previous else choice.action,
            limits=limits,
            settled=look.settled,
            policy=choice.policy,
            policy_version=choice.policy_version,
            width=settings.view_size,
            height=settings.view_size,
        )
        view = view.model_copy(update={"original": await self._keep_original(view, look)})
        steering.expect(view.id)
        # A view that is lost breaks the chain: an episode must begin.
        self._last = view if await self._outbox.send(view, jpeg) else None
        if self._last:
            self._note_view(view, look)
            self._policy.saw(view.pose, limits)
            self._reports.note(view, look.picture.data)
            self._tracks.note_view(view)
        else:
            self._given_up.labels("lost").inc()

    async def _keep_original(self, view: View, look: Look) -> str | None:
        if self._originals is None:
            return None
        try:
            return await asyncio.to_thread(
                self._originals.keep, view, look.picture.data, look.snapshot.origin, self.settings.camera_kind
            )
        except OSError as error:
            # A full disk must not stop the camera: the view itself travels by the stream.
            self._originals_lost.inc()
            self.log.warning("original not kept", reason=str(error.strerror or error))
            return None

    def _note_command(self, command: Command, outcome: Outcome) -> None:
        self._commands.labels(outcome).inc()
        self._tracks.note_command(command, outcome)

    def _note_view(self, view: View, look: Look) -> None:
        self._views.labels(view.policy).inc()
        if view.step == 0:
            self._begun += 1
            self._episodes.inc()
        if not view.settled:
            self._unsettled.inc()
        self._pose_gauge.labels("pan").set(view.pose.pan)
        self._pose_gauge.labels("tilt").set(view.pose.tilt)
        self._zoom_gauge.set(view.pose.zoom)
        self._coverage.saw(view.pose, view.limits)
        # A recording is taken long before it is looked at; whether the sampler lives is told by the latter.
        recorded = look.snapshot.origin == "recording"
        self._last_view.set(time.time() if recorded else view.captured_at.timestamp())


def made(chosen: Action, previous: View, look: Look) -> Action:
    """Return the move that led to this look: the chosen one, but among recordings the one that was really made.

    A camera goes where it is sent, to a hundredth of a degree. Recordings have only the poses that they have.
    """
    if look.snapshot.origin != "recording":
        return chosen
    before, after = previous.pose, look.pose
    return Action(
        name=chosen.name,
        pan=wrap_pan(after.pan - before.pan),
        tilt=after.tilt - before.tilt,
        zoom=after.zoom - before.zoom,
    )


def _why(error: Exception) -> str:
    if isinstance(error, CameraError):
        return error.kind
    return "no-view" if isinstance(error, NoView) else "no-answer"
