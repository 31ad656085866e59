"""Work is done once: dead consumers, doubled completions, hostile entries."""

import threading
import time
from collections.abc import Callable

import pytest
import redis

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.outcomes import OutcomeLog, PlanEvent
from shared_memory.queues import PlanQueue, Ticket, TraceQueue
from shared_memory.records import PlanOutcomeRecord, PlanRequest, Trace
from shared_memory.server import EmbeddedServer

RequestMaker = Callable[..., PlanRequest]
DOMAINS = ("blocks", "ferry")


def outcome_of(request: PlanRequest) -> PlanOutcomeRecord:
    return PlanOutcomeRecord(
        task_index=request.task_index,
        task_digest=request.task_digest,
        domain=request.domain,
        phase=request.phase,
        planner="astar",
        status="solved",
        cost=2,
        seconds=0.01,
        failed=request.failed,
        traced=True,
    )


def trace_of(request: PlanRequest) -> Trace:
    return Trace(
        task_index=request.task_index,
        task_digest=request.task_digest,
        domain=request.domain,
        phase=request.phase,
        teacher="astar",
        prompt="<domain> blocks",
        observations=("", "<see>"),
        actions=("pick block1", "put block1"),
    )


def test_from_request_to_trace(client: redis.Redis, make_request: RequestMaker) -> None:
    plans, traces = PlanQueue(client, "run", DOMAINS), TraceQueue(client, "run", DOMAINS)
    requests = [make_request(number, domain=DOMAINS[number % 2]) for number in range(6)]
    Bank(client, "run", BankConfig()).push([], requests)
    assert plans.backlog_by_domain() == {"blocks": 3, "ferry": 3}
    work = plans.take("teacher-0", 10)
    assert {request for _, request in work} == set(requests)
    assert plans.take("teacher-0", 10) == []
    assert plans.backlog() == 6  # until they are done
    for ticket, request in work:
        assert plans.complete(ticket, outcome_of(request), trace_of(request))
        assert not plans.complete(ticket, outcome_of(request), trace_of(request))
    assert (plans.backlog(), traces.backlog()) == (0, 6)
    taken = traces.take("learner", 4)
    assert len(taken) == 4
    assert traces.ack([ticket for ticket, _ in taken]) == 4
    assert traces.ack([ticket for ticket, _ in taken]) == 0
    rest = traces.take("learner", 10)
    assert {trace for _, trace in taken + rest} == {trace_of(request) for request in requests}
    events, _ = OutcomeLog(client, "run", DOMAINS).read({})
    assert {event.outcome for event in events if isinstance(event, PlanEvent)} == {
        outcome_of(request) for request in requests
    }
    assert sum(ledger.traces for ledger in Bank(client, "run", BankConfig()).statistics().domains)


