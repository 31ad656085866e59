"""Deadlines and stall alarms."""

from __future__ import annotations

from cluster.supervisor import Supervisor


def test_a_silent_worker_is_overdue_and_a_slow_one_is_not() -> None:
    supervisor = Supervisor(stall_after_s=30.0, now=0.0)
    supervisor.asked("actor-0", "act 32 tasks", 10.0, now=0.0)
    supervisor.asked("actor-1", "act 32 tasks", 10.0, now=0.0)
    supervisor.pulsed("actor-0", 1, now=6.0)
    supervisor.pulsed("actor-1", 0, now=1.0)
    supervisor.pulsed("actor-1", 0, now=9.0)  # answers, but has got no further
    (late,) = supervisor.overdue(now=12.0)
    assert late.worker == "actor-1"
    assert "actor-1 (act 32 tasks)" in late.sentence


def test_progress_does_not_extend_a_request_for_ever() -> None:
    supervisor = Supervisor(stall_after_s=30.0, now=0.0)
    supervisor.asked("actor-0", "act 1 task", 1.0, now=0.0)
    for second in range(30):
        supervisor.pulsed("actor-0", second, now=float(second))
    assert [late.worker for late in supervisor.overdue(now=29.5)] == ["actor-0"]


def test_a_stall_names_who_waits_for_whom() -> None:
    supervisor = Supervisor(stall_after_s=5.0, now=0.0)
    supervisor.asked("actor-0", "probe 8 tasks", 60.0, now=0.0)
    assert supervisor.stalled(4.0, []) is None
    sentence = supervisor.stalled(6.0, ["actor-1 waits for the learner's version 3"])
    assert sentence is not None
    assert "actor-1 waits for the learner's version 3" in sentence
    assert "the driver waits for actor-0 (probe 8 tasks" in sentence
    assert supervisor.stalled(7.0, []) is None  # said once
    supervisor.answered("actor-0", now=7.5)
    assert supervisor.stalled(12.0, []) is None
    assert supervisor.stalled(13.0, []) is not None
    assert supervisor.stalls == 1
    supervisor.asked("actor-1", "start", 60.0, now=13.0)
    supervisor.closed("actor-1")  # a start is no progress
    assert supervisor.stalled(18.5, []) is not None
    assert supervisor.stalls == 2
    supervisor.happened(19.0)
    assert supervisor.stalls == 0
