"""A stream shared out among actors that come, go and die: every task is done once.

The dispatcher hands tasks out centrally, so an actor never decides what is its share. What holds:
each task of the stream has exactly one finished episode, whatever the number of actors, also where
that changes and where a run goes on from a checkpoint; a lost lease is acted again. (A task that
several actors were lost with is given up: its episode is written down as failed, once.)
"""

from __future__ import annotations

import json
import random

import pytest

from cluster.dispatcher import (
    ActorLost,
    ActorReady,
    Dispatcher,
    EpisodeReported,
    GiveUp,
    Instruction,
    LeaseReturned,
    StreamOpened,
    VersionSeen,
)
from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.stream import TaskStream

CONFIG = StreamConfig(
    phases=(
        PhaseConfig(
            name="all",
            tasks=60,
            domains=(DomainShare(name="doors"), DomainShare(name="visit_all")),
            mixing="turns",
        ),
    ),
    repeat=2,
    distinct=True,
    probe_tasks=4,
)


class Fleet:
    """Actors that act what they are given, or die with some of it."""

    def __init__(self, dispatcher: Dispatcher, stream: TaskStream, seed: int) -> None:
        self.dispatcher = dispatcher
        self.stream = stream
        self.rng = random.Random(seed)
        self.done: list[tuple[int, int, str]] = []  # episode, task index, task digest

    def act(self, actors: int, most: int) -> None:
        """Let so many actors work until all is done or `most` episodes are."""
        waiting: list[Instruction] = self.dispatcher.handle(StreamOpened(len(self.stream)))
        for number in range(actors):
            waiting += self.dispatcher.handle(ActorReady(f"actor-{number}"))
        while waiting and len(self.done) < most:
            issue = waiting.pop(self.rng.randrange(len(waiting)))
            if isinstance(issue, GiveUp):
                waiting += self._report(issue.episode, issue.task)
                continue
            dies = self.rng.random() < 0.2
            acted = [pair for pair in issue.episodes if not dies or self.rng.random() < 0.5]
            for episode, index in acted:
                waiting += self._report(episode, index)
            waiting += self.dispatcher.handle(VersionSeen(self.dispatcher.version + 1))
            if dies:
                waiting += self.dispatcher.handle(ActorLost(issue.actor))
                waiting += self.dispatcher.handle(ActorReady(issue.actor))
            else:
                told = tuple(episode for episode, _ in acted)
                waiting += self.dispatcher.handle(LeaseReturned(issue.actor, told))

    def _report(self, episode: int, index: int) -> list[Instruction]:
        self.done.append((episode, index, self.stream[index].digest))
        return self.dispatcher.handle(EpisodeReported(episode, index, 0))


def dispatcher() -> Dispatcher:
    return Dispatcher(120, request_tasks=4, tasks_per_version=8, max_staleness=2)


@pytest.mark.parametrize(("first", "then"), [(1, 1), (1, 5), (7, 2), (3, 16)])
@pytest.mark.parametrize("seed", range(2))
def test_every_task_is_done_once_by_any_number_of_actors(first: int, then: int, seed: int) -> None:
    before = Fleet(dispatcher(), TaskStream(CONFIG, 3), seed)
    before.act(first, most=20)
    saved = json.loads(json.dumps(before.dispatcher.state()))
    since = len(before.done)
    before.act(first, most=50)  # after the checkpoint; then the driver is killed

    resumed = dispatcher()
    reported = [(episode, index) for episode, index, _ in before.done[since:]]
    resumed.restore(saved, reported)
    after = Fleet(resumed, TaskStream(CONFIG, 3), seed + 100)  # the stream is made anew
    after.act(then, most=10_000)

    finished = before.done + after.done
    assert sorted(index for _, index, _ in finished) == list(range(120))
    assert len({episode for episode, _, _ in finished}) == 120
    assert len({digest for _, _, digest in finished}) == 120
    assert resumed.drained
    assert resumed.finished == 120
