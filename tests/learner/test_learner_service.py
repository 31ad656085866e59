import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from learner_world import DOMAINS, RUN, ParrotStudent, push, requests, setting, wait_for

from configs.schema import BankConfig, SharedMemoryConfig
from learner import schedule
from learner.checkpoint import CheckpointFolder
from learner.errors import LearnerError
from learner.learner import LearnerService
from learner.reencoding import Reencoding
from shared_memory.bank import Bank
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.connection import call
from shared_memory.heartbeat import Heartbeats
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.records import Codes, Decision, Episode, PlanOutcomeRecord
from shared_memory.server_clients import ServerClient
from shared_memory.weights import PublishedWeights


class Running:
    """A learner in a thread."""

    def __init__(
        self,
        client: redis.Redis,
        folder: Path,
        ceiling: int | None = None,
        student: ParrotStudent | None = None,
        **distillation: Any,
    ) -> None:
        self.student = student or ParrotStudent()
        self.service = LearnerService(
            setting(folder, **distillation), client, lambda: self.student, ceiling
        )
        self.error = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.service.run()
        except Exception as error:  # noqa: BLE001
            self.error = error

    def __enter__(self) -> LearnerService:
        self.thread.start()
        return self.service

    def __exit__(self, *_: object) -> None:
        self.service.ask_stop()
        self.thread.join(15)
        assert not self.thread.is_alive()


def outcomes(client: redis.Redis) -> list[PlanOutcomeRecord]:
    events = OutcomeLog(client, RUN, DOMAINS).read({}, 10_000)[0]
    return [event.outcome for event in events]


def test_requests_become_outcomes_traces_and_versions(client: redis.Redis, tmp_path: Path) -> None:
    running = Running(client, tmp_path)
    weights = PublishedWeights(client, RUN)
    with running as service:
        wait_for(lambda: weights.latest_version() == 0)
        assert service.versions(-1)[0].round.steps == 0
        push(client, [*requests(20), *requests(10, first=20, failed=False)])
        wait_for(lambda: len(outcomes(client)) == 30)
        wait_for(lambda: service.status().traces_taken >= 18)
        wait_for(lambda: service.version >= 2)
        status = service.status()
        assert status.teacher.calls == 30
        assert status.age_s < 5
        assert status.parameters == 3
    assert running.error is None
    events = outcomes(client)
    assert sorted(event.task_index for event in events) == list(range(30))
    traced = {event.task_index for event in events if event.traced}
    assert traced <= set(range(20))
    assert all(event.status == "solved" and event.cost >= 0 for event in events)
    assert {event.task_index for event in events if event.cost > 0 and event.failed} == traced
    taught = {index for batch in running.student.taught for index in batch}
    assert taught <= traced
    reports = service.versions(-1)
    assert [report.version for report in reports] == list(range(len(reports)))
    version, payload = weights.fetch()
    assert payload == running.student.weights(version) or running.student.window
    assert PlanQueue(client, RUN, DOMAINS).backlog() == 0
    assert TraceQueue(client, RUN, DOMAINS).backlog() == 0  # all in the last checkpoint
    assert Heartbeats(client, RUN).read()["learner"].numbers["version"] >= 0


def test_decisions_with_prompts_of_their_own_are_replayed_one_by_one(
    client: redis.Redis, tmp_path: Path
) -> None:
    running = Running(client, tmp_path, observation="prompt", decisions=3)
    with running as service:
        push(client, requests(12))
        wait_for(lambda: service.version >= 8)
        held, taken = service.status().traces_held, service.status().traces_taken
    assert running.error is None
    assert held > taken  # single decisions in the reservoir
    later = running.student.decisions[-1]
    assert later == [1] * len(later)  # nothing new: (8 traces of a batch) x 3
    assert len(later) == min(24, held)


def test_versions_rise_on_replay_alone_up_to_the_ceiling(
    client: redis.Redis, tmp_path: Path
) -> None:
    running = Running(client, tmp_path, ceiling=0)
    with running as service:
        push(client, requests(6))
        wait_for(lambda: service.status().traces_taken >= 5)
        wait_for(lambda: "driver" in service.status().doing)
        assert service.version == 0
        service.allow(4)
        wait_for(lambda: service.version == 4)
        wait_for(lambda: "past 4" in service.status().doing)
        service.allow(6)
        wait_for(lambda: service.version == 6)
    assert running.error is None
    assert PublishedWeights(client, RUN).latest_version() == 6
    later = service.versions(2)
    assert [report.version for report in later] == [3, 4, 5, 6]
    assert later[-1].traces_new == 0
    assert later[-1].traces_replayed > 0