def test_unsolved_requests_leave_an_event_but_no_trace(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans, traces = PlanQueue(client, "run", DOMAINS), TraceQueue(client, "run", DOMAINS)
    Bank(client, "run", BankConfig()).push([], [make_request(1)])
    ((ticket, request),) = plans.take("teacher-0")
    assert plans.complete(ticket, outcome_of(request), None)
    assert (plans.backlog(), traces.backlog()) == (0, 0)
    assert len(OutcomeLog(client, "run", DOMAINS).read({})[0]) == 1


def test_what_a_dead_consumer_held_is_taken_over_and_done_once(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", DOMAINS, reclaim_s=0.5)
    Bank(client, "run", BankConfig()).push([], [make_request(1), make_request(2)])
    held = plans.take("dead", 2)
    assert plans.take("alive", 2) == []
    time.sleep(0.6)
    taken_over = plans.take("alive", 2)
    assert taken_over == held
    for ticket, request in taken_over:
        assert plans.complete(ticket, outcome_of(request), None)
    for ticket, request in held:  # it was only slow
        assert not plans.complete(ticket, outcome_of(request), None)
    assert len(OutcomeLog(client, "run", DOMAINS).read({})[0]) == 2
    assert plans.forget_idle_consumers(0.0) >= 1
    assert plans.forget_idle_consumers(0.0) == 0


def test_idle_consumers_that_hold_work_are_kept(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", ["blocks"], reclaim_s=0.05)
    Bank(client, "run", BankConfig()).push([], [make_request(1)])
    plans.take("dead")
    assert plans.forget_idle_consumers(0.0) == 0
    time.sleep(0.1)
    assert len(plans.take("alive")) == 1


def test_taken_over_from_behind_what_others_work_at(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", ["blocks"], reclaim_s=0.5)
    requests = [make_request(number) for number in range(40)]
    Bank(client, "run", BankConfig()).push([], requests)
    busy = [ticket.entry for ticket, _ in plans.take("busy", 39)]
    plans.take("dead", 1)
    time.sleep(0.6)
    stream = RunKeys("run").domain("blocks").plans
    call(client, "XCLAIM", stream, "teachers", "busy", 0, *busy)  # still at it
    assert [request.task_index for _, request in plans.take("alive", 1)] == [39]


def test_count_is_a_limit_and_domains_take_turns(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", DOMAINS)
    for number in range(8):
        domain = DOMAINS[number % 2]
        Bank(client, "run", BankConfig()).push([], [make_request(number, domain=domain)])
    first = [plans.take("teacher", 1, block_s=0.5) for _ in range(4)]
    assert [len(work) for work in first] == [1, 1, 1, 1]
    assert {request.domain for ((_, request),) in first} == set(DOMAINS)
    assert [request.task_index for ((_, request),) in first if request.domain == "ferry"] == [1, 3]


def test_blocking_take_waits_no_longer_than_told(client: redis.Redis) -> None:
    plans = PlanQueue(client, "run", DOMAINS)
    start = time.monotonic()
    assert plans.take("teacher", 1, block_s=0.3) == []
    assert 0.25 < time.monotonic() - start < 5.0


def test_blocking_take_is_woken(
    server: EmbeddedServer, client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", DOMAINS)

    def put() -> None:
        other = connect(SharedMemoryConfig(), server.url)
        Bank(other, "run", BankConfig()).push(
            [], [make_request(0), make_request(1, domain="ferry")]
        )
        other.close()

    timer = threading.Timer(0.2, put)
    timer.start()
    start = time.monotonic()
    first = plans.take("teacher", 1, block_s=10.0)
    second = plans.take("teacher", 1, block_s=10.0)
    timer.join()
    assert time.monotonic() - start < 5.0
    assert {request.task_index for _, request in first + second} == {0, 1}
    assert (len(first), len(second)) == (1, 1)


def test_hostile_entries_are_dropped_and_counted(
    client: redis.Redis, make_request: RequestMaker
) -> None:
    plans = PlanQueue(client, "run", ["blocks"])
    stream = RunKeys("run").domain("blocks").plans
    call(client, "XADD", stream, "*", "p", b"\xc1garbage")
    call(client, "XADD", stream, "*", "q", b"no payload")
    Bank(client, "run", BankConfig()).push([], [make_request(1)])
    assert [request.task_index for _, request in plans.take("teacher", 5)] == [1]
    assert plans.refused == 2
    assert plans.backlog() == 1


def test_unknown_tickets_and_domains(client: redis.Redis, make_request: RequestMaker) -> None:
    plans = PlanQueue(client, "run", ["blocks"])
    assert not plans.complete(Ticket("blocks", "1-0"), outcome_of(make_request(1)), None)
    assert plans.ack([Ticket("blocks", "1-0")]) == 0
    with pytest.raises(SharedMemoryError, match="not 'ferry'"):
        plans.ack([Ticket("ferry", "1-0")])
    with pytest.raises(SharedMemoryError, match="at least one domain"):
        PlanQueue(client, "run", [])


def test_many_teachers_do_everything_once(
    server: EmbeddedServer, client: redis.Redis, make_request: RequestMaker
) -> None:
    Bank(client, "run", BankConfig()).push([], [make_request(number) for number in range(60)])
    done: list[int] = []

    def teach(name: str) -> None:
        mine = connect(SharedMemoryConfig(), server.url)
        plans = PlanQueue(mine, "run", DOMAINS, reclaim_s=0.02)  # all take over from all
        while work := plans.take(name, 3, block_s=0.1):
            for ticket, request in work:
                time.sleep(0.003)
                if plans.complete(ticket, outcome_of(request), trace_of(request)):
                    done.append(request.task_index)
        mine.close()

    teachers = [threading.Thread(target=teach, args=(f"teacher-{n}",)) for n in range(3)]
    for teacher in teachers:
        teacher.start()
    for teacher in teachers:
        teacher.join(60)
    assert sorted(done) == [*range(60)]
    traces = TraceQueue(client, "run", DOMAINS)
    assert sorted(trace.task_index for _, trace in traces.take("learner", 100)) == [*range(60)]
    assert PlanQueue(client, "run", DOMAINS).backlog() == 0
