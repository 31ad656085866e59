"""The actor processes of a run: placed on hosts, asked, watched, replaced, and let go.

Ray never restarts an actor by itself here: a replacement has a name of its own, so that what an
actor did under a name stays attributable, and the fleet decides when it comes and on which host.
How many there are and where follows from `cluster.placement`, which is asked whenever actors,
hosts or the number wanted changed. An actor that is to go answers what it was asked before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from actors.records import (
    ActorSetting,
    ActReport,
    Assignment,
    BrokenOff,
    ProbeReport,
    Pulse,
    Shuffle,
)
from cluster.cast import REAL_ACTORS, Cast
from cluster.fleet_events import (
    ActorAnswered,
    ActorDown,
    ActorGone,
    ActorToLeave,
    ActorUp,
    FleetError,
    FleetEvent,
)
from cluster.fleet_worker import Request, Worker, start_worker
from cluster.host_rooms import HostRooms
from cluster.hosts import LOOK_EVERY_S, STALE_AFTER_S, HostLook, HostWatch, TrialHosts
from cluster.inference_servers import InferenceServers, ServerLost
from cluster.observer import ActorHealth
from cluster.placement import Seat, placement
from cluster.supervisor import Supervisor
from cluster.waits import Wait
from configs.errors import NesyprError
from shared_memory.errors import SharedMemoryError
from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWish

NOTHING: Mapping[str, float] = {}
START_DEADLINE_S = 180.0
"""An actor process imports torch and transformers, on a machine that may be busy."""
PLACED_WITHIN_S = 20.0
"""How long Ray may take to start an actor's process before it is told."""
SETTLED_S = 40.0
"""An actor whose process is not there by then has no resources from Ray, or hardly will."""

PULSE_EVERY_S = 3.0
SHUNNED_AFTER = 2
"""Actors lost on a host without a report from there between; it may be dead, or broken."""
SHUNNED_S = 60.0
LEAVE_DEADLINE_S = 2.0
"""How long actors that are about to be killed may take to give up what their node shares."""

MAX_DEATHS_IN_A_ROW = 8
"""Actors that were lost one after another without a report between: the run gives up. That their
replacements start is no report. Of several actors one more each, as all may go at once."""


