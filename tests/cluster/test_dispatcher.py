"""The dispatcher, as a state machine under arbitrary events."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from cluster.dispatcher import (
    GIVEN_UP_AFTER,
    ActorLeaves,
    ActorLost,
    ActorReady,
    Dispatcher,
    DispatchError,
    EpisodeReported,
    GiveUp,
    Instruction,
    Issue,
    LeaseReturned,
    StreamOpened,
    VersionSeen,
)


def make(tasks: int = 40, request: int = 4, per_version: int = 8, staleness: int = 1) -> Dispatcher:
    return Dispatcher(tasks, request, per_version, staleness)


def test_gives_out_the_stream_in_order_and_reports() -> None:
    dispatcher = make()
    assert dispatcher.handle(ActorReady("a")) == []  # nothing is open yet
    (issue,) = dispatcher.handle(StreamOpened(40))
    assert issue == Issue("a", ((0, 0), (1, 1), (2, 2), (3, 3)))
    for episode, task in issue.episodes:
        dispatcher.handle(EpisodeReported(episode, task, 0))
    (following,) = dispatcher.handle(LeaseReturned("a", (0, 1, 2, 3)))
    assert [task for _, task in following.episodes] == [4, 5, 6, 7]
    assert (dispatcher.submitted, dispatcher.finished, dispatcher.in_flight) == (8, 4, 4)


def test_a_lost_lease_is_issued_again_under_new_numbers() -> None:
    dispatcher = make()
    dispatcher.handle(StreamOpened(40))
    dispatcher.handle(ActorReady("a"))
    dispatcher.handle(EpisodeReported(1, 1, 0))
    dispatcher.handle(ActorLost("a"))
    assert (dispatcher.finished, dispatcher.failed) == (1, 3)
    (again,) = dispatcher.handle(ActorReady("a2"))
    assert again.episodes == ((4, 0), (5, 2), (6, 3), (7, 4))


def test_an_actor_that_leaves_returns_its_lease_and_gets_nothing_more() -> None:
    dispatcher = make()
    dispatcher.handle(StreamOpened(40))
    dispatcher.handle(ActorReady("busy"))
    assert dispatcher.handle(ActorLeaves("busy")) == []
    for episode in range(4):
        dispatcher.handle(EpisodeReported(episode, episode, 0))
    assert dispatcher.handle(LeaseReturned("busy", (0, 1, 2, 3))) == []
    assert dispatcher.handle(ActorReady("busy")) == []  # it had a probe to answer
    assert dispatcher.idle_actors == ()
    assert dispatcher.handle(ActorLost("busy")) == []
    assert (dispatcher.finished, dispatcher.failed, dispatcher.in_flight) == (4, 0, 0)
    (issue,) = dispatcher.handle(ActorReady("other"))
    assert [task for _, task in issue.episodes] == [4, 5, 6, 7]


def test_a_task_that_costs_actors_is_given_up_and_the_others_are_not() -> None:
    """Task 2 takes every actor with it."""
    dispatcher = make(tasks=8)
    dispatcher.handle(StreamOpened(8))
    finished: list[int] = []
    given_up: list[GiveUp] = []
    sizes: list[int] = []
    for number in range(40):
        instructions = dispatcher.handle(ActorReady(f"a{number}"))
        while instructions:
            issue = instructions[0]
            assert isinstance(issue, Issue)
            sizes.append(len(issue.episodes))
            if 2 in [task for _, task in issue.episodes]:
                instructions = dispatcher.handle(ActorLost(issue.actor))
                for each in instructions:
                    assert isinstance(each, GiveUp)
                    given_up.append(each)
                    assert dispatcher.in_flight == 1
                    dispatcher.handle(EpisodeReported(each.episode, each.task, each.version))
                break
            for episode, task in issue.episodes:
                finished.append(task)
                dispatcher.handle(EpisodeReported(episode, task, 0))
            instructions = dispatcher.handle(
                LeaseReturned(issue.actor, tuple(episode for episode, _ in issue.episodes))
            )
    assert sorted(finished) == [0, 1, 3, 4, 5, 6, 7]
    assert [(each.task, each.actors) for each in given_up] == [(2, 3)]
    assert sizes[:4] == [4, 4, 1, 1]
    assert dispatcher.drained
    assert dispatcher.finished == 8


def test_acting_waits_for_the_learner() -> None:
    dispatcher = make(tasks=400)
    dispatcher.handle(StreamOpened(400))
    issues = dispatcher.handle(ActorReady("a"))
    while issues:
        for episode, task in issues[0].episodes:
            dispatcher.handle(EpisodeReported(episode, task, 0))
        issues = dispatcher.handle(LeaseReturned("a", tuple(e for e, _ in issues[0].episodes)))
    assert dispatcher.submitted == 16  # (max_staleness 1 + version 0 + 1) x 8
    assert len(dispatcher.handle(VersionSeen(1))[0].episodes) == 4


def test_the_learner_waits_for_acting() -> None:
    dispatcher = make()
    assert dispatcher.version_ceiling is None
    dispatcher.handle(StreamOpened(40))
    dispatcher.handle(VersionSeen(3))
    dispatcher.handle(ActorReady("a"))
    dispatcher.handle(VersionSeen(4))
    assert dispatcher.version_ceiling == 4


def test_an_episode_that_comes_late_or_twice_counts_once() -> None:
    dispatcher = make()
    dispatcher.handle(StreamOpened(4))
    dispatcher.handle(ActorReady("a"))
    dispatcher.handle(ActorLost("a"))
    dispatcher.handle(EpisodeReported(2, 2, 0))
    dispatcher.handle(EpisodeReported(2, 2, 0))
    assert (dispatcher.late, dispatcher.doubled, dispatcher.finished) == (1, 1, 1)
    (issue,) = dispatcher.handle(ActorReady("b"))
    assert [task for _, task in issue.episodes] == [0, 1, 3]


def test_resumes_with_episodes_that_the_checkpoint_does_not_know() -> None:
    dispatcher = make()
    dispatcher.handle(StreamOpened(40))
    dispatcher.handle(ActorReady("a"))
    state = json.loads(json.dumps(dispatcher.state()))
    resumed = make()
    resumed.restore(state, reported=[(1, 1), (6, 9)])
    assert (resumed.submitted, resumed.finished, resumed.failed) == (7, 2, 5)
    (first,) = resumed.handle(ActorReady("b"))
    assert [task for _, task in first.episodes] == [0, 2, 3, 4]
    resumed.handle(LeaseReturned("b", tuple(e for e, _ in first.episodes)))
    for episode, task in first.episodes:
        resumed.handle(EpisodeReported(episode, task, 0))
    resumed.handle(VersionSeen(2))
    given = {task for issue in resumed.handle(ActorReady("c")) for _, task in issue.episodes}
    assert 9 not in given


def test_the_rest_after_a_resume_is_given_out_though_capacity_is_less_than_a_request() -> None:
    before = make(tasks=40, request=32, per_version=32, staleness=0)
    before.handle(StreamOpened(40))
    resumed = make(tasks=40, request=32, per_version=32, staleness=0)
    resumed.restore(before.state(), reported=[(number, number) for number in range(38)])
    resumed.handle(VersionSeen(1))
    (issue,) = resumed.handle(ActorReady("a"))
    assert [task for _, task in issue.episodes] == [38, 39]
    for episode, task in issue.episodes:
        resumed.handle(EpisodeReported(episode, task, 1))
    assert resumed.drained


def test_a_stream_that_was_done_ahead_is_drained_without_capacity() -> None:
    before = make(tasks=40, request=32, per_version=32, staleness=0)
    before.handle(StreamOpened(32))
    resumed = make(tasks=40, request=32, per_version=32, staleness=0)
    resumed.restore(before.state(), reported=[(number, number) for number in range(32)])
    assert resumed.handle(ActorReady("a")) == []
    assert resumed.drained


def test_refuses_settings_that_would_deadlock() -> None:
    with pytest.raises(DispatchError, match="can never be admitted"):
        make(request=20, per_version=8, staleness=1)


class Dispatching(RuleBasedStateMachine):
    """Actors come, answer, die; outcomes come in any order, late or twice; the driver resumes."""

    actors = Bundle("actors")

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = make(tasks=60, request=3, per_version=5, staleness=2)
        self.held: dict[str, tuple[tuple[int, int], ...]] = {}
        self.unreported: list[tuple[int, int]] = []
        self.reported: set[int] = set()
        self.numbers: set[int] = set()
        self.acted: set[int] = set()
        self.leaving: set[str] = set()
        self.count = 0

    def take(self, instructions: list[Instruction]) -> None:
        issues = [each for each in instructions if isinstance(each, Issue)]
        given_up = [each for each in instructions if isinstance(each, GiveUp)]
        for each in given_up:
            assert each.episode in self.numbers - self.reported
            assert each.task not in self.acted
            assert each.actors >= GIVEN_UP_AFTER
        for issue in issues:
            assert issue.actor not in self.held
            assert issue.actor not in self.leaving
            self.held[issue.actor] = issue.episodes
            for episode, task in issue.episodes:
                assert episode not in self.numbers
                self.numbers.add(episode)
                assert task not in self.acted
        running = self.dispatcher.finished + self.dispatcher.in_flight
        allowed = (2 + self.dispatcher.version + 1) * 5
        if issues:
            assert running <= allowed
        for each in given_up:
            self.report(each.episode, each.task)

    def report(self, episode: int, task: int) -> None:
        self.reported.add(episode)
        self.acted.add(task)
        self.take(self.dispatcher.handle(EpisodeReported(episode, task, 0)))

    @rule(target=actors)
    def join(self) -> str:
        self.count += 1
        name = f"actor-{self.count}"
        self.take(self.dispatcher.handle(ActorReady(name)))
        return name

    @rule(actor=actors, share=st.integers(0, 3))
    def answer(self, actor: str, share: int) -> None:
        if actor in self.held:
            episodes = self.held.pop(actor)
            done, lost = episodes[:share], episodes[share:]
            for episode, task in done:
                if episode not in self.reported:
                    self.report(episode, task)
            del lost
            numbers = tuple(episode for episode, _ in done)
            self.take(self.dispatcher.handle(LeaseReturned(actor, numbers)))

    @rule(actor=actors)
    def leave(self, actor: str) -> None:
        self.leaving.add(actor)
        self.take(self.dispatcher.handle(ActorLeaves(actor)))

    @rule(actor=actors, share=st.integers(0, 3), late=st.booleans())
    def die(self, actor: str, share: int, late: bool) -> None:
        episodes = self.held.pop(actor, ())
        for episode, task in episodes[:share]:
            if episode not in self.reported:
                self.report(episode, task)
        if late and share < len(episodes):
            self.unreported.append(episodes[share])
        self.leaving.discard(actor)
        self.take(self.dispatcher.handle(ActorLost(actor)))

    @precondition(lambda self: self.unreported)
    @rule()
    def come_late(self) -> None:
        episode, task = self.unreported.pop()
        self.reported.add(episode)
        self.dispatcher.handle(EpisodeReported(episode, task, 0))

    @rule()
    def double(self) -> None:
        if self.reported:
            before = self.dispatcher.finished
            self.dispatcher.handle(EpisodeReported(min(self.reported), 0, 0))
            assert self.dispatcher.finished == before

    @rule(step=st.integers(1, 3))
    def learn(self, step: int) -> None:
        self.take(self.dispatcher.handle(VersionSeen(self.dispatcher.version + step)))

    @rule(limit=st.integers(0, 60))
    def open(self, limit: int) -> None:
        self.take(self.dispatcher.handle(StreamOpened(limit)))

    @rule()
    def resume(self) -> None:
        state = json.loads(json.dumps(self.dispatcher.state()))
        self.dispatcher = make(tasks=60, request=3, per_version=5, staleness=2)
        self.dispatcher.restore(state)
        self.held = {}
        self.leaving = set()

    @invariant()
    def balanced(self) -> None:
        self.dispatcher.check()
        assert self.dispatcher.capacity >= 0
        assert self.dispatcher.submitted == len(self.numbers)


TestDispatching = Dispatching.TestCase
TestDispatching.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
