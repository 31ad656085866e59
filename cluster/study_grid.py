"""Studies of several models: a grid of cells over the same tasks, each distilled and tried once.

Plans are made once and kept. A cell that is done leaves CELL.json in the study's folder, and the
next call skips it; where that file is of another configuration, the study refuses to mix them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cluster.acted_banks import acted_banks
from cluster.grid_cells import KeptResult, found_result, made_on, make_side_by_side
from cluster.studies import StudyOrder, StudySize, Tell
from cluster.study_steps import Banks, Distilled, Mode, Planned, Trial, digest_of, distil, plan
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from learner.joint_distillation import TRACES_FILE, JointProgress
from tasks.metrics import Attempt, Estimate, csr, exe
from tasks.task import Task

PLANS_FILE = "plans.bin"
FORMAT = 2
"""Of cells' files, and of what learning does; another one is another configuration."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A way of trying a model on the held-out tasks."""

    name: str
    mode: Mode = "free"
    banks: Banks = "none"


@dataclass(frozen=True, slots=True)
class Cell:
    """A model of the grid, and how it is tried."""

    kind: str  # models of a kind differ in their seed only
    config: RunConfig  # with the cell's own seed
    arms: tuple[Arm, ...]

    @property
    def name(self) -> str:
        """The cell's files are called so."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '-', self.kind)}-seed-{self.config.seed}"


class ArmRow(BaseModel):
    """One domain in one arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    domain: str
    csr: Estimate
    exe: Estimate | None
    spl: Estimate | None = None


class CellResult(KeptResult):
    """What a cell gave: CELL.json."""

    rows: tuple[ArmRow, ...]
    curve: tuple[JointProgress, ...]
    parameters: int
    bank_sizes: dict[str, int]  # procedures in M+ and M-, where banks were filled
    seconds_distilling: float
    seconds_trying: float
    hardware: str = ""  # not told by results of before it was kept
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms' names, in order."""
        return tuple(dict.fromkeys(row.arm for row in self.rows))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains' names, in order."""
        return tuple(dict.fromkeys(row.domain for row in self.rows))

    def csr(self, arm: str) -> dict[str, Estimate]:
        """CSR of an arm by domain."""
        return {row.domain: row.csr for row in self.rows if row.arm == arm}

    def exe(self, arm: str) -> float | None:
        """Exe of an arm, averaged over the domains in which anything was emitted."""
        found = [row.exe.value for row in self.rows if row.arm == arm and row.exe is not None]
        return sum(found) / len(found) if found else None


MakeCell = Callable[[Planned, Cell, StudySize, Path, Tell], CellResult]


def run_grid(
    order: StudyOrder, cells: Sequence[Cell], make: MakeCell | None = None
) -> list[CellResult]:
    """All cells' results, in order; those that are done already are read, not made.

    `ConfigurationError` before anything is made where a file is of another configuration.
    """
    by_name = {cell.name: cell for cell in cells}
    if len(by_name) < len(cells):
        names = ", ".join(cell.name for cell in cells)
        raise ConfigurationError(f"two cells of the study have one name: {names}")
    order.folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, CellResult] = {}
    for name, cell in by_name.items():
        wanted = settings_of(cell, order.size, order.config.seed)
        found = found_result(order.folder / f"{name}.json", CellResult, wanted)
        if found is not None:
            done[name] = found
    left = [name for name in by_name if name not in done]
    if left:
        order.tell(f"{len(done)} of {len(cells)} models are there")
        planned = plan(order.config, order.size, order.tell, order.folder / PLANS_FILE)

        def make_one(name: str) -> CellResult:
            def tell(line: str) -> None:
                order.tell(f"{name}: {line}")

            return (make or make_cell)(planned, by_name[name], order.size, order.folder, tell)

        done |= make_side_by_side(left, make_one, order.folder, order.size.parallel, order.tell)
    return [done[name] for name in by_name]


_TRYING = threading.Lock()
"""Simulators and torch's threads are one cell's at a time."""