class Fleet:
    """Actors with the same setting, `size` of them. `poll` is the only thing that waits.

    `need`: what each asks of Ray (CPU, GPU). What `wish` told last counts, not `size`, once it
    was called. `inference`: the inference actors that they share, where they do.
    """

    def __init__(
        self,
        setting: ActorSetting,
        size: FleetSize,
        need: Mapping[str, float],
        request_deadline_s: float,
        supervisor: Supervisor,
        hosts: HostWatch | TrialHosts,
        cast: Cast = REAL_ACTORS,
        inference: InferenceServers | None = None,
        host_need: Mapping[str, float] = NOTHING,
    ) -> None:
        self._setting = setting
        self._inference = inference
        self._size = size
        self._need = need
        self._deadline_s = request_deadline_s
        self._cast = cast
        self._supervisor = supervisor
        self._hosts = hosts
        self._rooms = HostRooms(need, host_need)
        self._leaving: frozenset[str] = frozenset()
        self._workers: dict[str, Worker] = {}
        self._generations: Counter[int] = Counter()
        self._deaths_in_a_row = 0
        self._losses: dict[str, list[float]] = {}  # by node: when, since its last report
        self._waiting = 0
        self._arranged: HostLook | None = None
        self._arrange(time.monotonic())

    @property
    def size(self) -> FleetSize:
        """How many actors there shall be."""
        return self._size

    @property
    def free_words(self) -> str:
        """What is free on which host, in words."""
        return self._rooms.free_words

    @property
    def processes(self) -> dict[str, int]:
        """Process number of each actor that is up, inference actors included."""
        shared = {} if self._inference is None else self._inference.processes
        actors = {worker.name: worker.process for worker in self._workers.values() if worker.up}
        return {**actors, **shared}

    @property
    def resident_mb(self) -> float:
        """Resident memory of the largest actor now, in MiB."""
        shared = 0.0 if self._inference is None else self._inference.resident_mb
        return max((worker.resident_mb for worker in self._workers.values()), default=shared)

    @property
    def open_requests(self) -> list[Any]:
        """Object references to wait for."""
        return [worker.request for worker in self._workers.values() if worker.request is not None]

    def health(self, now: float) -> tuple[ActorHealth, ...]:
        """Every actor with what it does and the age of its last sign of progress."""
        return tuple(
            ActorHealth(
                actor=worker.name,
                up=worker.up,
                doing=worker.doing,
                age_s=now - worker.heard,
                host=self._rooms.words(worker.node) if worker.placed else "",
            )
            for worker in self._workers.values()
        ) + (() if self._inference is None else self._inference.health(now, self._rooms.words))

    def state(self, outcome: str = "") -> FleetState:
        """How many are where, for those who asked for a number."""
        workers = self._workers.values()
        return FleetState(
            size=self._size,
            up=sum(worker.up and not worker.going for worker in workers),
            starting=sum(not worker.up and not worker.going for worker in workers),
            going=sum(worker.going for worker in workers),
            waiting=self._waiting,
            outcome=outcome,
            hosts=self._rooms.states(Counter(worker.node for worker in workers), self._leaving),
        )

    def waits(self, now: float) -> list[Wait]:
        """What actors wait for that no request's deadline covers."""
        found = [] if self._inference is None else self._inference.waits()
        if now - self._hosts.looked > 2 * LOOK_EVERY_S:
            what = f"to say which hosts there are; {self._hosts.problem or 'it does not answer'}"
            found.append(Wait("the driver", "Ray's head", what, STALE_AFTER_S, self._hosts.looked))
        if self._waiting:
            what = f"for {self._waiting} of {self._wanted()}; {self._rooms.sentence()}"
            found.append(Wait("actors", "room on a host", what, PLACED_WITHIN_S))
        for worker in self._workers.values():
            if not worker.placed:
                what = f"to start its process on {self._rooms.words(worker.node)}"
                what += f"; {self._rooms.sentence()}"
                found.append(Wait(worker.name, "Ray", what, PLACED_WITHIN_S, worker.asked))
        return found

    def wish(self, wish: FleetWish, configured: FleetSize) -> None:
        """Take in what is asked for; the next `poll` begins to carry it out."""
        size = wish.size or configured
        if (size, wish.leaving) != (self._size, self._leaving):
            self._size, self._leaving = size, wish.leaving
            self._arranged = None

    def dismiss(self, actor: str) -> None:
        """The actor is given nothing more: it goes once it has answered what it was asked."""
        if actor in self._workers:
            self._workers[actor].dismissed = True

    def act(self, actor: str, assignments: Sequence[Assignment]) -> None:
        """Ask the actor to act."""
        asks = Request("act", (tuple(assignments),), f"act {len(assignments)} tasks")
        self._ask(self._workers[actor], asks)

    def probe(
        self,
        actor: str,
        assignments: Sequence[Assignment],
        restrict: bool,
        shuffle: Shuffle,
        banks: bool,
    ) -> None:
        """Ask the actor to probe."""
        values = (tuple(assignments), restrict, shuffle, banks)
        self._ask(self._workers[actor], Request("probe", values, f"probe {len(assignments)} tasks"))

    def poll(self, ready: Sequence[Any]) -> list[FleetEvent]:
        """What happened; `ready` are the references that `ray.wait` found ready.

        Kills actors past their deadline, lets go those that were dismissed, and starts those that
        are missing. Raises FleetError where actors keep dying, or where one reports an error of
        the house (a NesyprError).
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
                events.append(self._lose(self._workers[late.worker], True, late.sentence))
            elif self._inference is not None:
                events += self._lost(self._inference.lose(late.worker, late.sentence, True))
        events.extend(self._see_off(now))
        events.extend(self._arrange(now))
        events.extend(self._share(now))
        return events

    def stop(self) -> None:
        """Kill every actor: what they pushed is safe, what they did not is acted again."""
        leaving = [worker.handle.leave.remote() for worker in self._workers.values() if worker.up]
        leaving += [] if self._inference is None else self._inference.stop()
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_DEADLINE_S)
        for worker in list(self._workers.values()):
            self._remove(worker)
        if self._inference is not None:
            self._inference.end()

    # -- hosts ---------------------------------------------------------------------------------

    def _arrange(self, now: float) -> list[FleetEvent]:
        """Start and let go what the placement says, where anything changed since last time."""
        look = self._hosts.latest()
        if self._arranged == look:
            return []
        holding = Counter(
            worker.node
            for worker in self._workers.values()
            if worker.placed or now - worker.asked < SETTLED_S
        )
        self._rooms.take(look, holding)
        seats = [
            Seat(worker.name, worker.node, worker.placed, worker.going)
            for worker in self._workers.values()
        ]
        hosts = self._rooms.hosts(self._leaving, self._shunned(now))
        found = placement(self._size, hosts, seats)
        events: list[FleetEvent] = []
        for actor in found.leave:
            worker = self._workers[actor]
            worker.going = True
            if worker.up:
                events.append(ActorToLeave(actor))
            else:
                self._remove(worker)
        for node in found.start:
            self._start(node, now)
        self._waiting = found.waiting
        self._hosts.want(self._need, self._wanted() if found.waiting else 0)
        self._arranged = look
        return events

    def _shunned(self, now: float) -> set[str]:
        """Hosts that have just lost several actors, one after the other or at once."""
        self._losses = {
            node: lost for node, lost in self._losses.items() if now - lost[-1] < SHUNNED_S
        }
        return {node for node, lost in self._losses.items() if len(lost) >= SHUNNED_AFTER}

    def _wanted(self) -> int:
        """How many actors are there or should be."""
        return sum(not worker.going for worker in self._workers.values()) + self._waiting

    def _start(self, node: str, now: float) -> None:
        taken = {worker.place for worker in self._workers.values() if not worker.going}
        place = next(place for place in range(len(taken) + 1) if place not in taken)
        generation = self._generations[place]
        self._generations[place] += 1
        name = f"actor-{place}" if generation == 0 else f"actor-{place}.{generation}"
        worker = start_worker(name, place, self._setting, self._need, node, now, self._cast)
        if self._inference is not None:
            others = [other.chair for other in self._workers.values()]
            worker.chair = self._inference.chair(node, others)
        self._workers[name] = worker
        self._asked(worker, "start", START_DEADLINE_S)

    def _see_off(self, now: float) -> list[FleetEvent]:
        """Let go of dismissed actors that have nothing left to answer."""
        events: list[FleetEvent] = []
        for worker in list(self._workers.values()):
            if not worker.dismissed or worker.request is not None or worker.held:
                continue
            if worker.farewell is None:
                worker.farewell = worker.handle.leave.remote()
                worker.gone_by = now + LEAVE_DEADLINE_S
            ready, _ = ray.wait([worker.farewell], timeout=0)
            if ready or now > worker.gone_by:
                self._remove(worker)
                events.append(ActorGone(worker.name))
        return events

    def _remove(self, worker: Worker) -> None:
        self._cast.end(worker.handle)
        self._supervisor.closed(worker.name)
        del self._workers[worker.name]
        self._arranged = None

    # -- inference -----------------------------------------------------------------------------

    def _share(self, now: float) -> list[FleetEvent]:
        """See that there is whom to ask, and send what was held back until there was."""
        if self._inference is None:
            return []
        events = self._lost(self._inference.poll(now))
        self._inference.keep({worker.chair for worker in self._workers.values()}, now)
        for worker in self._workers.values():
            if worker.held and worker.asks is not None:
                self._ask(worker, worker.asks)
        return events

    def _lost(self, lost: Sequence[ServerLost]) -> list[FleetEvent]:
        """Tell of inference actors that are gone; what was asked there comes back by itself."""
        for each in lost:
            self._deaths_in_a_row += each.placed
            self._give_up_after_many(each.sentence)
        return [ActorDown(each.server, each.overdue, each.sentence) for each in lost]

    # -- requests ------------------------------------------------------------------------------

    def _ask(self, worker: Worker, asks: Request) -> None:
        """Ask the actor, or hold the request back until its inference is up."""
        worker.asks, worker.held = asks, False
        values = asks.values
        if self._inference is not None:
            way = self._inference.way(worker.chair)
            if way is None:
                worker.held, worker.doing = True, f"wait for inference to {asks.words}"
                return
            values = (*values, way)
        worker.request = getattr(worker.handle, asks.method).remote(*values)
        self._asked(worker, asks.words, self._deadline_s)

    def _asked(self, worker: Worker, what: str, deadline_s: float) -> None:
        worker.doing, worker.heard = what, time.monotonic()
        self._supervisor.asked(worker.name, what, deadline_s, worker.heard)

    def _collect(self, worker: Worker, now: float) -> list[FleetEvent]:
        """The answer of one request."""
        reference, worker.request = worker.request, None
        try:
            answer = ray.get(reference, timeout=10.0)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            return [self._lose(worker, False, f"{worker.name} died: {_first_line(error)}")]
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, NesyprError) and not isinstance(cause, SharedMemoryError):
                raise FleetError(f"{worker.name}: {cause}") from error
            return [self._lose(worker, False, f"{worker.name} failed: {cause!r}")]
        worker.doing, worker.heard = "", now
        if isinstance(answer, Pulse):  # it has started: that is no progress of the run
            self._supervisor.closed(worker.name)
            worker.up = True
            self._note(worker, answer)
            return [ActorUp(worker.name)]
        if answer.broken_off is not None:
            return self._broke_off(worker, answer, answer.broken_off)
        self._supervisor.answered(worker.name, now)
        self._deaths_in_a_row = 0
        self._losses.pop(worker.node, None)
        if isinstance(answer, ActReport):
            worker.resident_mb = answer.resident_mb
        return [ActorAnswered(worker.name, answer)]

    def _broke_off(
        self, worker: Worker, answer: ActReport | ProbeReport, why: BrokenOff
    ) -> list[FleetEvent]:
        """The actor's inference failed it: that is replaced, and the rest is asked again.

        What is left of a request to act the driver gives out anew; a probe is asked once more.
        """
        self._supervisor.closed(worker.name)
        events: list[FleetEvent] = []
        if self._inference is not None:
            events += self._lost(self._inference.lose(why.inference, why.sentence, why.overdue))
        if isinstance(answer, ActReport):
            events.append(ActorAnswered(worker.name, answer))
        else:
            worker.held = True
        return events

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
                            events.append(self._lose(worker, False, sentence))
                        continue  # else its request tells the same, and is dealt with there
                    if pulse.rounds != worker.rounds:
                        worker.heard = now
                    self._note(worker, pulse)
                    self._supervisor.pulsed(worker.name, pulse.rounds, now)
        for worker in self._workers.values():
            if worker.placed and worker.pulse is None and now - worker.pulsed >= PULSE_EVERY_S:
                worker.pulse = worker.handle.pulse.remote()
                worker.pulsed = now
        return events

    def _note(self, worker: Worker, pulse: Pulse) -> None:
        worker.placed = True
        worker.node = pulse.node or worker.node
        worker.rounds = pulse.rounds
        worker.process = pulse.process
        worker.resident_mb = pulse.resident_mb

    def _lose(self, worker: Worker, overdue: bool, sentence: str) -> ActorDown:
        """An actor died or is killed; one that Ray never placed was not lost with anything."""
        if worker.placed or not overdue:
            self._deaths_in_a_row += 1
            self._losses.setdefault(worker.node, []).append(time.monotonic())
        self._give_up_after_many(sentence)
        self._remove(worker)
        return ActorDown(worker.name, overdue, sentence)

    def _give_up_after_many(self, sentence: str) -> None:
        most = MAX_DEATHS_IN_A_ROW + max(1, self._wanted()) - 1
        if self._deaths_in_a_row > most:
            raise FleetError(
                f"{self._deaths_in_a_row} actors in a row were lost without a report, the last: "
                f"{sentence}; see the logs in /tmp/ray/session_latest/logs"
            )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
