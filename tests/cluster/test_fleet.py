"""Actors and learner that misbehave, as the driver's ends of them see it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors.records import ActReport, Pulse, StageTimes
from cluster.fleet import MAX_DEATHS_IN_A_ROW, Fleet
from cluster.fleet_events import ActorAnswered, ActorDown, ActorUp, FleetError
from cluster.hosts import CastOutError, HostWatch, look
from cluster.learner_link import LearnerLink, LearnerVersion
from cluster.ray_session import RaySession
from cluster.supervisor import Supervisor
from configs.schema import DistillationConfig, ModelConfig
from learner.actor import ActorStatus
from learner.learner import LearnerStatus, VersionReport
from learner.student import RoundStatistics
from learner.teacher import TeacherStatistics
from shared_memory.fleet_wishes import FleetSize


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with RaySession(None, 4.0):
        yield


@pytest.fixture
def hosts() -> Iterator[HostWatch]:
    watch = HostWatch()
    yield watch
    watch.stop()


def actor_class(fails: bool) -> Any:
    """An actor that starts well; each request to act fails, or is answered at once."""

    class StandInActor:
        def __init__(self, name: str, setting: Any) -> None:
            self.name = name

        def start(self) -> Pulse:
            return self.pulse()

        def pulse(self) -> Pulse:
            return Pulse(process=1, rounds=0, resident_mb=1.0)

        def leave(self) -> None:
            pass

        def act(self, tasks: Any) -> ActReport:
            if fails:
                raise RuntimeError("this task is poison")
            return ActReport(self.name, 0, (), 0, StageTimes(), 0.0, 1.0)

    return ray.remote(num_cpus=0)(StandInActor)


def events_until(fleet: Fleet, kind: type[Any]) -> list[Any]:
    deadline = time.monotonic() + 60.0
    found: list[Any] = []
    while not any(isinstance(event, kind) for event in found):
        assert time.monotonic() < deadline, found
        ready, _ = ray.wait(fleet.open_requests, num_returns=1, timeout=0.25)
        found += fleet.poll(ready)
    return found


def fail_again_and_again(fleet: Fleet, lost: list[ActorDown]) -> None:
    while len(lost) <= MAX_DEATHS_IN_A_ROW:
        (up,) = events_until(fleet, ActorUp)
        fleet.act(up.actor, ())
        lost += events_until(fleet, ActorDown)


@pytest.mark.timeout(170)
def test_actors_that_start_and_always_fail_end_the_run(
    monkeypatch: pytest.MonkeyPatch, hosts: HostWatch
) -> None:
    monkeypatch.setattr("cluster.cast.ActorProcess", actor_class(fails=True))
    supervisor = Supervisor(60.0, time.monotonic())
    setting: Any = None
    fleet = Fleet(setting, FleetSize(1), {}, 60.0, supervisor, hosts)
    began = time.monotonic()
    lost: list[ActorDown] = []
    try:
        with pytest.raises(FleetError, match=r"in a row were lost without a report.*poison"):
            fail_again_and_again(fleet, lost)
    finally:
        fleet.stop()
    assert len(lost) == MAX_DEATHS_IN_A_ROW
    assert supervisor.quiet(time.monotonic()) >= time.monotonic() - began  # no progress at all


@pytest.mark.timeout(60)
def test_an_answer_is_progress_and_a_start_is_not(
    monkeypatch: pytest.MonkeyPatch, hosts: HostWatch
) -> None:
    monkeypatch.setattr("cluster.cast.ActorProcess", actor_class(fails=False))
    supervisor = Supervisor(60.0, time.monotonic())
    setting: Any = None
    fleet = Fleet(setting, FleetSize(1), {}, 60.0, supervisor, hosts)
    began = time.monotonic()
    try:
        (up,) = events_until(fleet, ActorUp)
        assert supervisor.quiet(time.monotonic()) >= time.monotonic() - began
        fleet.act(up.actor, ())
        events_until(fleet, ActorAnswered)
        assert supervisor.quiet(time.monotonic()) < time.monotonic() - began
    finally:
        fleet.stop()


def learner_class() -> Any:
    """A learner that publishes version 1 between the third and fourth question put to it."""

    class StandInLearner:
        def __init__(self, *plan: Any) -> None:
            self.asked = 0

        def start(self) -> None:
            pass

        def allow(self, ceiling: int | None) -> None:
            pass

        def stop(self, deadline_s: float) -> bool:
            return True

        def _version(self) -> int:
            self.asked += 1
            return min(1, (self.asked - 1) // 3)

        def status(self) -> ActorStatus:
            learner = LearnerStatus(
                self._version(), 0, 3, "distils", 0.0, 0.0, 0, 0, TeacherStatistics(), 0.0, ()
            )
            return ActorStatus(1, "running", 1.0, 1.0, learner)

        def versions(self, after: int) -> tuple[VersionReport, ...]:
            statistics = RoundStatistics(steps=1, loss=0.5)
            newest = self._version()
            return tuple(
                VersionReport(version, 2, 3, statistics) for version in range(after + 1, newest + 1)
            )

    return ray.remote(num_cpus=0)(StandInLearner)


@pytest.mark.timeout(60)
def test_a_version_published_between_two_questions_is_told_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.learner_link.LearnerActor", learner_class())
    setting = SimpleNamespace(distillation=DistillationConfig(), reproducible=False)
    plan: Any = SimpleNamespace(setting=setting, model=ModelConfig(), url="")
    link = LearnerLink(plan, 60.0, Supervisor(60.0, time.monotonic()), cpus=0.0)
    told: list[LearnerVersion] = []
    deadline = time.monotonic() + 30.0
    try:
        while not any(event.version == 1 for event in told):
            assert time.monotonic() < deadline
            told += [event for event in link.poll() if isinstance(event, LearnerVersion)]
            time.sleep(0.05)
    finally:
        link.stop(1.0)
    (first,) = (event for event in told if event.version == 1)
    assert first.published is not None
    assert first.published(0).traces_new == 2


def test_a_driver_whose_host_was_given_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    there = look()
    looks = [there, (), there, (), (), (), ()]  # once without it is no reason
    monkeypatch.setattr("cluster.hosts.look", lambda: looks.pop(0) if looks else ())
    watch = HostWatch(every_s=0.05)
    try:
        deadline = time.monotonic() + 20.0
        while len(looks) > 1 and time.monotonic() < deadline:
            watch.latest()
            time.sleep(0.01)
        time.sleep(0.2)
        with pytest.raises(CastOutError, match="nesypr resume"):
            watch.latest()
    finally:
        watch.stop()
