"""The actor processes of a run: asked, watched, killed when silent, replaced when gone.

Ray never restarts an actor by itself here: a replacement has a name of its own, so that what an
actor did under a name stays attributable, and the fleet decides when it comes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray

from actors.actor import ActorProcess
from actors.records import ActorSetting, ActReport, Assignment, ProbeReport, Pulse, Shuffle
from cluster.observer import ActorHealth
from cluster.supervisor import Supervisor
from configs.errors import NesyprError
from shared_memory.errors import SharedMemoryError

START_DEADLINE_S = 180.0
"""An actor process imports torch and transformers, on a machine that may be busy."""

PULSE_EVERY_S = 3.0
LEAVE_DEADLINE_S = 2.0
"""How long actors that are about to be killed may take to give up what their node shares."""

MAX_DEATHS_IN_A_ROW = 8
"""Actors that were lost one after another without a report between: the run gives up. That their
replacements start is no report. Of several actors one more each, as all may go at once."""


class FleetError(NesyprError):
    """Actors cannot be kept alive, or one met an error that replacing it would not mend."""


@dataclass(frozen=True, slots=True)
class ActorUp:
    """An actor process is there and waits."""

    actor: str


@dataclass(frozen=True, slots=True)
class ActorAnswered:
    """An actor answered its request."""

    actor: str
    report: ActReport | ProbeReport


@dataclass(frozen=True, slots=True)
class ActorDown:
    """An actor died or was killed; a replacement is on its way."""

    actor: str
    overdue: bool
    sentence: str


FleetEvent: TypeAlias = ActorUp | ActorAnswered | ActorDown


@dataclass(slots=True)
class _Worker:
    name: str
    place: int
    handle: Any
    up: bool
    request: Any = None  # object reference of the open request, or of the first pulse
    pulse: Any = None
    pulsed: float = 0.0
    process: int = 0
    resident_mb: float = 0.0
    doing: str = "start"
    rounds: int = -1
    heard: float = 0.0  # when it last got further, or was asked


class Fleet:
    """`count` actors with the same setting. `poll` is the only thing that waits."""

    def __init__(
        self,
        setting: ActorSetting,
        count: int,
        cpus: float,
        request_deadline_s: float,
        supervisor: Supervisor,
    ) -> None:
        self._setting = setting
        self._cpus = cpus
        self._deadline_s = request_deadline_s
        self._supervisor = supervisor
        self._workers: dict[str, _Worker] = {}
        self._generation = 0
        self._deaths_in_a_row = 0
        self._most_deaths = MAX_DEATHS_IN_A_ROW + count - 1
        for place in range(count):
            self._start(place)

    @property
    def processes(self) -> dict[str, int]:
        """Process number of each actor that is up."""
        return {worker.name: worker.process for worker in self._workers.values() if worker.up}

    @property
    def resident_mb(self) -> float:
        """Resident memory of the largest actor now, in MiB."""
        return max((worker.resident_mb for worker in self._workers.values()), default=0.0)

    @property
    def open_requests(self) -> list[Any]:
        """Object references to wait for."""
        return [worker.request for worker in self._workers.values() if worker.request is not None]

    def health(self, now: float) -> tuple[ActorHealth, ...]:
        """Every actor with what it does and the age of its last sign of progress."""
        return tuple(
            ActorHealth(
                actor=worker.name, up=worker.up, doing=worker.doing, age_s=now - worker.heard
            )
            for worker in self._workers.values()
        )

    def act(self, actor: str, assignments: Sequence[Assignment]) -> None:
        """Ask the actor to act."""
        worker = self._workers[actor]
        worker.request = worker.handle.act.remote(tuple(assignments))
        self._asked(worker, f"act {len(assignments)} tasks", self._deadline_s)

    def probe(
        self,
        actor: str,
        assignments: Sequence[Assignment],
        restrict: bool,
        shuffle: Shuffle,
        banks: bool,
    ) -> None:
        """Ask the actor to probe."""
        worker = self._workers[actor]
        worker.request = worker.handle.probe.remote(tuple(assignments), restrict, shuffle, banks)
        self._asked(worker, f"probe {len(assignments)} tasks", self._deadline_s)

    def poll(self, ready: Sequence[Any]) -> list[FleetEvent]:
        """What happened; `ready` are the references that `ray.wait` found ready.

        Kills actors past their deadline and starts replacements. Raises FleetError where actors
        keep dying, or where one reports an error of the house (a NesyprError).
        """
        now = time.monotonic()
        events: list[FleetEvent] = []
        done = set(ready)
        for worker in list(self._workers.values()):
            if worker.request is not None and worker.request in done:
                events.extend(self._collect(worker, now))
        events.extend(self._take_pulses(now))
        for late in self._supervisor.overdue(now):
            if late.worker in self._workers:
                events.append(self._replace(self._workers[late.worker], True, late.sentence))
        return events

    def stop(self) -> None:
        """Kill every actor: what they pushed is safe, what they did not is acted again."""
        leaving = [worker.handle.leave.remote() for worker in self._workers.values() if worker.up]
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_DEADLINE_S)
        for worker in self._workers.values():
            ray.kill(worker.handle, no_restart=True)
            self._supervisor.closed(worker.name)
        self._workers = {}

    def _start(self, place: int) -> None:
        name = f"actor-{place}" if self._generation == 0 else f"actor-{place}.{self._generation}"
        remote: Any = ActorProcess  # a remote class; mypy sees the plain one
        handle = remote.options(num_cpus=self._cpus).remote(name, self._setting)
        worker = _Worker(name, place, handle, up=False, request=handle.pulse.remote())
        self._workers[name] = worker
        self._asked(worker, "start", START_DEADLINE_S)

    def _asked(self, worker: _Worker, what: str, deadline_s: float) -> None:
        worker.doing, worker.heard = what, time.monotonic()
        self._supervisor.asked(worker.name, what, deadline_s, worker.heard)

    def _collect(self, worker: _Worker, now: float) -> list[FleetEvent]:
        """The answer of one request."""
        reference, worker.request = worker.request, None
        try:
            answer = ray.get(reference, timeout=10.0)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            return [self._replace(worker, False, f"{worker.name} died: {_first_line(error)}")]
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, NesyprError) and not isinstance(cause, SharedMemoryError):
                raise FleetError(f"{worker.name}: {cause}") from error
            return [self._replace(worker, False, f"{worker.name} failed: {cause!r}")]
        worker.doing, worker.heard = "", now
        if isinstance(answer, Pulse):  # it has started: that is no progress of the run
            self._supervisor.closed(worker.name)
            worker.up = True
            self._note(worker, answer)
            return [ActorUp(worker.name)]
        self._supervisor.answered(worker.name, now)
        self._deaths_in_a_row = 0
        if isinstance(answer, ActReport):
            worker.resident_mb = answer.resident_mb
        return [ActorAnswered(worker.name, answer)]

    def _take_pulses(self, now: float) -> list[FleetEvent]:
        events: list[FleetEvent] = []
        waiting = [worker for worker in self._workers.values() if worker.pulse is not None]
        if waiting:
            ready, _ = ray.wait(
                [worker.pulse for worker in waiting], num_returns=len(waiting), timeout=0
            )
            found = set(ready)
            for worker in waiting:
                if worker.pulse in found:
                    reference, worker.pulse = worker.pulse, None
                    try:
                        pulse = ray.get(reference, timeout=10.0)
                    except ray.exceptions.RayError as error:
                        if worker.request is None:  # it died while it waited to be asked
                            sentence = f"{worker.name} died: {_first_line(error)}"
                            events.append(self._replace(worker, False, sentence))
                        continue  # else its request tells the same, and is dealt with there
                    if pulse.rounds != worker.rounds:
                        worker.heard = now
                    self._note(worker, pulse)
                    self._supervisor.pulsed(worker.name, pulse.rounds, now)
        for worker in self._workers.values():
            if worker.up and worker.pulse is None and now - worker.pulsed >= PULSE_EVERY_S:
                worker.pulse = worker.handle.pulse.remote()
                worker.pulsed = now
        return events

    def _note(self, worker: _Worker, pulse: Pulse) -> None:
        worker.rounds = pulse.rounds
        worker.process = pulse.process
        worker.resident_mb = pulse.resident_mb

    def _replace(self, worker: _Worker, overdue: bool, sentence: str) -> ActorDown:
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > self._most_deaths:
            raise FleetError(
                f"{self._deaths_in_a_row} actors in a row were lost without a report, the last: "
                f"{sentence}; see the logs in /tmp/ray/session_latest/logs"
            )
        ray.kill(worker.handle, no_restart=True)
        self._supervisor.closed(worker.name)
        del self._workers[worker.name]
        self._generation += 1
        self._start(worker.place)
        return ActorDown(worker.name, overdue, sentence)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