def make_cell(
    planned: Planned, cell: Cell, size: StudySize, folder: Path, tell: Tell
) -> CellResult:
    """Distil the cell's model and try it in all its arms."""
    return try_cell(planned, cell, size, distil_cell(planned, cell, size, folder, tell), tell)


def distil_cell(
    planned: Planned, cell: Cell, size: StudySize, folder: Path, tell: Tell
) -> Distilled:
    """Distil the cell's model in a folder of its own."""
    own = folder / cell.name
    distilled = distil(planned, cell.config, size.processes, own, tell)
    (own / TRACES_FILE).unlink(missing_ok=True)  # each cell had a copy
    return distilled


def try_cell(
    planned: Planned, cell: Cell, size: StudySize, distilled: Distilled, tell: Tell
) -> CellResult:
    """Try the cell's model in all its arms, one cell at a time."""
    with _TRYING:
        return _tried(planned, cell, size, distilled, tell)


def _tried(
    planned: Planned, cell: Cell, size: StudySize, distilled: Distilled, tell: Tell
) -> CellResult:
    began = time.monotonic()
    trial = Trial(distilled.payload, planned, cell.config)
    rows = []
    sizes: dict[str, int] = {}
    silent = [arm for arm in cell.arms if arm.banks == "none"]
    asking = [arm for arm in cell.arms if arm.banks != "none"]
    for arm, domain, tasks in _each(silent, planned):
        row = trial.row(domain, arm.mode, tasks)
        rows.append(ArmRow(arm=arm.name, domain=domain, csr=row.csr, exe=row.exe, spl=row.spl))
        tell(_line(rows[-1]))
    if asking:
        with acted_banks(distilled.payload, planned, cell.config) as banks:
            banks.fill(size.tasks)
            sizes = banks.sizes()
            for arm, domain, tasks in _each(asking, planned):
                outcomes = banks.probe(arm.banks, tasks)
                found = [
                    Attempt(
                        one.success, one.conditions_met, one.conditions, one.steps, one.accepted
                    )
                    for one in outcomes
                ]
                rate = csr(found)
                assert rate is not None  # there was a row without banks
                rows.append(ArmRow(arm=arm.name, domain=domain, csr=rate, exe=exe(found)))
                tell(_line(rows[-1]))
    settings = settings_of(cell, size, planned.seed)
    machine, versions = made_on()
    return CellResult(
        kind=cell.kind,
        seed=cell.config.seed,
        digest=digest_of(settings),
        settings=settings,
        rows=tuple(rows),
        curve=distilled.curve,
        parameters=trial.parameters,
        bank_sizes=sizes,
        seconds_distilling=distilled.seconds,
        seconds_trying=time.monotonic() - began,
        hardware=machine,
        versions=versions,
    )


def _each(arms: Sequence[Arm], planned: Planned) -> Iterator[tuple[Arm, str, Sequence[Task]]]:
    """Every arm with every domain and its held-out tasks."""
    for arm in arms:
        for phase, domain in zip(planned.stream.phases, planned.domains, strict=True):
            yield arm, domain, planned.stream.probe(phase.number)


def _line(row: ArmRow) -> str:
    return f"{row.arm}, {row.domain}: CSR {row.csr.value:.1%}"


def settings_of(cell: Cell, size: StudySize, study_seed: int) -> dict[str, Any]:
    """Everything that a cell's result hangs on; tasks and names are drawn by the study's seed."""
    config = cell.config
    return {
        "format": FORMAT,
        "study_seed": study_seed,
        "traces": size.traces,
        "tasks": size.tasks,
        "processes": size.processes,
        "arms": [f"{arm.name}: {arm.mode}, banks {arm.banks}" for arm in cell.arms],
        "seed": config.seed,
        **{
            section: getattr(config, section).model_dump(mode="json")
            for section in ("stream", "rendering", "model", "acting", "distillation")
        },
        "bank": config.shared_memory.bank.model_dump(mode="json"),
        "teacher": config.teacher.model_dump(mode="json", exclude={"processes"}),
    }
