"""What there is to solve: one row a domain, for `nesypr tasks list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.domains import domain_names, get_domain
from tasks.errors import TaskError
from tasks.pddl_domain import PddlDomain
from tasks.simulators import why_this_simulator


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A domain: its problems on file, its generator's sizes, and what runs it.

    `sizes` holds the generator's default (least, most) by parameter and is empty without one;
    `simulator` is what `auto` takes, and `why` says why it is that one. Where the domain cannot be
    run both are "", and `reason` says why; `note` says which of its files are of no use.
    """

    domain: str
    train: int
    test: int
    generator: bool
    sizes: Mapping[str, tuple[int, int]]
    simulator: str
    reason: str
    why: str = ""
    note: str = ""


def list_tasks(names: Sequence[str] | None = None) -> list[TaskRow]:
    """A row for each domain named (default: all); those with a generator come first.

    Reads each domain and its first problem; never raises for what a domain holds.
    """
    return [_row(name) for name in (domain_names() if names is None else names)]


def _row(name: str) -> TaskRow:
    try:
        domain = get_domain(name)
    except TaskError as error:
        return TaskRow(name, 0, 0, False, {}, "", _one_line(error))
    generator = domain.generator
    sizes = {p.name: p.default for p in generator.parameters} if generator else {}
    simulator = reason = why = note = ""
    train = test = 0
    try:
        simulator, why = domain.simulator_name, why_this_simulator(domain)
    except TaskError as error:
        simulator, reason = "", _one_line(error)
    try:
        train, test = len(domain.train_files), len(domain.test_files)
        for file in domain.train_files[:1]:
            domain.task_from_file(file)
    except TaskError as error:
        if generator is not None:
            note = f"its files cannot be used: {_one_line(error)}"
        elif not reason:
            simulator, why, reason = "", "", _one_line(error)
    if isinstance(domain, PddlDomain) and domain.skipped:
        note = f"{len(domain.skipped)} of its problem files are left out: {domain.skipped[0][1]}"
    return TaskRow(
        domain.name, train, test, generator is not None, sizes, simulator, reason, why, note
    )


def _one_line(error: TaskError) -> str:
    return " ".join(str(error).split())