def test_a_learner_that_stopped_goes_on_where_it_was(client: redis.Redis, tmp_path: Path) -> None:
    first = Running(client, tmp_path, steps_per_version=1000)
    with first as service:
        push(client, requests(12))
        wait_for(lambda: service.status().steps >= 5)
    steps, held = first.student.steps, service.status().traces_held
    second = Running(client, tmp_path, ceiling=0, steps_per_version=1000)
    status = second.service.status()
    assert (status.steps, status.traces_held, status.version) == (steps, held, 0)
    assert second.student.steps == steps
    with second as service:
        service.allow(None)
        wait_for(lambda: service.status().steps > steps)
    assert first.error is None
    assert second.error is None


def test_a_crashed_learner_learns_every_trace_again_that_no_checkpoint_holds(
    client: redis.Redis, tmp_path: Path
) -> None:
    """It is left to lie without a stop: no checkpoint, nothing acknowledged."""
    dead = LearnerService(setting(tmp_path), client, ParrotStudent)
    push(client, requests(12))
    dead._teaching.start()
    wait_for(lambda: len(outcomes(client)) == 12)
    while dead.status().traces_taken < 12:
        dead._turn()
    before = dead._checkpoints.paths()
    dead._publish(dead.version + 1)
    published = dead.version
    dead._teaching.stop()
    waiting = TraceQueue(client, RUN, DOMAINS).backlog()
    running = Running(client, tmp_path)
    with running as service:
        wait_for(lambda: service.version > published)
        service.ask_checkpoint()
        wait_for(lambda: TraceQueue(client, RUN, DOMAINS).backlog() == 0)
    assert running.error is None
    if not before:
        assert waiting == 12
    assert service.status().traces_taken == 12
    assert {index for batch in running.student.taught for index in batch} == set(range(12))


def test_a_trace_whose_acknowledgement_was_lost_is_not_learned_twice(
    client: redis.Redis, tmp_path: Path
) -> None:
    service = LearnerService(setting(tmp_path), client, ParrotStudent)
    push(client, requests(6))
    service._teaching.start()
    while service.status().traces_taken < 6:
        service._turn()
    service._intake._queue.ack = lambda tickets: 0
    service._write_checkpoint()
    service._teaching.stop()
    assert TraceQueue(client, RUN, DOMAINS).backlog() == 6
    again = LearnerService(setting(tmp_path), client, ParrotStudent)
    again._intake.take()
    assert again.status().traces_taken == 6
    assert again.status().traces_held == 6
    assert TraceQueue(client, RUN, DOMAINS).backlog() == 0
    again._teaching.stop()


def test_a_corrupted_checkpoint_is_named_and_the_one_before_used(
    client: redis.Redis, tmp_path: Path
) -> None:
    with Running(client, tmp_path) as service:
        push(client, requests(8))
        wait_for(lambda: service.version >= 1)
        wait_for(lambda: service.status().traces_taken == 8)
        for _ in range(2):
            before = CheckpointFolder(tmp_path).paths()
            service.allow(service.version)  # quiet
            wait_for(lambda: "driver" in service.status().doing)
            service.allow(service.version + 1)
            service.ask_checkpoint()
            wait_for(lambda seen=before: CheckpointFolder(tmp_path).paths() != seen)
    newest = CheckpointFolder(tmp_path).paths()[-1]
    (newest / "student.json").write_bytes(b"[]")
    with Running(client, tmp_path) as service:
        complaints = service.status().complaints
        assert newest.name in complaints[0]
        assert service.version >= 1


def test_another_runs_checkpoint_is_refused(client: redis.Redis, tmp_path: Path) -> None:
    with Running(client, tmp_path) as service:
        wait_for(lambda: service.version == 0)
    other = setting(tmp_path)
    object.__setattr__(other, "run", "another")
    with pytest.raises(LearnerError, match="belongs to run 'learner-test'"):
        LearnerService(other, client, ParrotStudent)


def test_a_teacher_that_fails_ends_the_learner_with_a_sentence(
    client: redis.Redis, tmp_path: Path
) -> None:
    running = Running(client, tmp_path)
    running.service._pool._setting = running.service._pool._setting.model_copy(
        update={"domains": ("no-such-domain",)}
    )
    push(client, requests(2))
    running.thread.start()
    running.thread.join(20)
    assert isinstance(running.error, LearnerError)
    assert "the teacher failed" in str(running.error)


