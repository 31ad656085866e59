"""The batcher under requests and clocks of all kinds, against what it promises."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from actors.batching import Batcher, Kind
from actors.errors import ActingError

MOST, WAIT_S = 8, 0.5


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(
                st.just("ask"), st.integers(0, 5), st.integers(0, MOST), st.sampled_from("ab")
            ),
            st.tuples(st.just("wait"), st.floats(0.0, 1.0)),
            st.tuples(st.just("take")),
            st.tuples(st.just("leave"), st.integers(0, 5)),
        ),
        max_size=60,
    )
)
def test_every_request_goes_once_in_batches_within_bounds(steps: list[tuple[object, ...]]) -> None:
    """Askers 0 to 2 sit at one table, 3 to 5 at another; `how` splits either."""
    batcher: Batcher[int] = Batcher(MOST, WAIT_S, lambda table: 3)
    now, number = 0.0, 0
    waiting: dict[int, tuple[int, float]] = {}  # request → asker, when
    answered: list[int] = []
    for step in steps:
        if step[0] == "ask":
            _, asker, size, how = step
            assert isinstance(asker, int)
            assert isinstance(size, int)
            if asker in (who for who, _ in waiting.values()):
                with pytest.raises(ActingError, match="asks again"):
                    batcher.add(asker, Kind(asker // 3, how), size, number, now)  # type: ignore[arg-type]
                continue
            batcher.add(asker, Kind(asker // 3, how), size, number, now)  # type: ignore[arg-type]
            waiting[number] = (asker, now)
            number += 1
        elif step[0] == "wait":
            assert isinstance(step[1], float)
            now += step[1]
        elif step[0] == "leave":
            item = batcher.withdraw(step[1])
            assert (item is None) == (step[1] not in (who for who, _ in waiting.values()))
            if item is not None:
                del waiting[item]
        else:
            due = batcher.due_in(now)
            assert (due is None) == (not waiting)
            batch = batcher.take(now)
            assert bool(batch) == (due == 0.0)
            assert sum(each.size for each in batch) <= MOST
            assert len({each.kind for each in batch}) <= 1
            assert [each.item for each in batch] == sorted(each.item for each in batch)
            for each in batch:
                assert waiting.pop(each.item)[0] == each.asker
                answered.append(each.item)
        assert len(batcher) == len(waiting)
        assert len(waiting) <= 6
    while waiting:  # whoever takes at once when something is due lets nobody wait longer
        due = batcher.due_in(now)
        assert due is not None
        assert due <= WAIT_S + 1e-9  # as sums of numbers are rounded
        now += due
        while batch := batcher.take(now):
            for each in batch:
                del waiting[each.item]
                answered.append(each.item)
        assert all(now - since < WAIT_S + 1e-9 for _, since in waiting.values())
    assert len(answered) == len(set(answered))
    assert batcher.due_in(now) is None


def test_a_batch_starts_when_full_when_all_are_there_or_when_time_is_up() -> None:
    batcher: Batcher[str] = Batcher(8, 0.5, lambda table: {"here": 2, "there": 9}[str(table)])
    batcher.add("one", Kind("here"), 3, "one", 0.0)
    assert batcher.take(0.4) == []
    assert batcher.due_in(0.4) == pytest.approx(0.1)
    batcher.add("two", Kind("here"), 3, "two", 0.4)  # nobody else can come
    assert [each.item for each in batcher.take(0.4)] == ["one", "two"]
    batcher.add("one", Kind("there"), 3, "one", 1.0)
    assert batcher.take(1.0) == []
    batcher.add("two", Kind("there"), 5, "two", 1.1)  # full
    assert [each.item for each in batcher.take(1.1)] == ["one", "two"]
    batcher.add("one", Kind("there"), 3, "one", 2.0)
    batcher.add("two", Kind("there"), 6, "two", 2.0)  # too many for one batch
    assert [each.item for each in batcher.take(2.0)] == ["one"]
    assert [each.item for each in batcher.take(2.4)] == []
    assert [each.item for each in batcher.take(2.5)] == ["two"]


def test_refuses_what_no_batch_holds() -> None:
    batcher: Batcher[str] = Batcher(8, 0.5, lambda table: 1)
    with pytest.raises(ActingError, match=r"9 decisions at once, but acting.inference_batch = 8"):
        batcher.add("one", Kind("here"), 9, "one", 0.0)
