"""Figures of continual learning against matrices worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.accuracy_matrix import AccuracyMatrix, Anytime, Cell
from tasks.metrics import Z_95, Estimate, forgotten, recovered


def tenths(rows: dict[int, tuple[int | None, ...]]) -> AccuracyMatrix:
    """A matrix whose cells are tenths, from 10 tasks each; None: not measured."""
    cells = {
        (after, phase): Cell(solved, 10)
        for after, row in rows.items()
        for phase, solved in enumerate(row)
        if solved is not None
    }
    return AccuracyMatrix(cells)


#              phase    0  1  2
THREE = tenths({-1: (1, 0, 2), 0: (8, 3, 2), 1: (9, 7, 4), 2: (5, 6, 9)})


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.value


def test_three_phases_by_hand() -> None:
    assert value(THREE.accuracy()) == pytest.approx((0.5 + 0.6 + 0.9) / 3)
    assert value(THREE.accuracy(1)) == pytest.approx((0.9 + 0.7) / 2)
    incremental = (0.8 + (0.9 + 0.7) / 2 + (0.5 + 0.6 + 0.9) / 3) / 3
    assert value(THREE.average_incremental_accuracy()) == pytest.approx(incremental)
    assert value(THREE.backward_transfer()) == pytest.approx(((0.5 - 0.8) + (0.6 - 0.7)) / 2)
    assert value(THREE.forward_transfer()) == pytest.approx(((0.3 - 0.0) + (0.4 - 0.2)) / 2)
    assert value(THREE.forgetting()) == pytest.approx(((0.9 - 0.5) + (0.7 - 0.6)) / 2)


def test_what_was_not_measured_has_no_figure() -> None:
    known = tenths({-1: (1, 0), 0: (8, None), 1: (6, 7)})  # phase 1 was not tried after phase 0
    assert known.forward_transfer() is None
    assert value(known.backward_transfer()) == pytest.approx(-0.2)
    assert value(known.forgetting()) == pytest.approx(0.2)
    one = tenths({-1: (1,), 0: (8,)})
    assert value(one.accuracy()) == value(one.average_incremental_accuracy()) == 0.8
    assert one.backward_transfer() is one.forward_transfer() is one.forgetting() is None
    with pytest.raises(ValueError, match="at least one row after a phase"):
        tenths({-1: (1,)})
    with pytest.raises(ValueError, match="11 of 10 tasks cannot be solved"):
        Cell(11, 10)


def test_gain_after_a_phase_is_transfer_and_no_forgetting() -> None:
    gained = tenths({0: (5, 1), 1: (8, 9)})
    assert value(gained.backward_transfer()) == pytest.approx(0.3)
    assert value(gained.forgetting()) == pytest.approx(-0.3)


def test_the_interval_of_a_difference_by_hand() -> None:
    matrix = tenths({0: (8, None), 1: (5, 6)})
    found = matrix.backward_transfer()
    assert found is not None
    count = 10 + Z_95**2
    shares = [(8 + Z_95**2 / 2) / count, (5 + Z_95**2 / 2) / count]
    half = Z_95 * math.sqrt(sum(p * (1 - p) / count for p in shares))
    assert found.high - found.value == pytest.approx(half)
    assert found.value - found.low == pytest.approx(half)
    assert found.count == 20


@given(st.lists(st.tuples(*[st.integers(0, 10)] * 4), min_size=4, max_size=4))
def test_intervals_hold_their_values_and_stay_in_range(rows: list[tuple[int, ...]]) -> None:
    matrix = tenths(dict(enumerate(rows)))
    for share in (matrix.accuracy(), matrix.average_incremental_accuracy()):
        assert share is not None
        assert 0.0 <= share.low <= share.value <= share.high <= 1.0
    for change in (matrix.backward_transfer(), matrix.forgetting()):
        assert change is not None
        assert -1.0 <= change.low <= change.value <= change.high <= 1.0


def test_without_borders_by_hand() -> None:
    curve = Anytime(
        (
            (0, {"blocks": Cell(0, 10), "ferry": Cell(2, 10)}),
            (100, {"blocks": Cell(8, 10), "ferry": Cell(4, 10)}),
            (400, {"blocks": Cell(6, 10), "ferry": Cell(8, 10)}),
        )
    )
    # Trapezoids: 100 of (.1 + .6)/2 and 300 of (.6 + .7)/2, over 400.
    assert value(curve.accuracy()) == pytest.approx((100 * 0.35 + 300 * 0.65) / 400)
    assert value(curve.final_accuracy()) == pytest.approx(0.7)
    # Blocks lost .2 at the end; the end's weight is 300 / 2 of 400; ferry lost nothing.
    assert value(curve.forgetting()) == pytest.approx(0.2 / 2 * 150 / 400)


def test_a_curve_that_is_none() -> None:
    cell = {"blocks": Cell(1, 2)}
    with pytest.raises(ValueError, match="at least two"):
        Anytime(((0, cell),))
    with pytest.raises(ValueError, match="in the order of the stream"):
        Anytime(((5, cell), (5, cell)))
    with pytest.raises(ValueError, match="the same groups"):
        Anytime(((0, cell), (5, {"ferry": Cell(1, 2)})))


def test_forgotten_and_recovered_over_three_attempts() -> None:
    attempts = [
        {"a": True, "b": True, "c": False, "d": False},
        {"a": True, "b": False, "c": True, "d": False},
        {"a": True, "b": True, "c": False, "d": False},
    ]
    # Solved before the last: a, b, c; of these b and c failed later.
    # Failed before the last: c, d, b; of these c and b were solved later.
    lost, found = forgotten(attempts), recovered(attempts)
    assert value(lost) == pytest.approx(2 / 3)
    assert value(found) == pytest.approx(2 / 3)
    assert lost is not None
    assert lost.count == 3
    assert forgotten([{"a": False}, {"a": True}]) is None
