"""How well tasks were solved: CSR, CGC, Exe, SPL, FR and RR, each with its 95 % interval.

Pure functions over finished episodes. Intervals: Wilson's for shares of tasks (CSR, FR, RR); for
means over tasks (CGC, SPL) and for Exe, a ratio over episodes (actions of one episode are not
independent), the normal approximation once about two episodes that reached everything and about
two that reached nothing are added. That is Agresti and Coull's (1998, "add two successes and two
failures") for values between 0 and 1 **(ours)**: equal values are not taken for certain. No
resampling, so that the same episodes always give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished episode, as far as the metrics need it.

    `plan_length` is that of the planner's plan for the task, None where there is none.
    """

    success: bool
    conditions_met: int
    conditions: int
    emitted: int  # actions the policy named, parsed or not
    accepted: int  # those that the simulator accepted
    plan_length: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, from `count` tasks."""

    value: float
    low: float
    high: float
    count: int


def share(successes: int, count: int) -> Estimate | None:
    """A share with Wilson's interval; None from nothing."""
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} cannot be")
    if count == 0:
        return None
    p = successes / count
    z2 = Z_95**2
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == count else min(1.0, centre + half)
    return Estimate(p, low, high, count)


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean of values in [0, 1], with its interval cut to [0, 1]; None from nothing.

    One value says nothing of the spread: its interval is [0, 1].
    """
    return _ratio([(value, 1.0) for value in values])


def csr(attempts: Sequence[Attempt]) -> Estimate | None:
    """Cumulative success rate: the share of tasks solved within the step limit."""
    return share(sum(attempt.success for attempt in attempts), len(attempts))


def cgc(attempts: Sequence[Attempt]) -> Estimate | None:
    """The share of goal conditions met at the end, averaged over tasks."""
    return mean([a.conditions_met / a.conditions if a.conditions else 1.0 for a in attempts])


def exe(attempts: Sequence[Attempt]) -> Estimate | None:
    """The share of emitted actions that the simulator accepted; None if none was emitted."""
    return _ratio([(attempt.accepted, attempt.emitted) for attempt in attempts])


def spl(attempts: Sequence[Attempt]) -> Estimate | None:
    """Success weighted by plan length ÷ max(plan length, steps taken), averaged over tasks.

    Tasks without a planner's plan, solved or not, are left out: `count` tells of how many it is.
    None where no task has one.
    """
    values = []
    for attempt in attempts:
        if attempt.plan_length is not None:
            longest = max(attempt.plan_length, attempt.emitted)
            values.append(attempt.success * (attempt.plan_length / longest if longest else 1.0))
    return mean(values)


def forgotten(attempts: Sequence[Mapping[str, bool]]) -> Estimate | None:
    """FR: of the tasks that an attempt solved, the share that a later one failed.

    An attempt tells of each task (by its digest) whether it was solved; all attempts tell of the
    same tasks. None where nothing was solved before the last attempt. A task counts once.
    """
    return _turned(attempts, True)


def recovered(attempts: Sequence[Mapping[str, bool]]) -> Estimate | None:
    """RR: of the tasks that an attempt failed, the share that a later one solved."""
    return _turned(attempts, False)


def _turned(attempts: Sequence[Mapping[str, bool]], before: bool) -> Estimate | None:
    were = {digest for past in attempts[:-1] for digest, solved in past.items() if solved == before}
    turned = 0
    for digest in were:
        history = [past[digest] for past in attempts]
        turned += (not before) in history[history.index(before) :]
    return share(turned, len(were))


def _ratio(parts: Sequence[tuple[float, float]]) -> Estimate | None:
    """Sum of the parts' firsts ÷ sum of their seconds; each first is between 0 and its second.

    For the interval z²/2 parts of average size that are full are added, and as many empty ones; of
    parts of size 1 that are full or empty it is Agresti and Coull's. It always holds the value.
    """
    count = len(parts)
    whole = math.fsum(size for _, size in parts)
    if whole == 0:
        return None
    filled = math.fsum(part for part, _ in parts)
    value = filled / whole
    if count == 1:
        return Estimate(value, 0.0, 1.0, 1)
    added, average = Z_95**2 / 2, whole / count
    total = whole + 2 * added * average
    centre = (filled + added * average) / total
    squares = math.fsum((part - centre * size) ** 2 for part, size in parts)
    squares += added * average**2 * ((1 - centre) ** 2 + centre**2)
    half = Z_95 * math.sqrt(squares) / total
    return Estimate(value, max(0.0, centre - half), min(1.0, centre + half), count)
