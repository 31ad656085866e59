"""How far acting and learning may go."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from cluster.checkpoint import DriverState
from cluster.dispatcher import (
    ActorReady,
    Dispatcher,
    EpisodeReported,
    Issue,
    LeaseReturned,
    StreamOpened,
    VersionSeen,
)
from cluster.pacing import Pace, note_answered
from cluster.script import Stage
from configs.schema import (
    ActingConfig,
    DistillationConfig,
    DomainShare,
    PhaseConfig,
    RunConfig,
    StreamConfig,
)
from tasks.stream_phases import Phase

PHASES = (
    Phase(number=0, name="a", start=0, stop=20, domains=("blocks",)),
    Phase(number=1, name="b", start=20, stop=50, domains=("blocks",)),
)


def pace(in_order: bool = True, **distillation: int) -> Pace:
    config = DistillationConfig(**({"tasks_per_version": 8} | distillation))  # type: ignore[arg-type]
    dispatcher = Dispatcher(50, 4, config.tasks_per_version, config.max_staleness)
    return Pace(config, PHASES, dispatcher, DriverState(run="r", version=0), 10, in_order)


def act_all(one: Pace, limit: int) -> list[int]:
    """Have the tasks before the limit acted by one actor; returns them."""
    acted: list[int] = []
    waiting = [
        *one.dispatcher.handle(StreamOpened(limit)),
        *one.dispatcher.handle(ActorReady("a")),
    ]
    while waiting:
        issue = waiting.pop(0)
        assert isinstance(issue, Issue)
        acted += [task for _, task in issue.episodes]
        for episode, task in issue.episodes:
            waiting += one.dispatcher.handle(EpisodeReported(episode, task, one.state.version))
        numbers = tuple(episode for episode, _ in issue.episodes)
        waiting += one.dispatcher.handle(LeaseReturned("a", numbers))
    return acted


def test_acting_and_learning_take_turns() -> None:
    one, stage = pace(), Stage("act", 0)
    limits, learned, published = [], [], []
    for _ in range(10):
        limits.append(one.limit(stage))
        for task in act_all(one, limits[-1]):
            note_answered(one.state, task)
        learnable, publishable = one.versions(stage)
        learned.append(learnable)
        assert publishable is not None
        published.append(publishable)
        if one.acted(stage):
            break
        one.state.version = min(learnable, publishable)
        one.dispatcher.handle(VersionSeen(one.state.version))
    assert limits == [16, 20, 20]  # with versions 0, 1, 2
    assert learned == [2, 2, 2]
    assert published == [1, 2, 2]


def test_nothing_is_published_while_somebody_acts() -> None:
    one, stage = pace(), Stage("act", 0)
    one.dispatcher.handle(StreamOpened(one.limit(stage)))
    for task in range(16):
        note_answered(one.state, task)
    assert one.versions(stage) == (2, 0)
    one.dispatcher.handle(ActorReady("a"))
    assert one.versions(stage) == (2, 0)


def test_without_staleness_acting_waits_for_each_version() -> None:
    one = pace(max_staleness=0)
    assert one.limit(Stage("act", 0)) == 8
    one.state.version = 1
    assert one.limit(Stage("act", 0)) == 16


def test_usually_a_phase_is_open_at_once() -> None:
    one, stage = pace(in_order=False), Stage("act", 1)
    one.state.plans_answered = 45
    assert one.limit(stage) == 50
    assert one.versions(stage) == (6, None)
    one.dispatcher.handle(StreamOpened(50))
    one.dispatcher.handle(ActorReady("a"))
    assert one.versions(stage) == (2, None)  # version 0 acts: no more than two ahead of it


def test_answers_are_counted_without_gaps_and_kept_in_a_checkpoint() -> None:
    state = DriverState(run="r")
    for task in (1, 0, 3, 1, 4):
        note_answered(state, task)
    state = DriverState(**json.loads(json.dumps(asdict(state))))
    assert (state.answered, state.answered_ahead) == (2, [3, 4])
    note_answered(state, 2)
    assert (state.answered, state.answered_ahead) == (5, [])


def test_acting_waits_for_a_slow_teacher_in_whole_requests() -> None:
    one, stage = pace(in_order=False), Stage("act", 1)
    assert one.limit(stage) == 8  # of 10
    assert len(act_all(one, 8)) == 8
    assert one.waits(stage) == []
    assert "which has 8 plans to answer" in one.waits_for_teacher(stage)[0]
    one.state.plans_answered = 5
    assert one.limit(stage) == 12
    assert one.waits_for_teacher(stage) == []


def test_tasks_that_are_still_acted_are_no_backlog() -> None:
    one = pace(in_order=False, max_staleness=20)
    act = Stage("act", 1)
    issued = one.dispatcher.handle(StreamOpened(one.limit(act)))
    for actor in "abcdefgh":  # far more at once than plans that may be wanting
        issued += one.dispatcher.handle(ActorReady(actor))
        issued += one.dispatcher.handle(StreamOpened(one.limit(act)))
    assert one.dispatcher.in_flight == 4 * len(issued) == 32
    for issue in issued:
        assert isinstance(issue, Issue)
        for episode, task in issue.episodes:
            assert not one.dispatcher.handle(EpisodeReported(episode, task, 0))
    assert one.limit(act) == 8  # and now they are


def test_who_waits_for_the_learner() -> None:
    one, stage = pace(), Stage("act", 0)
    act_all(one, one.limit(stage))
    assert one.waits(stage) == []
    assert "to answer the plans of tasks before 8" in one.waits_for_teacher(stage)[0]
    for task in range(8):
        note_answered(one.state, task)
    assert "publish version 1 (it has 0)" in one.waits(stage)[0]
    assert one.waits(Stage("probe", 0)) == []


def test_several_actors_cannot_be_reproduced() -> None:
    share = DomainShare(name="blocks", size={"blocks": (3, 3)})
    stream = StreamConfig(phases=(PhaseConfig(name="a", tasks=8, domains=(share,)),))
    with pytest.raises(ValidationError, match=r"reproducible = true needs acting\.actors = 1"):
        RunConfig(stream=stream, reproducible=True, acting=ActingConfig(actors=2))
