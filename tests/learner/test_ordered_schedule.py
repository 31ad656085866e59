"""What the learner of a reproducible run does next, and in which order traces are learned."""

from configs.schema import DistillationConfig
from learner import schedule
from learner.ordered_schedule import OrderedSchedule
from learner.ordered_traces import OrderedTraces
from shared_memory.queues import Ticket
from shared_memory.records import Trace


def machine(**values: object) -> OrderedSchedule:
    config = DistillationConfig(steps_per_version=2)
    return OrderedSchedule(config, max_version_lag=1, **({"ceiling": 0, "publish": 0} | values))


def follow(one: OrderedSchedule, traces: int = 3) -> list[str]:
    """Carry out instructions until it waits or stops; their names."""
    done: list[str] = []
    while True:
        instruction = one.next(0.0)
        done.append(type(instruction).__name__)
        match instruction:
            case schedule.Begin():
                one.handle(schedule.TracesArrived(traces), 0.0)
                one.handle(schedule.Begun(), 0.0)
            case schedule.Distil():
                one.handle(schedule.StepDone(1), 0.0)
            case schedule.Checkpoint():
                one.handle(schedule.Checkpointed(1.0), 0.0)
            case schedule.Retire(oldest):
                done[-1] += f" {oldest}"
                one.handle(schedule.Retired(), 0.0)
            case schedule.Publish(version):
                done[-1] += f" {version}"
                one.handle(schedule.Published(version), 0.0)
            case _:
                return done
        assert len(done) < 50


def test_a_version_is_saved_before_it_is_published_and_published_when_told() -> None:
    one = machine()
    assert follow(one) == ["Publish 0", "Wait"]
    one.handle(schedule.Allowed(2, 0), 0.0)
    assert follow(one) == ["Begin", "Distil", "Distil", "Checkpoint", "Wait"]
    one.handle(schedule.Allowed(2, 1), 0.0)
    assert follow(one) == ["Publish 1", "Begin", "Distil", "Distil", "Checkpoint", "Wait"]
    one.handle(schedule.Allowed(2, 2), 0.0)
    assert follow(one) == ["Retire 1", "Publish 2", "Wait"]


def test_a_round_without_traces_takes_no_step() -> None:
    one = machine(version=0, ceiling=1, publish=1)
    assert follow(one, traces=0) == ["Begin", "Checkpoint", "Publish 1", "Wait"]


def test_a_round_under_way_is_left_and_learned_again() -> None:
    one = machine(version=0, ceiling=1)
    one.handle(schedule.TracesArrived(3), 0.0)
    one.handle(schedule.Begun(), 0.0)
    one.handle(schedule.StepDone(1), 0.0)
    one.handle(schedule.CheckpointAsked(), 0.0)
    one.handle(schedule.StopAsked(), 0.0)
    assert isinstance(one.next(0.0), schedule.Stop)
    again = machine(version=0, ceiling=1, held=0)
    assert follow(again) == ["Begin", "Distil", "Distil", "Checkpoint", "Wait"]


def test_a_learned_round_is_saved_before_the_end() -> None:
    one = machine(version=0, ceiling=1)
    one.handle(schedule.TracesArrived(3), 0.0)
    one.handle(schedule.Begun(), 0.0)
    one.handle(schedule.StepDone(1), 0.0)
    one.handle(schedule.StepDone(1), 0.0)
    one.handle(schedule.StopAsked(), 0.0)
    assert follow(one) == ["Checkpoint", "Stop"]
    assert follow(machine(version=0, held=3, saved=True, publish=1)) == ["Publish 1", "Wait"]


def trace(index: int) -> tuple[Ticket, Trace]:
    made = Trace(
        task_index=index,
        task_digest="d",
        domain="blocks",
        phase=0,
        teacher="p",
        prompt="a",
        observations=("",),
        actions=("b",),
    )
    return Ticket("blocks", f"{100 - index}-0"), made


def test_traces_leave_in_the_order_of_their_tasks() -> None:
    waiting = OrderedTraces()
    for index in (5, 2, 9, 0, 2):
        waiting.put(*trace(index))
    assert [one.task_index for _, one in waiting.take(6)] == [0, 2, 5]
    assert len(waiting) == 1
    assert waiting.take(6) == []
