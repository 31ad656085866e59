"""From attempts at tasks to the measures that the summary and the probes' events hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.observer import Estimate, Probed
from cluster.summary import ContinualFigures, Measures
from tasks import metrics
from tasks.accuracy_matrix import AccuracyMatrix, Cell
from tasks.metrics import Attempt


def measure(attempts: Sequence[Attempt]) -> Measures:
    """CSR, CGC, Exe and SPL of at least one attempt."""
    exe, spl = metrics.exe(attempts), metrics.spl(attempts)
    return Measures(
        tasks=len(attempts),
        csr=_estimate(metrics.csr(attempts)),
        cgc=_estimate(metrics.cgc(attempts)),
        exe=None if exe is None else _estimate(exe),
        spl=None if spl is None else _estimate(spl),
        spl_tasks=0 if spl is None else spl.count,
    )


def pooled(probes: Sequence[Probed]) -> Measures:
    """Several probes as one, each weighted with its tasks (CSR: exactly, from the counts)."""
    tasks = sum(probe.tasks for probe in probes)
    weights = [probe.tasks / tasks for probe in probes]
    emitted = sum(probe.tasks for probe in probes if probe.exe is not None)
    exe = [(probe.tasks / emitted, probe.exe) for probe in probes if probe.exe is not None]
    spl = [(_spl_tasks(probe), probe.spl) for probe in probes if probe.spl is not None]
    spl_tasks = sum(count for count, _ in spl)
    if len(probes) == 1:
        csr = probes[0].csr
    else:
        solved = sum(round(probe.csr.value * probe.tasks) for probe in probes)
        csr = _estimate(metrics.share(solved, tasks))
    return Measures(
        tasks=tasks,
        csr=csr,
        cgc=_weighted(weights, [probe.cgc for probe in probes]),
        exe=_weighted([weight for weight, _ in exe], [one for _, one in exe]) if exe else None,
        spl=_weighted([n / spl_tasks for n, _ in spl], [one for _, one in spl]) if spl else None,
        spl_tasks=spl_tasks,
    )


def _spl_tasks(probe: Probed) -> int:
    return probe.tasks if probe.spl_tasks is None else probe.spl_tasks


def continual_figures(probes: Iterable[Probed]) -> ContinualFigures | None:
    """What all probes by free decoding tell of continual learning; None before the first phase."""
    cells = {
        (probe.after_phase, probe.phase): Cell(round(probe.csr.value * probe.tasks), probe.tasks)
        for probe in probes
        if probe.mode == "free" and probe.tasks
    }
    if all(after < 0 for after, _ in cells):
        return None
    matrix = AccuracyMatrix(cells)
    return ContinualFigures(
        accuracy=_known(matrix.accuracy()),
        average_incremental_accuracy=_known(matrix.average_incremental_accuracy()),
        backward_transfer=_known(matrix.backward_transfer()),
        forward_transfer=_known(matrix.forward_transfer()),
        forgetting=_known(matrix.forgetting()),
    )


def _known(found: metrics.Estimate | None) -> Estimate | None:
    return None if found is None else _estimate(found)


def _estimate(found: metrics.Estimate | None) -> Estimate:
    """As the events hold it; of nothing, nothing is known: 0 with the interval [0, 1]."""
    if found is None:
        return Estimate(value=0.0, low=0.0, high=1.0)
    return Estimate(value=found.value, low=found.low, high=found.high)


def _weighted(weights: Sequence[float], estimates: Sequence[Estimate]) -> Estimate:
    """A weighted mean of independent estimates; half widths add up in quadrature."""
    value = sum(w * one.value for w, one in zip(weights, estimates))
    below = sum((w * (one.value - one.low)) ** 2 for w, one in zip(weights, estimates)) ** 0.5
    above = sum((w * (one.high - one.value)) ** 2 for w, one in zip(weights, estimates)) ** 0.5
    return Estimate(value=value, low=max(0.0, value - below), high=min(1.0, value + above))
