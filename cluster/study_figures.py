"""Figures over domains and seeds, with intervals: what the tables of studies are made of.

A figure is a mean over domains, then over seeds. Its 95 % interval is that of the tasks (with
Agresti and Coull's variance, so that 0 % and 100 % are not certain) and, with several seeds,
Student's over seeds where that is wider.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.curves import Chart, Curve
from cluster.drawing import draw
from cluster.study_grid import CellResult
from learner.joint_distillation import JointProgress
from tasks.metrics import Z_95, Estimate

STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantiles of Student's distribution with 1 to 9 degrees of freedom."""

ByDomain = Mapping[str, Estimate]


def over_domains(seeds: Sequence[ByDomain]) -> Estimate:
    """The mean CSR of a kind of model; each seed's CSR by domain goes in."""
    means = [_mean(one) for one in seeds]
    half = _half(means, [_variance(one) for one in seeds])
    value = statistics.fmean(means)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), _tasks(seeds))


def between(seeds: Sequence[tuple[ByDomain, ByDomain]]) -> Estimate:
    """The difference of two mean CSR, seed by seed; tasks count as if they were not the same."""
    means = [_mean(one) - _mean(other) for one, other in seeds]
    half = _half(means, [_variance(one) + _variance(other) for one, other in seeds])
    value = statistics.fmean(means)
    return Estimate(value, value - half, value + half, _tasks([one for one, _ in seeds]))


def over_seeds(seeds: Sequence[Estimate], least: float = 0.0) -> Estimate:
    """The mean of one figure of several seeds, which tried the same tasks, in [least, 1]."""
    value = statistics.fmean(one.value for one in seeds)
    half = statistics.fmean((one.high - one.low) / 2 for one in seeds)
    freedom = len(seeds) - 1
    if freedom:
        quantile = STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else Z_95
        spread = statistics.stdev(one.value for one in seeds)
        half = max(half, quantile * spread / math.sqrt(len(seeds)))
    count = sum(one.count for one in seeds)
    return Estimate(value, max(least, value - half), min(1.0, value + half), count)


def _mean(domains: ByDomain) -> float:
    return statistics.fmean(one.value for one in domains.values())


def _variance(domains: ByDomain) -> float:
    """Of the mean over domains, by chance of the tasks."""
    total = 0.0
    for one in domains.values():
        count = one.count + 4
        p = (one.value * one.count + 2) / count
        total += p * (1 - p) / count
    return total / len(domains) ** 2


def _half(means: Sequence[float], variances: Sequence[float]) -> float:
    by_tasks = Z_95 * math.sqrt(statistics.fmean(variances))
    freedom = len(means) - 1
    if freedom == 0:
        return by_tasks
    quantile = STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else Z_95
    return max(by_tasks, quantile * statistics.stdev(means) / math.sqrt(len(means)))


def _tasks(seeds: Sequence[ByDomain]) -> int:
    return sum(one.count for domains in seeds for one in domains.values())


def percent(share: float | None) -> str:
    """As 12.3%; a dash for nothing."""
    return "–" if share is None else f"{share:.1%}"


def interval(figure: Estimate) -> str:
    """As `1.0% to 2.0%`."""
    return f"{figure.low:.1%} to {figure.high:.1%}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def how_made(results: Sequence[CellResult]) -> str:
    """The sentence under a table: sizes, seeds, time."""
    first = results[0]
    seeds = sorted({result.seed for result in results})
    count = next(iter(first.csr(first.arms[0]).values())).count
    minutes = sum(result.seconds_distilling + result.seconds_trying for result in results) / 60
    processes = first.settings["processes"]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    where = f" On {first.hardware}; {versions}." if first.hardware else ""
    return (
        f"{len(first.domains)} domains, {first.settings['traces']} planned tasks and {count} "
        f"held-out tasks each; {first.curve[-1].step:,} steps, {processes} "
        f"process{'es' * (processes > 1)} a model, seed{'s' * (len(seeds) > 1)} "
        f"{', '.join(map(str, seeds))}; {minutes:.1f} min of "
        "distilling and trying in all. Means over domains and seeds; 95 % intervals of the tasks, "
        f"or over seeds where those are wider.{where}"
    )


def last(results: Sequence[CellResult]) -> JointProgress:
    """The last sign of life of the first of some models."""
    return results[0].curve[-1]


def draw_light(chart: Chart, salt: str) -> str:
    """The chart as an SVG file for pages of any colour: dark ink on a light ground of its own."""
    head, _, rest = draw(chart, salt).partition(">")
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f"{head}>{ground}{rest}".replace("currentColor", "#1f2328")


def draw_losses(results: Sequence[CellResult], path: Path) -> None:
    """The loss of each model over its steps, as an SVG file; seeds of a kind have one colour."""
    chart = Chart(
        title="loss",
        explanation="Cross-entropy a token, nats, means between signs of life.",
        x_label="step",
        y_label="loss, nats a token",
        curves=tuple(
            Curve(
                f"{result.kind}, seed {result.seed}",
                tuple(float(progress.step) for progress in result.curve),
                tuple(progress.loss for progress in result.curve),
                family=result.kind,
            )
            for result in results
        ),
        logarithmic=True,
    )
    path.write_text(draw_light(chart, path.stem), encoding="utf-8")
