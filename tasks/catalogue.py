"""What there is to solve: one row a domain, for `nesypr tasks list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.domains import domain_names, get_domain
from tasks.errors import TaskError


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A domain: its problems on file, its generator's sizes, and what runs it.

    `sizes` holds the generator's default (least, most) by parameter and is empty without one;
    `simulator` is what `auto` takes, "" where the domain cannot be run, and then `reason` is why.
    """

    domain: str
    train: int
    test: int
    generator: bool
    sizes: Mapping[str, tuple[int, int]]
    simulator: str
    reason: str


def list_tasks(names: Sequence[str] | None = None) -> list[TaskRow]:
    """A row for each domain named (default: all); those with a generator come first.

    Reads each domain and its first problem; never raises for what a domain holds.
    """
    return [_row(name) for name in (domain_names() if names is None else names)]


def _row(name: str) -> TaskRow:
    try:
        domain = get_domain(name)
    except TaskError as error:
        return TaskRow(name, 0, 0, False, {}, "", str(error))
    generator = domain.generator
    sizes = {p.name: p.default for p in generator.parameters} if generator else {}
    simulator = reason = ""
    try:
        simulator = domain.simulator_name
        for file in domain.train_files[:1]:
            domain.task_from_file(file)
    except TaskError as error:
        simulator, reason = "", str(error)
    return TaskRow(
        domain.name,
        len(domain.train_files),
        len(domain.test_files),
        generator is not None,
        sizes,
        simulator,
        reason,
    )
