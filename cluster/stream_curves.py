"""A model that learned a stream: its curves over tasks, and its matrix of accuracies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.stream_rows import Look, StreamResult
from tasks.accuracy_matrix import UNTRAINED, AccuracyMatrix, Cell
from tasks.metrics import Z_95, Estimate

Reading = Callable[[Look, int], float | None]


@dataclass(frozen=True, slots=True)
class BookCurve:
    """A figure over the tasks learned; `read` takes a look and K, and gives None where it has
    none. Of the book, and so of continuous memory only where `continuous`."""

    name: str
    read: Reading
    continuous: bool = False


def csr_so_far(look: Look) -> float | None:
    """CSR on the held-out tasks of the phases so far, each phase weighing the same."""
    shares = [probe.solved / probe.tasks for probe in look.probes if probe.exchanged is not None]
    return sum(shares) / len(shares) if shares else None


def reliance(look: Look) -> Estimate | None:
    """Memory reliance on the phases so far: own minus exchanged procedures, by tasks."""
    own = other = tasks = 0
    for probe in look.probes:
        if probe.exchanged is not None:
            own, other, tasks = own + probe.solved, other + probe.exchanged, tasks + probe.tasks
    if not tasks:
        return None
    cells = Cell(own, tasks), Cell(other, tasks)
    value = cells[0].share - cells[1].share
    half = Z_95 * (cells[0].variance + cells[1].variance) ** 0.5
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), tasks)


def _reliance(look: Look, codes: int) -> float | None:
    found = reliance(look)
    return None if found is None else found.value


CURVES = (
    BookCurve("codes used", lambda look, _: look.old.used if look.old else None),
    BookCurve("perplexity", lambda look, _: look.old.perplexity if look.old else None),
    BookCurve("dead share", lambda look, K: 1 - look.old.used / K if look.old else None),
    BookCurve(
        "quantisation error, old tasks", lambda look, _: look.old.error if look.old else None
    ),
    BookCurve(
        "quantisation error, new tasks", lambda look, _: look.new.error if look.new else None
    ),
    BookCurve("ceiling, old tasks", lambda look, _: look.old.ceiling if look.old else None),
    BookCurve("bank, distinct procedures", lambda look, _: look.bank.unique if look.bank else None),
    BookCurve("bank, admitted", lambda look, _: look.bank.admitted if look.bank else None),
    BookCurve("CSR, phases so far", lambda look, _: csr_so_far(look), continuous=True),
    BookCurve(
        "CSR, tasks to come",
        lambda look, _: look.acted_solved / look.acted if look.acted else None,
        continuous=True,
    ),
    BookCurve(
        "right, new tasks", lambda look, _: look.new.right if look.new else None, continuous=True
    ),
    BookCurve("memory reliance", _reliance, continuous=True),
)


def codes_of(result: StreamResult) -> int | None:
    """K; None of continuous memory."""
    book = result.settings["model"]["book"]
    return int(book["codes"]) if book["quantised"] else None


def curve_of(result: StreamResult, curve: BookCurve) -> tuple[list[float], list[float]]:
    """Tasks learned and values, of looks at which something was learned, and quantised."""
    codes = codes_of(result)
    if codes is None and not curve.continuous:
        return [], []
    tasks, values = [], []
    for look in result.looks:
        if look.tasks == 0 or not (look.quantised or codes is None):
            continue
        value = curve.read(look, codes or 1)
        if value is not None:
            tasks.append(float(look.tasks))
            values.append(float(value))
    return tasks, values


def matrix_of(result: StreamResult) -> AccuracyMatrix:
    """a[i, j]: CSR on phase j's held-out tasks when phase i ended; the untrained row, too."""
    ends = {phase.stop: number for number, phase in enumerate(result.phases)} | {0: UNTRAINED}
    return AccuracyMatrix(
        {
            (ends[look.tasks], probe.phase): Cell(probe.solved, probe.tasks)
            for look in result.looks
            if look.tasks in ends
            for probe in look.probes
        }
    )
