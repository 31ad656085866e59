from collections import Counter

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.curriculum import HARD
from learner.errors import LearnerError
from learner.replay import Reservoir, named_generator
from shared_memory.records import Trace


def trace(number: int) -> Trace:
    return Trace(number, f"{number:032x}", "blocks", 0, "mimir-astar", "<goal>", ("",), ("go",))


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 2**31 - 1))
def test_it_holds_at_most_its_capacity_of_what_came(capacity: int, count: int, seed: int) -> None:
    reservoir = Reservoir(capacity, seed)
    for number in range(count):
        reservoir.add(trace(number))
    held = [one.task_index for one in reservoir.traces]
    assert len(reservoir) == len(set(held)) == min(capacity, count)
    assert set(held) <= set(range(count))
    assert reservoir.seen == count


def test_every_trace_has_the_same_chance_to_stay() -> None:
    kept = Counter()
    for seed in range(600):
        reservoir = Reservoir(10, seed)
        for number in range(60):
            reservoir.add(trace(number))
        kept.update(one.task_index for one in reservoir.traces)
    assert sum(kept.values()) == 6000
    assert all(60 < kept[number] < 145 for number in range(60))  # expected 100, σ 9


@settings(max_examples=25)
@given(st.integers(1, 8), st.integers(0, 20), st.integers(1, 12))
def test_a_restored_reservoir_goes_on_exactly_as_it_would_have(
    capacity: int, before: int, after: int
) -> None:
    one, other = Reservoir(capacity, 7), Reservoir(capacity, 99)
    for number in range(before):
        one.add(trace(number))
    one.learn(one.draw(3), [0.0, 0.5, 1.0] if len(one) else [])
    other.load_state(one.state())
    for number in range(before, before + after):
        one.add(trace(number))
        other.add(trace(number))
        assert one.draw(4) == other.draw(4)
    assert one.traces == other.traces
    assert one.state() == other.state()


def test_a_smaller_capacity_keeps_a_part() -> None:
    large, small = Reservoir(20, 1), Reservoir(5, 1)
    for number in range(20):
        large.add(trace(number))
    small.load_state(large.state())
    assert len(small) == 5
    assert small.seen == 20


def test_what_was_answered_wrong_is_drawn_more_often() -> None:
    reservoir = Reservoir(10, 0)
    assert reservoir.draw(4) == []
    for number in range(10):
        reservoir.add(trace(number))
    reservoir.learn(range(10), [0.0, *[1.0] * 9])
    hard = HARD * 0.9**2
    drawn = Counter(reservoir.draw(3000))
    assert sum(drawn.values()) == 3000
    assert drawn[0] / 3000 == pytest.approx(hard + (1 - hard) / 10, abs=0.05)
    assert all(drawn[place] > 100 for place in range(1, 10))  # expected 200


def test_a_trace_in_anothers_place_counts_as_never_answered() -> None:
    reservoir = Reservoir(1, 0)
    reservoir.add(trace(0))
    reservoir.learn([0], [1.0])
    before = msgpack.unpackb(reservoir.state())["wrong"]
    number = 1
    while reservoir.traces[0].task_index == 0:
        reservoir.add(trace(number))
        number += 1
    assert (before, msgpack.unpackb(reservoir.state())["wrong"]) == ([0.0], [1.0])


def test_what_is_no_state_is_refused() -> None:
    reservoir = Reservoir(3, 0)
    damaged = msgpack.packb(msgpack.unpackb(reservoir.state()) | {"wrong": [2.0]})
    for payload in (b"", b"\x80", b"\xc1", Reservoir(3, 0, "other").state(), damaged):
        with pytest.raises(LearnerError):
            reservoir.load_state(payload)
    with pytest.raises(LearnerError):
        Reservoir(0, 0)


def test_generators_of_different_names_differ() -> None:
    draws = {tuple(named_generator(s, n).integers(1000, size=4)) for s in (0, 1) for n in "ab"}
    assert len(draws) == 4
