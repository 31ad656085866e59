"""Metrics against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics import Attempt, cgc, csr, exe, mean, share, spl


def test_wilson_interval_is_the_textbook_one() -> None:
    estimate = share(8, 10)
    assert estimate is not None
    assert estimate.value == 0.8
    assert estimate.low == pytest.approx(0.4901625, abs=1e-6)
    assert estimate.high == pytest.approx(0.9433178, abs=1e-6)


def test_nothing_gives_no_figure() -> None:
    assert csr([]) is None
    assert cgc([]) is None
    assert exe([]) is None
    assert spl([]) is None


def test_impossible_share_is_refused() -> None:
    with pytest.raises(ValueError, match="5 successes of 4"):
        share(5, 4)


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_interval_holds_its_value(successes: int, count: int) -> None:
    estimate = share(min(successes, count), count)
    assert estimate is not None
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_mean_interval_holds_its_value(values: list[float]) -> None:
    estimate = mean(values)
    assert estimate is not None
    assert 0.0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1.0


def test_the_four_figures() -> None:
    attempts = [
        Attempt(True, 2, 2, emitted=4, accepted=4, plan_length=4),
        Attempt(True, 2, 2, emitted=8, accepted=6, plan_length=4),
        Attempt(False, 1, 2, emitted=4, accepted=1, plan_length=3),
        Attempt(True, 2, 2, emitted=4, accepted=4, plan_length=None),
    ]
    values = [figure(attempts) for figure in (csr, cgc, exe, spl)]
    found = [(value.value, value.count) for value in values if value is not None]
    assert found == [
        (0.75, 4),
        (0.875, 4),
        (0.75, 4),
        (pytest.approx((1.0 + 0.5 + 0.0) / 3), 3),
    ]
