"""Slow, hard tasks keep their share of what is trained, and nothing piles up: the books of a run of
many tasks, in a time that is counted and not waited for."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from cluster.checkpoint import DriverState
from cluster.dispatcher import (
    ActorReady,
    Dispatcher,
    EpisodeReported,
    Event,
    Issue,
    LeaseReturned,
    StreamOpened,
    VersionSeen,
)
from cluster.pacing import Pace
from cluster.script import Stage
from configs.schema import DistillationConfig
from learner.replay import Reservoir
from shared_memory.records import Trace
from tasks.stream_phases import Phase

REQUEST, MOST_PLANS, RESERVOIR = 8, 200, 500
DOMAINS = ("easy", "easy", "hard", "easy")  # in turn: a quarter of the stream is hard
ACTING_S = {"easy": 0.1, "hard": 3.0}  # of an episode; a request takes as long as its slowest
PLANNING_S = {"easy": 0.02, "hard": 1.0}
TIME_LIMIT_S = 10.0
TIMED_OUT = 5  # every so many hard tasks the planner runs out of time
VERSION_S = 2.0


@dataclass
class Simulation:
    """Three actors, one of them slow, one teacher, one learner. What waits is counted."""

    tasks: int
    planning: float = 1.0  # how slow the teacher is
    finished: Counter[str] = field(default_factory=Counter)
    traced: Counter[str] = field(default_factory=Counter)
    most_waiting: int = 0
    stalest: int = 0

    def __post_init__(self) -> None:
        self.config = DistillationConfig(tasks_per_version=32, max_staleness=2)
        self.dispatcher = Dispatcher(self.tasks, REQUEST, 32, 2)
        self.state = DriverState(run="r", version=0)
        phase = Phase(number=0, name="all", start=0, stop=self.tasks, domains=("easy", "hard"))
        self.pace = Pace(
            self.config, (phase,), self.dispatcher, self.state, MOST_PLANS, in_order=False
        )
        self.reservoir = Reservoir(RESERVOIR, 0)
        self._plans: list[int] = []
        self._events: list[tuple[float, int, str, tuple[int, ...]]] = []
        self._number = 0
        self._now = 0.0
        self._random = random.Random(1)
        self._versions: dict[int, int] = {}
        self._learns = self._teaches = False

    def run(self) -> None:
        """Go through the stream."""
        stage = Stage("act", 0)
        for actor in ("a", "b", "slow"):
            self._tell(ActorReady(actor))
        while not self.pace.acted(stage):
            self._tell(StreamOpened(self.pace.limit(stage)))
            self._start(stage)
            assert self._events, "everybody waits for everybody"
            self._now, _, kind, what = heapq.heappop(self._events)
            self._happens(kind, what)
            sizes = (
                self.dispatcher.in_flight,
                self.dispatcher.finished - self.state.plans_answered,
                sum(len(part) for part in _containers(self.dispatcher)),
            )
            self.most_waiting = max(self.most_waiting, *sizes)

    def _start(self, stage: Stage) -> None:
        if self._plans and not self._teaches:
            self._teaches = True
            task = self._plans.pop(0)
            seconds = PLANNING_S[self._domain(task)] if self._traced(task) else TIME_LIMIT_S
            self._later(seconds * self.planning, "planned", (task,))
        learnable, _ = self.pace.versions(stage)
        if not self._learns and self.state.version < learnable and len(self.reservoir):
            self._learns = True
            self._later(VERSION_S, "version", (self.state.version + 1,))

    def _happens(self, kind: str, what: tuple[int, ...]) -> None:
        if kind == "version":
            self._learns = False
            self.state.version = what[0]
            self._tell(VersionSeen(what[0]))
        elif kind == "planned":
            self._teaches = False
            self.state.plans_answered += 1
            if self._traced(what[0]):
                self.traced[self._domain(what[0])] += 1
                self.reservoir.add(self._trace(what[0]))
        else:
            episodes, tasks = what[: len(what) // 2], what[len(what) // 2 :]
            for episode, task in zip(episodes, tasks, strict=True):
                self.finished[self._domain(task)] += 1
                version = self._versions.pop(episode)
                self.stalest = max(self.stalest, self.state.version - version)
                self._plans.append(task)
                self._tell(EpisodeReported(episode, task, version))
            self._tell(LeaseReturned(kind, episodes))

    def _tell(self, event: Event) -> None:
        for instruction in self.dispatcher.handle(event):
            assert isinstance(instruction, Issue)
            episodes, tasks = zip(*instruction.episodes, strict=True)
            self._versions |= dict.fromkeys(episodes, self.state.version)
            seconds = max(ACTING_S[self._domain(task)] for task in tasks)
            seconds *= self._random.uniform(0.5, 1.5) * (5 if instruction.actor == "slow" else 1)
            self._later(seconds, instruction.actor, (*episodes, *tasks))

    def _later(self, seconds: float, kind: str, what: tuple[int, ...]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + seconds, self._number, kind, what))

    @staticmethod
    def _domain(task: int) -> str:
        return DOMAINS[task % len(DOMAINS)]

    def _traced(self, task: int) -> bool:
        """Whether the planner finds a plan in time."""
        return self._domain(task) == "easy" or task // len(DOMAINS) % TIMED_OUT != 0

    def _trace(self, task: int) -> Trace:
        return Trace(task, "", self._domain(task), 0, "planner", "", ("",), ("go",))


def _containers(dispatcher: Dispatcher) -> list[set[int] | dict[str, None]]:
    """All that a dispatcher keeps, but what is in flight."""
    kept = [getattr(dispatcher, name) for name in vars(dispatcher) if name.startswith("_")]
    sized = [part for part in kept if hasattr(part, "__len__")]
    assert len(sized) >= 6
    return [part for part in sized if part is not dispatcher._in_flight]


@pytest.mark.parametrize("planning", [0.1, 5.0], ids=["quick teacher", "slow teacher"])
def test_hard_tasks_keep_their_share_and_nothing_piles_up(planning: float) -> None:
    tasks = 4000 if planning < 1 else 2000
    run = Simulation(tasks, planning)
    run.run()
    assert run.finished == {"easy": tasks * 3 // 4, "hard": tasks // 4}  # each once, none dropped
    assert run.stalest <= run.config.max_staleness
    in_flight = 3 * REQUEST
    assert run.most_waiting <= MOST_PLANS + in_flight
    # What is replayed has the shares of what the teacher solved: nothing slow is passed over.
    solved = run.traced["hard"] / run.traced.total()
    held = Counter(trace.domain for trace in run.reservoir.traces)
    assert held.total() == RESERVOIR
    assert held["hard"] / RESERVOIR == pytest.approx(solved, abs=0.06)  # 3 standard deviations
    expected = tasks / 4 * (1 - 1 / TIMED_OUT)
    assert run.traced["hard"] == pytest.approx(expected, abs=MOST_PLANS)


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    short, long = Simulation(1000, 0.1), Simulation(8000, 0.1)
    short.run()
    long.run()
    assert long.most_waiting <= short.most_waiting + 3 * REQUEST
