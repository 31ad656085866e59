"""Who acts which task, and how far acting may run ahead of learning: a state machine without I/O.

Events go in, instructions come out; the driver carries both. Tasks of the stream are leased to
actors in order. A lease that is lost (its actor died or was killed) is issued again under new
episode numbers. A task that may itself be what its actors were lost with is suspected: after its
second actor it is given out alone, and after the third it is given up, so that it costs one
episode and not the run **(ours)**. At every moment

    submitted == finished + failed + in flight

where "failed" counts episodes that were lost, never tasks that the policy did not solve. How many
episodes may be submitted follows AReaL's staleness manager:

    capacity = min(max_concurrent - running,
                   (max_staleness + version + 1) * tasks_per_version - (accepted + running))

so that nothing that was acted is ever thrown away for being old: acting waits instead. The other
side of the bound is `version_ceiling`: the learner may not publish more than `max_staleness`
versions past the oldest one that is being acted with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from configs.errors import NesyprError


class DispatchError(NesyprError):
    """The books of the dispatcher do not balance, or its saved state is not one."""


@dataclass(frozen=True, slots=True)
class ActorReady:
    """An actor waits for a request."""

    actor: str


@dataclass(frozen=True, slots=True)
class ActorLost:
    """An actor died or was killed; outcomes that it pushed before were reported already."""

    actor: str


@dataclass(frozen=True, slots=True)
class ActorLeaves:
    """An actor is to go once it has returned its lease: it is given nothing more."""

    actor: str


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """An actor answered a request: shared memory has acknowledged these episodes."""

    actor: str
    acknowledged: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EpisodeReported:
    """Shared memory told of a finished episode."""

    episode: int
    task_index: int
    version: int  # the book version acted with


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """The learner published a version."""

    version: int


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Tasks before `limit` may be given out (a phase begins)."""

    limit: int


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The run is ending: give out nothing more, whatever happens."""


SUSPECTED_AFTER = 2
"""Actors that were lost while they held a task; from then on it is given out alone."""
GIVEN_UP_AFTER = 3
"""Actors lost with a task, the last with this task alone."""

Event: TypeAlias = (
    ActorReady
    | ActorLost
    | ActorLeaves
    | LeaseReturned
    | EpisodeReported
    | VersionSeen
    | StreamOpened
    | StreamClosed
)


@dataclass(frozen=True, slots=True)
class Issue:
    """Instruction: ask the actor to act these (episode number, task index)."""

    actor: str
    episodes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Instruction: write this episode down as failed; it stays in flight until it is reported.

    `version` is the book version when it was given out, `actors` how many were lost with its task.
    """

    episode: int
    task: int
    version: int
    actors: int


Instruction: TypeAlias = Issue | GiveUp


class DispatcherState(TypedDict):
    """What a checkpoint keeps; plain values only."""

    position: int
    limit: int
    version: int
    submitted: int
    finished: int
    late: int
    doubled: int
    failed: list[int]
    lost_tasks: list[int]
    done_ahead: list[int]
    in_flight: list[tuple[int, int, int]]


