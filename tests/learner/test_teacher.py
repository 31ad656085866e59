import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from configs.schema import RenderingConfig, TeacherConfig
from learner.errors import LearnerError
from learner.frames import MAX_FRAME, FrameBuffer, pack_frame
from learner.teacher import TeacherClosedError, TeacherPool
from learner.teaching import outcome_record
from shared_memory.records import PlanRequest
from tasks.domains import get_domain

NAMES = RenderingConfig(objects_per_type=40)


def request(
    domain: str = "blocks",
    size: dict[str, tuple[int, int]] | None = None,
    seed: int = 0,
    index: int = 0,
    failed: bool = True,
) -> PlanRequest:
    task = get_domain(domain).draw(size or {"blocks": (3, 4)}, seed)
    return PlanRequest(index, task.digest, domain, 2, task.problem, task.origin, failed)


def pool(domains: Sequence[str] = ("blocks", "hanoi"), **settings: Any) -> TeacherPool:
    return TeacherPool(domains, NAMES, TeacherConfig(**{"time_limit_s": 5.0, **settings}))


def large(seed: int = 0) -> PlanRequest:
    return request(size={"blocks": (24, 24)}, seed=seed, index=77)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_come_in_order_and_are_counted() -> None:
    requests = [request(seed=seed, index=seed) for seed in range(12)]
    requests += [request("hanoi", {"discs": (2, 3)}, seed, 12 + seed) for seed in range(4)]
    with pool(processes=2) as teacher:
        answers = teacher.plan(requests)
        again = teacher.plan(requests[:3])
    assert [answer.request for answer in answers] == requests
    assert all(answer.outcome.status == "solved" for answer in answers)
    for answer in answers:
        if answer.trace is not None:
            assert answer.trace.task_index == answer.request.task_index
            assert answer.trace.phase == 2
            assert len(answer.trace.actions) == answer.outcome.cost
    assert all(answer.cached for answer in again)
    told = [outcome_record(answer, "mimir-astar", False) for answer in (answers[0], again[0])]
    assert [one.cached for one in told] == [False, True]
    assert told[0].seconds > 0.0
    assert told[1].seconds == 0.0
    assert [answer.outcome.plan for answer in again] == [a.outcome.plan for a in answers[:3]]
    counted = teacher.statistics
    assert counted.calls == counted.solved == 19
    assert counted.cached >= 3
    assert counted.seconds > 0


def test_every_bad_end_is_counted_and_the_teacher_goes_on() -> None:
    impossible = PlanRequest(
        1,
        "0" * 32,
        "hanoi",
        0,
        "(define (problem p) (:domain hanoi) (:objects p1 p2 d1 d2)"
        "(:init (clear p2) (clear d1) (on d1 d2) (on d2 p1) (smaller p1 d1) (smaller p1 d2)"
        "(smaller p2 d1) (smaller p2 d2) (smaller d2 d1)) (:goal (and (on d2 d1))))",
        "here",
        True,
    )
    broken = PlanRequest(2, "1" * 32, "blocks", 0, "(define (problem", "there", True)
    crowded = request(size={"blocks": (41, 41)})
    with pool(time_limit_s=0.3) as teacher:
        answers = teacher.plan([impossible, broken, large(), crowded, request()])
    statuses = [answer.outcome.status for answer in answers]
    assert statuses == ["unsolvable", "error", "timeout", "error", "solved"]
    assert "objects_per_type" in answers[3].outcome.reason
    assert [answer.trace is None for answer in answers] == [True, True, True, True, False]
    counted = teacher.statistics
    assert (counted.calls, counted.solved, counted.unsolvable) == (5, 1, 1)
    assert (counted.timed_out, counted.errors) == (1, 2)


def test_memory_is_limited(tmp_path: Path) -> None:
    (tmp_path / "domain.pddl").write_text(
        "(define (domain wide) (:predicates (p ?a) (q ?a ?b) (done))"
        "(:action mix :parameters (?a ?b ?c ?d ?e ?f)"
        ":precondition (and (p ?a) (p ?b) (p ?c) (p ?d) (p ?e) (p ?f))"
        ":effect (and (q ?a ?b) (q ?c ?d) (q ?e ?f)))"
        "(:action end :parameters (?a ?b) :precondition (q ?a ?b) :effect (done)))"
    )

    def wide(objects: Any) -> PlanRequest:
        names = " ".join(f"o{i}" for i in range(objects))
        atoms = " ".join(f"(p o{i})" for i in range(objects))
        text = (
            f"(define (problem w) (:domain wide) (:objects {names}) (:init {atoms}) (:goal (done)))"
        )
        return PlanRequest(0, f"{objects:032x}", str(tmp_path), 0, text, "test", True)

    with pool(domains=[str(tmp_path)], memory_limit_mb=200, time_limit_s=30.0) as teacher:
        answers = [teacher.plan([wide(objects)])[0] for objects in (6, 20, 20, 6)]
    statuses = [answer.outcome.status for answer in answers]
    assert statuses == ["solved", "out_of_memory", "out_of_memory", "solved"]
    assert teacher.statistics.out_of_memory == 2


def test_a_child_that_hangs_is_killed_at_its_deadline_and_replaced() -> None:
    with pool(time_limit_s=0.5) as teacher:
        teacher.plan([request()])
        child = teacher._children[0].process.pid
        os.kill(child, signal.SIGSTOP)
        began = time.monotonic()
        answer = teacher.plan([request(seed=5)])[0]
        assert time.monotonic() - began < 3.0
        assert answer.outcome.status == "timeout"
        assert not alive(child)
        assert teacher.plan([request(seed=6)])[0].outcome.status == "solved"
    assert teacher.statistics.restarts == 1


def test_a_child_that_is_killed_is_an_error_and_replaced() -> None:
    with pool(time_limit_s=20.0) as teacher:
        teacher.plan([request()])
        child = teacher._children[0].process.pid
        killer = threading.Timer(0.3, os.kill, (child, signal.SIGKILL))
        killer.start()
        answer = teacher.plan([large()])[0]
        killer.join()
        assert answer.outcome.status == "error"
        assert "status -9" in answer.outcome.reason
        assert teacher.plan([request(seed=6)])[0].outcome.status == "solved"


def test_closing_ends_a_plan_under_way_and_all_processes() -> None:
    teacher = pool(time_limit_s=30.0)
    teacher.plan([request()])
    child = teacher._children[0].process.pid
    closer = threading.Timer(0.3, teacher.close)
    closer.start()
    began = time.monotonic()
    with pytest.raises(TeacherClosedError):
        teacher.plan([large()])
    closer.join()
    assert time.monotonic() - began < 2.0
    assert not alive(child)
    teacher.close()


def test_what_cannot_start_says_so() -> None:
    with (
        pool(memory_limit_mb=20) as teacher,
        pytest.raises(LearnerError, match="cannot start its processes"),
    ):
        teacher.plan([request()])


def test_frames_survive_any_cut_and_refuse_what_is_none() -> None:
    frames = pack_frame(["ready"]) + pack_frame({"a": b"\x00" * 300})
    for cut in range(len(frames)):
        buffer = FrameBuffer()
        assert buffer.feed(frames[:cut]) + buffer.feed(frames[cut:]) == [
            ["ready"],
            {"a": b"\x00" * 300},
        ]
    with pytest.raises(LearnerError, match="something else writes"):
        FrameBuffer().feed((MAX_FRAME + 1).to_bytes(4, "little"))
    with pytest.raises(LearnerError, match="malformed"):
        FrameBuffer().feed(b"\x01\x00\x00\x00\xc1")