class NextCodes:
    """Encodes every prompt as its first token."""

    def encode(self, prompts: Sequence[Sequence[int]]) -> list[Codes | None]:
        return [np.full(3, prompt[0], dtype=np.uint16) for prompt in prompts]


def bank_episode(number: int, version: int) -> Episode:
    codes = np.full(3, 40 + number, dtype=np.uint16)
    decision = Decision(0, codes, f"put block{number}", True, (number, 5))
    return Episode(
        *(number, number, f"{number:032x}", DOMAINS[0], 0, version, True, 1, 1, 1),
        *((decision,), "actor-0", 0.1, 0, 0),
    )


@pytest.mark.parametrize("policy", ["keep", "retire", "reencode"])
def test_what_becomes_of_bank_entries_when_versions_are_published(
    client: redis.Redis, tmp_path: Path, policy: str
) -> None:
    config = BankConfig.model_validate({"max_version_lag": 2, "on_new_version": policy})
    bank = Bank(client, RUN, config)
    bank.push([bank_episode(number, 0) for number in range(9)], requests(8))
    plain = setting(tmp_path)
    learner = LearnerService(
        replace(plain, shared_memory=SharedMemoryConfig(bank=config)),
        client,
        ParrotStudent,
        reencode=lambda entries, domains, version, _: Reencoding(
            entries, domains, version, NextCodes
        ),
    )
    thread = threading.Thread(target=learner.run)
    thread.start()
    try:
        wait_for(lambda: learner.version >= 4, 60.0)
    finally:
        learner.ask_stop()
        thread.join(15)
    total = bank.statistics().total("success")
    held = {tuple(each.entry.codes) for _, each in bank.entries(DOMAINS[0], "success")}
    assert bank.verify().problems == ()
    if policy == "keep":
        assert (total.entries, total.retired, total.reencoded) == (9, 0, 0)
    elif policy == "retire":
        assert (total.entries, total.retired, total.reencoded) == (0, 9, 0)
    else:
        assert (total.entries, total.retired, total.reencoded) == (9, 0, 9)
        assert held == {(number,) * 3 for number in range(9)}
        versions = {each.last_version for _, each in bank.entries(DOMAINS[0], "success")}
        assert min(versions) >= learner.version - 1


def test_banks_wait_where_the_server_is_full(client: redis.Redis, tmp_path: Path) -> None:
    """Encoding entries again is put off, and learning goes on once there is room."""
    config = BankConfig(on_new_version="reencode")
    Bank(client, RUN, config).push([bank_episode(number, 0) for number in range(9)], requests(8))

    class FillingCodes(NextCodes):
        def encode(self, prompts: Sequence[Sequence[int]]) -> list[Codes | None]:
            call(client, "CONFIG", "SET", "maxmemory", 1)
            return super().encode(prompts)

    learner = LearnerService(
        replace(setting(tmp_path), shared_memory=SharedMemoryConfig(bank=config)),
        client,
        ParrotStudent,
        reencode=lambda _entries, domains, version, _: Reencoding(
            BankReencoding(client, RUN, config, deadline_s=0.1),
            *(domains, version, FillingCodes if version == 1 else NextCodes),
        ),
    )
    thread = threading.Thread(target=learner.run)
    thread.start()
    try:
        wait_for(lambda: learner.status().complaints, 60.0)
        call(client, "CONFIG", "SET", "maxmemory", 0)
        wait_for(lambda: learner.version >= 3, 60.0)
    finally:
        call(client, "CONFIG", "SET", "maxmemory", 0)
        learner.ask_stop()
        thread.join(15)
    assert any(
        sentence.startswith("encoding bank entries again for version 1 is put off")
        for sentence in learner.status().complaints
    )
    assert Bank(client, RUN, config).statistics().total("success").reencoded == 9


def test_retiring_is_put_off_where_copies_are_too_few(client: redis.Redis, tmp_path: Path) -> None:
    bank = Bank(client, RUN, BankConfig())
    bank.push([bank_episode(number, 0) for number in range(9)])
    learner = LearnerService(setting(tmp_path), client, ParrotStudent)
    assert isinstance(client, ServerClient)
    client.copies, client.copies_deadline_s = 1, 0.02  # and there is no replica
    assert learner._carry_out(schedule.Retire(1))
    assert "retiring bank entries" in learner.status().complaints[0]
