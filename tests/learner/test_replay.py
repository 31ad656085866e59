from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    one.sample(3)
    other.load_state(one.state())
    for number in range(before, before + after):
        one.add(trace(number))
        other.add(trace(number))
        assert one.sample(4) == other.sample(4)
    assert one.traces == other.traces
    assert one.state() == other.state()


def test_a_smaller_capacity_keeps_a_part() -> None:
    large, small = Reservoir(20, 1), Reservoir(5, 1)
    for number in range(20):
        large.add(trace(number))
    small.load_state(large.state())
    assert len(small) == 5
    assert small.seen == 20


def test_samples_repeat_only_where_too_few_are_held() -> None:
    reservoir = Reservoir(10, 0)
    assert reservoir.sample(4) == []
    for number in range(5):
        reservoir.add(trace(number))
    assert len({one.task_index for one in reservoir.sample(5)}) == 5
    assert len(reservoir.sample(9)) == 9


def test_what_is_no_state_is_refused() -> None:
    reservoir = Reservoir(3, 0)
    for payload in (b"", b"\x80", b"\xc1", Reservoir(3, 0, "other").state()):
        with pytest.raises(LearnerError):
            reservoir.load_state(payload)
    with pytest.raises(LearnerError):
        Reservoir(0, 0)


def test_generators_of_different_names_differ() -> None:
    draws = {tuple(named_generator(s, n).integers(1000, size=4)) for s in (0, 1) for n in "ab"}
    assert len(draws) == 4