class Dispatcher:
    """The state machine. `handle` takes an event and returns what to do now.

    Raises DispatchError at construction where the settings could never admit a request.
    """

    def __init__(
        self, tasks: int, request_tasks: int, tasks_per_version: int, max_staleness: int
    ) -> None:
        if tasks_per_version * (max_staleness + 1) < request_tasks:
            raise DispatchError(
                f"a request of {request_tasks} tasks can never be admitted: only "
                f"{tasks_per_version} tasks a version x (max_staleness {max_staleness} + 1) may "
                "run ahead; make requests smaller or versions larger"
            )
        self.tasks = tasks
        self.request_tasks = request_tasks
        self.tasks_per_version = tasks_per_version
        self.max_staleness = max_staleness
        self.version = 0
        self.finished = 0
        self.late = 0  # reported after they had been given up; counted as finished
        self.doubled = 0  # reported more than once; counted once
        self._position = 0
        self._limit = 0
        self._closed = False
        self._next_episode = 0
        self._failed: set[int] = set()
        self._in_flight: dict[int, tuple[int, int]] = {}  # episode → (task, version when issued)
        self._lost_tasks: deque[int] = deque()
        self._losses: dict[int, int] = {}  # task → actors lost with it; forgotten by a resume
        self._done_ahead: set[int] = set()  # finished before `position` reached them (a resume)
        self._leases: dict[str, set[int]] = {}  # actor → episodes that it holds
        self._idle: dict[str, None] = {}  # actors that wait, in order
        self._leaving: set[str] = set()  # actors that get nothing more

    @property
    def submitted(self) -> int:
        """Episodes that were ever given out: their numbers are 0 … submitted - 1."""
        return self._next_episode

    @property
    def failed(self) -> int:
        """Episodes that were lost with their actor."""
        return len(self._failed)

    @property
    def in_flight(self) -> int:
        """Episodes given out of which nothing was heard yet."""
        return len(self._in_flight)

    @property
    def position(self) -> int:
        """The next task of the stream that was never given out."""
        return self._position

    @property
    def idle_actors(self) -> tuple[str, ...]:
        """Actors that wait for a request, longest first."""
        return tuple(self._idle)

    @property
    def drained(self) -> bool:
        """Whether every task before the limit was acted to its end."""
        return self._position >= self._limit and not self._lost_tasks and not self._in_flight

    @property
    def capacity(self) -> int:
        """How many episodes may be given out now (see the module's formula)."""
        actors = len(self._leases) + len(self._idle)
        running = self.in_flight
        concurrent = actors * self.request_tasks - running
        ahead = (self.max_staleness + self.version + 1) * self.tasks_per_version
        return max(0, min(concurrent, ahead - (self.finished + running)))

    @property
    def version_ceiling(self) -> int | None:
        """The highest version that may be published while the running episodes run."""
        if not self._in_flight:
            return None
        return min(version for _, version in self._in_flight.values()) + self.max_staleness

    def handle(self, event: Event) -> list[Instruction]:
        """Take an event, check the books, and return what is to be done now."""
        instructions: list[Instruction] = []
        match event:
            case ActorReady(actor):
                if actor not in self._leases and actor not in self._leaving:
                    self._idle[actor] = None
            case ActorLeaves(actor):
                self._idle.pop(actor, None)
                self._leaving.add(actor)
            case ActorLost(actor):
                self._idle.pop(actor, None)
                self._leaving.discard(actor)
                instructions += self._lose(self._leases.pop(actor, set()))
            case LeaseReturned(actor, acknowledged):
                held = self._leases.pop(actor, set())
                self._give_up(held - set(acknowledged))
                if actor not in self._leaving:
                    self._idle[actor] = None
            case EpisodeReported(episode, task_index, _):
                self._report(episode, task_index)
            case VersionSeen(version):
                self.version = max(self.version, version)
            case StreamOpened(limit):
                self._limit = min(self.tasks, max(self._limit, limit))
            case StreamClosed():
                self._closed = True
        instructions += self._issue()
        self.check()
        return instructions

    def check(self) -> None:
        """Raise DispatchError unless the books balance."""
        if self.submitted != self.finished + self.failed + self.in_flight:
            raise DispatchError(
                f"the dispatcher's books do not balance: {self.submitted} submitted, but "
                f"{self.finished} finished + {self.failed} failed + {self.in_flight} in flight"
            )

    def state(self) -> DispatcherState:
        """What a checkpoint must keep."""
        return {
            "position": self._position,
            "limit": self._limit,
            "version": self.version,
            "submitted": self._next_episode,
            "finished": self.finished,
            "late": self.late,
            "doubled": self.doubled,
            "failed": sorted(self._failed),
            "lost_tasks": list(self._lost_tasks),
            "done_ahead": sorted(self._done_ahead),
            "in_flight": [
                (episode, task, version) for episode, (task, version) in self._in_flight.items()
            ],
        }

    def restore(self, state: DispatcherState, reported: Iterable[tuple[int, int]] = ()) -> None:
        """Go on from a checkpoint, with all actors of that time gone.

        `reported`: (episode, task index) that shared memory tells of since the checkpoint, also
        of episodes that were given out after it. What was in flight and is not among them is
        given up, and its task will be given out again. Raises DispatchError.
        """
        self._position = state["position"]
        self._limit = state["limit"]
        self.version = state["version"]
        self._next_episode = state["submitted"]
        self.finished = state["finished"]
        self.late = state["late"]
        self.doubled = state["doubled"]
        self._failed = set(state["failed"])
        self._lost_tasks = deque(state["lost_tasks"])
        self._done_ahead = set(state["done_ahead"])
        self._in_flight = {
            episode: (task, version) for episode, task, version in state["in_flight"]
        }
        self._leases = {}
        self._idle = {}
        self._leaving = set()
        self.check()
        for episode, task in reported:
            self._report(episode, task)
        self._give_up(set(self._in_flight))
        self.check()

    def _report(self, episode: int, task: int) -> None:
        if episode >= self._next_episode:  # given out after the checkpoint that we came from
            self._failed.update(range(self._next_episode, episode))
            self._next_episode = episode + 1
            self.finished += 1
            self._mark_done(task)
        elif episode in self._in_flight:
            del self._in_flight[episode]
            self.finished += 1
            self._losses.pop(task, None)
            for held in self._leases.values():
                held.discard(episode)
        elif episode in self._failed:
            self._failed.discard(episode)
            self.finished += 1
            self.late += 1
            self._mark_done(task)
        else:
            self.doubled += 1

    def _mark_done(self, task: int) -> None:
        """A task need not be given out (again)."""
        self._losses.pop(task, None)
        if task >= self._position:
            self._done_ahead.add(task)
        elif task in self._lost_tasks:
            self._lost_tasks.remove(task)

    def _lose(self, held: set[int]) -> list[GiveUp]:
        """An actor is gone with these episodes: one of their tasks may be why."""
        lost = {episode: self._in_flight[episode] for episode in held if episode in self._in_flight}
        for task, _ in lost.values():
            self._losses[task] = self._losses.get(task, 0) + 1
        given_up = [
            GiveUp(episode, task, version, self._losses[task])
            for episode, (task, version) in lost.items()
            if self._losses[task] >= GIVEN_UP_AFTER and len(lost) == 1
        ]
        self._give_up(lost.keys() - {each.episode for each in given_up})
        return given_up

    def _give_up(self, episodes: Iterable[int]) -> None:
        for episode in sorted(episodes):
            if episode in self._in_flight:
                task, _ = self._in_flight.pop(episode)
                self._failed.add(episode)
                self._lost_tasks.append(task)

    def _issue(self) -> list[Issue]:
        issues: list[Issue] = []
        self._pass_done()
        while self._idle and not self._closed:
            tasks = self._next_tasks(min(self.capacity, self.request_tasks))
            if not tasks:
                break
            actor = next(iter(self._idle))
            del self._idle[actor]
            first = self._next_episode
            self._next_episode += len(tasks)
            episodes = tuple((first + place, task) for place, task in enumerate(tasks))
            for episode, task in episodes:
                self._in_flight[episode] = (task, self.version)
            self._leases[actor] = {episode for episode, _ in episodes}
            issues.append(Issue(actor, episodes))
        return issues

    def _pass_done(self) -> None:
        """Go past tasks that were done ahead, also where there is no capacity for others."""
        while self._position < self._limit and self._position in self._done_ahead:
            self._done_ahead.discard(self._position)
            self._position += 1

    def _next_tasks(self, count: int) -> Sequence[int]:
        """Take up to `count` tasks: lost ones first, then the stream up to the limit.

        One that is suspected goes alone.
        Small leftovers of capacity wait, so that requests are full or the phase's last.
        """
        if count and self._lost_tasks and self._suspected(self._lost_tasks[0]):
            return [self._lost_tasks.popleft()]
        ahead = sum(self._position <= task < self._limit for task in self._done_ahead)
        left = len(self._lost_tasks) + self._limit - self._position - ahead
        if count < min(self.request_tasks, left):
            return []
        tasks: list[int] = []
        while len(tasks) < count:
            if self._lost_tasks:
                if self._suspected(self._lost_tasks[0]):
                    break  # it is the next request
                tasks.append(self._lost_tasks.popleft())
            elif self._position < self._limit:
                tasks.append(self._position)
                self._position += 1
                self._pass_done()
            else:
                break
        return tasks

    def _suspected(self, task: int) -> bool:
        return self._losses.get(task, 0) >= SUSPECTED_AFTER
