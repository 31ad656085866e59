from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from configs.schema import DistillationConfig
from learner.schedule import (
    Allowed,
    Checkpoint,
    CheckpointAsked,
    Checkpointed,
    Distil,
    Event,
    Instruction,
    Publish,
    Published,
    Reencode,
    Reencoded,
    Retire,
    Retired,
    Schedule,
    StepDone,
    Stop,
    StopAsked,
    TracesArrived,
    Wait,
)

CONFIG = DistillationConfig(steps_per_version=3, min_new_traces=4, max_wait_s=10.0)


def make(version: int = 0, **more: Any) -> Schedule:
    return Schedule(CONFIG, 8, 0.0, version=version, **more)


def test_first_of_all_the_untrained_model_is_published() -> None:
    schedule = make(version=-1)
    assert schedule.next(0.0) == Publish(0)
    schedule.handle(Published(0), 0.0)
    assert isinstance(schedule.next(0.0), Wait)


def test_a_round_begins_with_enough_new_traces_and_ends_with_a_version() -> None:
    schedule = make()
    schedule.handle(TracesArrived(3), 1.0)
    assert isinstance(schedule.next(1.0), Wait)
    schedule.handle(TracesArrived(1), 1.0)
    for _ in range(3):
        assert schedule.next(1.0) == Distil()
        schedule.handle(StepDone(2), 1.0)
    assert schedule.next(1.0) == Publish(1)
    schedule.handle(Published(1), 1.0)
    assert schedule.new_traces == 0
    assert isinstance(schedule.next(1.0), Wait)


def test_without_new_traces_it_waits_and_then_learns_from_replay() -> None:
    schedule = make(held=7, checkpoint_every_s=1e9)
    wait = schedule.next(9.9)
    assert isinstance(wait, Wait)
    assert wait.seconds < 0.11
    assert schedule.next(10.0) == Distil()


def test_without_any_traces_it_waits_for_ever() -> None:
    schedule = make()
    schedule.handle(Checkpointed(0.0), 999.0)
    assert isinstance(schedule.next(1000.0), Wait)
    schedule.handle(TracesArrived(1), 1000.0)
    assert schedule.next(1000.0) == Distil()


def test_no_round_begins_past_the_ceiling_and_the_wait_says_why() -> None:
    schedule = make(version=2, held=9, new=9, ceiling=2)
    wait = schedule.next(1.0)
    assert isinstance(wait, Wait)
    assert "driver" in wait.why
    schedule.handle(Allowed(3), 1.0)
    assert schedule.next(1.0) == Distil()


def test_old_entries_are_retired_after_a_version() -> None:
    schedule = make(version=8)
    schedule.handle(Published(9), 0.0)
    assert schedule.next(0.0) == Retire(1)
    schedule.handle(Retired(), 0.0)
    assert isinstance(schedule.next(0.0), Wait)


def test_checkpoints_come_between_rounds_and_take_a_bounded_share() -> None:
    schedule = make(held=9, new=9)
    assert schedule.next(4.9) == Distil()
    schedule.handle(StepDone(), 6.0)
    assert schedule.next(6.0) == Distil()  # never inside a round by itself
    schedule.handle(Published(1), 6.0)
    assert schedule.next(6.0) == Checkpoint()
    schedule.handle(Checkpointed(seconds=2.0), 8.0)
    idle = make(checkpoint_every_s=5.0)
    idle.handle(Checkpointed(seconds=2.0), 8.0)
    idle.handle(Published(2), 40.0)
    assert isinstance(idle.next(47.9), Wait)
    assert idle.next(48.0) == Checkpoint()


def test_a_checkpoint_that_is_asked_for_comes_inside_a_round() -> None:
    schedule = make(held=9, new=9)
    assert schedule.next(0.0) == Distil()
    schedule.handle(StepDone(), 0.0)
    schedule.handle(CheckpointAsked(), 0.0)
    assert schedule.next(0.0) == Checkpoint()
    schedule.handle(Checkpointed(0.0), 0.0)
    assert schedule.next(0.0) == Distil()


def test_a_stop_saves_the_round_and_a_resumed_one_goes_on_with_it() -> None:
    schedule = make(held=9, new=9)
    assert schedule.next(0.0) == Distil()
    schedule.handle(StepDone(), 0.0)
    schedule.handle(StopAsked(), 0.0)
    assert schedule.next(0.0) == Checkpoint()
    schedule.handle(Checkpointed(0.1), 0.0)
    assert schedule.next(0.0) == Stop()
    resumed = make(held=9, round_steps=schedule.round_steps)
    for _ in range(2):
        assert resumed.next(0.0) == Distil()
        resumed.handle(StepDone(), 0.0)
    assert resumed.next(0.0) == Publish(1)


@given(
    st.lists(
        st.one_of(
            st.integers(0, 9).map(TracesArrived),
            st.integers(0, 12).map(Allowed),
            st.just(CheckpointAsked()),
        ),
        max_size=60,
    )
)
def test_versions_rise_by_one_never_past_the_ceiling_and_it_can_always_stop(
    events: list[Event],
) -> None:
    schedule = make(version=-1, ceiling=0)
    now, ceiling, versions = 0.0, 0, []

    def carry_out(instruction: Instruction) -> None:
        match instruction:
            case Publish(version):
                assert version == (versions[-1] + 1 if versions else 0)
                assert version <= ceiling
                versions.append(version)
                schedule.handle(Published(version), now)
            case Distil():
                assert schedule.version < ceiling
                schedule.handle(StepDone(1), now)
            case Retire(_):
                schedule.handle(Retired(), now)
            case Checkpoint():
                schedule.handle(Checkpointed(0.01), now)
            case _:
                return

    for event in events:
        if isinstance(event, Allowed):
            ceiling = event.ceiling
        schedule.handle(event, now)
        for _ in range(3):
            now += 0.7
            carry_out(schedule.next(now))
    schedule.handle(StopAsked(), now)
    for _ in range(4):
        instruction = schedule.next(now)
        if instruction == Stop():
            break
        carry_out(instruction)
    assert schedule.next(now) == Stop()


def test_bank_entries_are_encoded_again_between_versions_for_a_bounded_time() -> None:
    schedule = make(version=0, reencode_s=0.6, checkpoint_every_s=1e9)
    schedule.handle(TracesArrived(9), 0.0)
    for _ in range(3):
        assert schedule.next(0.0) == Distil()
        schedule.handle(StepDone(1), 0.0)
    assert schedule.next(0.0) == Publish(1)
    schedule.handle(Published(1), 0.0)
    for _ in range(2):
        assert schedule.next(0.0) == Reencode(0.25)
        schedule.handle(Reencoded(0.25, through=False), 0.0)
    last = schedule.next(0.0)
    assert isinstance(last, Reencode)
    assert last.seconds < 0.2
    schedule.handle(Reencoded(0.3, through=False), 0.0)
    assert schedule.next(0.0) == Distil()  # the next round's
    schedule.handle(Published(2), 0.0)
    schedule.handle(Reencoded(0.01, through=True), 0.0)
    assert not isinstance(schedule.next(0.0), Reencode)


def test_a_learner_that_stops_encodes_nothing_again() -> None:
    schedule = make(version=0, reencode_s=5.0)
    schedule.handle(Published(1), 0.0)
    assert isinstance(schedule.next(0.0), Reencode)
    schedule.handle(StopAsked(), 0.0)
    assert not isinstance(schedule.next(0.0), Reencode)
