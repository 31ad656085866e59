"""The end of a run, on a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import redis

from cluster import checkpoint
from cluster.checkpoint import DriverState
from cluster.closing import ANSWERS_DEADLINE_S, Closing, answers_deadline_s
from cluster.dispatcher import ActorReady, Dispatcher, StreamOpened
from cluster.observer import Event
from cluster.outcome_intake import OutcomeIntake
from cluster.ray_session import RaySession
from cluster.run_folder import RunFolder
from configs.schema import BankConfig, SharedMemoryConfig, TeacherConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.keys import RunKeys
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue
from shared_memory.records import Episode, PlanOutcomeRecord, PlanRequest
from shared_memory.server import EmbeddedServer


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    with EmbeddedServer(tmp_path / "server") as server:
        client = connect(SharedMemoryConfig(), server.url)
        yield client
        client.close()


def episodes(first: int, stop: int) -> list[Episode]:
    return [
        Episode(number, number, "d", "blocks", 0, 0, True, 1, 1, 0, (), "a", 0.1, 0, 0)
        for number in range(first, stop)
    ]


class World:
    """A closing run with three episodes that were acted, each with a plan request."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.dispatcher = Dispatcher(8, 4, 8, 0)
        self.dispatcher.handle(StreamOpened(8))
        self.dispatcher.handle(ActorReady("a"))
        self.state = DriverState(run="run")
        self.events: list[Event] = []
        self.intake = OutcomeIntake(self.state, self.events.append)
        self.log = OutcomeLog(client, "run", ["blocks"])
        self.stop = False
        self.looks = 0
        requests = [PlanRequest(n, "d", "blocks", 0, "problem", "", True) for n in range(3)]
        Bank(client, "run", BankConfig()).push(episodes(0, 3), requests)
        self.closing = Closing(
            self.processes([]),
            self.dispatcher,
            self.state,
            ("blocks",),
            TeacherConfig(),
            self.look,
            lambda: None,
            lambda: self.stop,
            self.events.append,
        )

    def processes(self, requests: list[Any]) -> Any:
        nothing = SimpleNamespace(stop=lambda **_: None, open_requests=requests)
        return SimpleNamespace(client=self.client, fleet=nothing, learner=nothing)

    def look(self) -> None:
        self.looks += 1
        list(self.intake.read(self.log))

    def answer(self, count: int) -> None:
        queue = PlanQueue(self.client, "run", ["blocks"])
        for ticket, _ in queue.take("teacher", count):
            queue.complete(
                ticket,
                PlanOutcomeRecord(0, "d", "blocks", 0, "p", "timeout", -1, 9.0, True, False),
                None,
            )


def test_the_wait_for_plans_grows_with_what_is_open_and_what_each_may_take() -> None:
    one = TeacherConfig(time_limit_s=10.0, processes=1)
    assert answers_deadline_s(0, one) == ANSWERS_DEADLINE_S
    assert answers_deadline_s(100, one) >= 100 * 10.0
    many = one.model_copy(update={"processes": 4})
    assert ANSWERS_DEADLINE_S < answers_deadline_s(100, many) < answers_deadline_s(100, one) / 3


def test_a_finished_run_with_open_plans_does_not_close(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.closing.answers_deadline_s", lambda backlog, teacher: 0.3)
    world = World(client)
    world.answer(2)
    assert world.closing.quiesce("finished") == "finished"
    account = world.closing.account("finished", 0)
    assert not account.closes
    assert "3 plans were asked for, but 2 answered" in account.problems
    assert "the teacher's last 1 plans" in str(world.events)
    world.answer(1)
    assert world.closing.quiesce("finished") == "finished"
    assert "answered" not in str(world.closing.account("finished", 0).problems)


def test_a_run_that_is_stopped_while_the_teacher_plans_can_be_resumed(client: redis.Redis) -> None:
    world = World(client)
    world.stop = True
    assert world.closing.quiesce("finished") == "stopped"


@pytest.mark.timeout(60)
def test_draining_does_not_spin_on_an_answer(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.closing.STOP_GRACE_S", 1.0)
    world = World(client)
    with RaySession(None, 1.0):
        answered = world.processes([ray.put("answered")])
        object.__setattr__(world.closing, "processes", answered)
        began = time.monotonic()
        world.closing.quiesce("stopped")
    assert time.monotonic() - began >= 1.0
    assert world.looks <= 10


def test_the_log_forgets_what_the_checkpoint_before_the_last_had_read(
    client: redis.Redis, tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path, "run", numbered=False)
    bank, log = Bank(client, "run", BankConfig()), OutcomeLog(client, "run", ["blocks"])
    state = DriverState(run="run")
    intake = OutcomeIntake(state, lambda event: None)

    def act_and_save(first: int) -> int:
        bank.push(episodes(first, first + 300))
        list(intake.read(log))
        checkpoint.write(folder, state)
        intake.checkpointed(log)
        return int(call(client, "XLEN", RunKeys("run").domain("blocks").outcomes))

    assert act_and_save(0) == 300
    assert act_and_save(300) < 600
    (folder.checkpoints / "driver.json").write_text("damaged")
    before, _ = checkpoint.read(folder)
    assert before.cursor == {"blocks": 300}
    assert len(log.read(before.cursor)[0]) == 300  # a resume from the one before reads them all
    state.copied = True  # copies may go on from here
    kept = act_and_save(600)
    assert act_and_save(900) == kept + 300
