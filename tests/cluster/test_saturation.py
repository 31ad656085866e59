"""The saturation point on curves whose answer is known, and where there is none to be had."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from cluster.saturation import Saturation, fit_saturation
from cluster.saturation_shapes import REACHED

Numbers = npt.NDArray[np.float64]
Shape = Callable[[Numbers], Numbers]

TASKS = np.linspace(50, 1200, 24)
SEEDS = 30


def fits(shape: Shape, noise: float, tasks: Numbers = TASKS) -> list[Saturation]:
    found = []
    for seed in range(SEEDS):
        generator = np.random.default_rng(seed)
        found.append(
            fit_saturation(tasks, shape(tasks) + generator.normal(0, noise, len(tasks)), seed)
        )
    return found


def answered(found: list[Saturation]) -> list[Saturation]:
    return [one for one in found if one.point is not None]


def approach(scale: float) -> Shape:
    return lambda tasks: 1 - np.exp(-tasks / scale)


def stick(bend: float) -> Shape:
    return lambda tasks: np.minimum(tasks / bend, 1.0)


def step(place: float) -> Shape:
    return lambda tasks: (tasks >= place).astype(np.float64)


FIRST = float(TASKS[0])


@pytest.mark.parametrize("noise", [0.01, 0.03])
@pytest.mark.parametrize(
    ("shape", "truth"),
    [
        (approach(150), FIRST + 150 * np.log(1 / (1 - REACHED))),
        (stick(400), FIRST + REACHED * (400 - FIRST)),
        (stick(700), FIRST + REACHED * (700 - FIRST)),
        (step(600), 600.0),
    ],
)
def test_the_interval_covers_the_known_point(shape: Shape, truth: float, noise: float) -> None:
    found = answered(fits(shape, noise))
    assert len(found) >= 0.9 * SEEDS
    covered = sum(one.low <= truth <= one.high for one in found)  # type: ignore[operator]
    assert covered >= 0.85 * len(found)
    plateaus = [one.plateau for one in found if one.plateau is not None]
    assert np.median(plateaus) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("shape", "truth"),
    [(step(500), 500.0), (stick(400), 20 + REACHED * 380), (approach(150), 20 + 150 * np.log(20))],
)
def test_many_measurements_do_not_make_it_too_sure(shape: Shape, truth: float) -> None:
    found = answered(fits(shape, 0.01, np.linspace(20, 1200, 60)))
    assert len(found) >= 0.9 * SEEDS
    covered = sum(one.low <= truth <= one.high for one in found)  # type: ignore[operator]
    assert covered >= 0.85 * len(found)


def test_a_falling_curve_saturates_as_its_mirror_does() -> None:
    rising, falling = fits(approach(150), 0.02), fits(lambda t: 5 - approach(150)(t), 0.02)
    assert np.median([one.point or 0 for one in falling]) == pytest.approx(
        float(np.median([one.point or 0 for one in rising])), rel=0.15
    )


def test_an_early_plateau_is_found_within_the_first_measurements() -> None:
    found = answered(fits(step(100), 0.02))
    assert len(found) >= 0.9 * SEEDS
    assert all(one.high <= 200 for one in found if one.high is not None)


@pytest.mark.parametrize(
    ("shape", "noise"),
    [
        (lambda tasks: tasks / 1200, 0.02),
        (lambda tasks: tasks / 1200, 0.1),
        (lambda tasks: np.log(1 + tasks / 100) / 2.5, 0.01),
        (lambda tasks: (tasks / 1200) ** 0.5, 0.02),
        (approach(1500), 0.01),
        (lambda tasks: (tasks / 1200) ** 2, 0.02),
    ],
)
def test_what_still_rises_is_refused(shape: Shape, noise: float) -> None:
    assert len(answered(fits(shape, noise))) <= 0.05 * SEEDS


def test_noise_is_refused() -> None:
    found = fits(lambda tasks: 0 * tasks, 0.1)
    assert len(answered(found)) <= 0.05 * SEEDS
    assert sum("noise" in one.refusal for one in found) >= 0.9 * SEEDS


def test_noise_whose_neighbours_are_alike_is_mostly_refused() -> None:
    found = 0
    for seed in range(SEEDS):
        generator = np.random.default_rng(seed)
        values = np.zeros(len(TASKS))
        for place in range(1, len(TASKS)):
            values[place] = 0.6 * values[place - 1] + generator.normal()
        found += fit_saturation(TASKS, values, seed).point is not None
    assert found <= 0.1 * SEEDS


def test_a_random_walk_is_rarely_taken_for_a_plateau() -> None:
    found = 0
    for seed in range(SEEDS):
        walk = np.cumsum(np.random.default_rng(seed).normal(size=len(TASKS)))
        found += fit_saturation(TASKS, walk, seed).point is not None
    assert found <= 0.2 * SEEDS


def test_under_heavy_noise_answers_are_fewer_and_less_sure() -> None:
    """The limits of it: what is answered there happened to look clear."""
    truth = FIRST + 150 * np.log(1 / (1 - REACHED))
    found = answered(fits(approach(150), 0.1))
    assert 0 < len(found) < 0.95 * SEEDS
    covered = sum(one.low <= truth <= one.high for one in found)  # type: ignore[operator]
    assert covered >= 0.5 * len(found)


def test_an_approach_whose_tail_could_be_longer_is_mostly_refused() -> None:
    found = fits(approach(250), 0.03)
    assert len(answered(found)) <= 0.5 * SEEDS
    assert any("reaches the last measurement" in one.refusal for one in found)


def test_too_little_is_refused_in_words() -> None:
    short = fit_saturation(range(9), [1.0 * place for place in range(9)], 0)
    assert short.refusal == "9 measurements are too few: 10 are needed"
    still = fit_saturation(TASKS, np.full(24, 64.0), 0)
    assert still.refusal == "it never moved"


def test_a_plateau_that_is_hardly_seen_is_refused() -> None:
    found = fits(stick(1100), 0.01)
    assert not answered(found)
    assert "still moving" in found[0].refusal or "no plateau" in found[0].refusal


def test_without_noise_the_point_is_exact() -> None:
    found = fit_saturation(TASKS, stick(600)(TASKS), 0)
    assert found.point == pytest.approx(FIRST + REACHED * (600 - FIRST), abs=10)
    assert found.refusal == ""
    assert found.plateau == pytest.approx(1.0, abs=0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = approach(150)(TASKS) + np.random.default_rng(0).normal(0, 0.02, 24)
    assert fit_saturation(TASKS, values, 3) == fit_saturation(TASKS, values, 3)


@pytest.mark.parametrize(
    ("tasks", "values"),
    [([1, 1, 2], [1, 2, 3]), ([1, 2], [1, float("nan")]), ([1, 2, 3], [1, 2]), ([1], [1])],
)
def test_what_is_no_curve_is_an_error(tasks: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match="curve"):
        fit_saturation(tasks, values, 0)
