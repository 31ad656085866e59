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


def test_tasks_without_a_plan_do_not_count_for_spl() -> None:
    solved = Attempt(True, 1, 1, emitted=8, accepted=8, plan_length=4)
    unknown = [
        Attempt(success, int(success), 1, emitted=4, accepted=4) for success in (True, False, False)
    ]
    found = spl([solved, *unknown])
    assert found is not None
    assert (found.value, found.count) == (0.5, 1)
    assert spl(unknown) is None


def test_equal_values_are_not_certain() -> None:
    """By hand, z² = 3.84146: 36 ones become 37.92073 of 39.84146, which is 0.95179; its variance
    is 0.95179 · 0.04821 / 39.84146 = 0.0011517, and 1.95996 times its root 0.06651."""
    perfect = Attempt(True, 2, 2, emitted=5, accepted=5, plan_length=5)
    hopeless = Attempt(False, 0, 2, emitted=5, accepted=0, plan_length=5)
    for figure in (cgc, exe, spl):
        best, worst = figure([perfect] * 36), figure([hopeless] * 36)
        assert best is not None
        assert worst is not None
        assert (best.value, best.high, best.count) == (1.0, 1.0, 36)
        assert best.low == pytest.approx(0.88527, abs=1e-5)
        assert (worst.value, worst.low) == (0.0, 0.0)
        assert worst.high == pytest.approx(0.11473, abs=1e-5)


def test_half_of_everything_has_an_interval() -> None:
    """By hand: 36 halves, 1.92073 ones and as many zeros have mean 1/2 and variance
    (36 / 4 + 1.92073) / 39.84146 - 1 / 4 = 0.024105;
    1.95996 · √(0.024105 / 39.84146) = 0.04821."""
    half = mean([0.5] * 36)
    assert half is not None
    assert half.low == pytest.approx(0.45179, abs=1e-5)
    assert half.high == pytest.approx(0.54821, abs=1e-5)


def test_exe_rests_on_episodes_not_on_actions() -> None:
    """By hand: 1 of 1, 1 of 3 and 2 of 2 actions are 4 of 6, an episode has 2 on average, and with
    1.92073 such episodes of either kind it is 7.84146 of 13.68292, which is 0.573084. The squares
    are 0.426916², 0.719251², 0.853832² and 1.92073 · 4 · (0.426916² + 0.573084²) = 3.923532; the
    root of their sum, 5.352141, is 2.313470, and 1.95996 · 2.313470 / 13.68292 = 0.331385."""
    found = exe(
        [
            Attempt(False, 0, 1, emitted=emitted, accepted=accepted)
            for accepted, emitted in ((1, 1), (1, 3), (2, 2))
        ]
    )
    assert found is not None
    assert found.value == pytest.approx(4 / 6)
    assert found.low == pytest.approx(0.573084 - 0.331385, abs=1e-5)
    assert found.high == pytest.approx(0.573084 + 0.331385, abs=1e-5)


@given(st.lists(st.integers(0, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))))
def test_exe_interval_holds_its_value(episodes: list[tuple[int, int]]) -> None:
    found = exe([Attempt(False, 0, 1, emitted=n, accepted=a) for a, n in episodes])
    assert (found is None) == (sum(n for _, n in episodes) == 0)
    if found is not None:
        assert 0.0 <= found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high <= 1.0
