"""Studies of several models: a grid of cells over the same tasks, each distilled and tried once.

Plans are made once and kept. A cell that is done leaves CELL.json in the study's folder, and the
next call skips it; where that file is of another configuration, the study refuses to mix them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cluster.acted_banks import acted_banks
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


class CellResult(BaseModel):
    """What a cell gave: CELL.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    seed: int
    digest: str
    settings: dict[str, Any]
    rows: tuple[ArmRow, ...]
    curve: tuple[JointProgress, ...]
    parameters: int
    bank_sizes: dict[str, int]  # procedures in M+ and M-, where banks were filled
    seconds_distilling: float
    seconds_trying: float

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
    names = [cell.name for cell in cells]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"two cells of the study have one name: {', '.join(names)}")
    order.folder.mkdir(parents=True, exist_ok=True)
    done = {cell.name: _found(order, cell) for cell in cells}
    left = [cell for cell in cells if done[cell.name] is None]
    if left:
        order.tell(f"{len(cells) - len(left)} of {len(cells)} models are there")
        planned = plan(order.config, order.size, order.tell, order.folder / PLANS_FILE)
        for made in _made(planned, left, order, make or make_cell):
            done[made.name] = made.result
    return [result for name in names if (result := done[name]) is not None]


@dataclass(frozen=True, slots=True)
class _Made:
    name: str
    result: CellResult


def _made(
    planned: Planned, cells: Sequence[Cell], order: StudyOrder, make: MakeCell
) -> Iterator[_Made]:
    """Make cells, `parallel` at once; the first that fails ends the study, the rest may go on."""

    def make_one(cell: Cell) -> _Made:
        result = make(
            planned, cell, order.size, order.folder, lambda line: order.tell(f"{cell.name}: {line}")
        )
        _write(_file(order.folder, cell), result)
        order.tell(f"{cell.name}: done, {_file(order.folder, cell)}")
        return _Made(cell.name, result)

    if order.size.parallel == 1:
        yield from map(make_one, cells)
        return
    with ThreadPoolExecutor(order.size.parallel) as pool:
        futures = [pool.submit(make_one, cell) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            order.tell("stopping; models that are under way are finished first")
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_TRYING = threading.Lock()
"""Simulators and torch's threads are one cell's at a time."""


def make_cell(
    planned: Planned, cell: Cell, size: StudySize, folder: Path, tell: Tell
) -> CellResult:
    """Distil the cell's model and try it in all its arms."""
    own = folder / cell.name
    distilled = distil(planned, cell.config, size.processes, own, tell)
    (own / TRACES_FILE).unlink(missing_ok=True)  # each cell had a copy
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
        rows.append(ArmRow(arm=arm.name, domain=domain, csr=row.csr, exe=row.exe))
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


def _found(order: StudyOrder, cell: Cell) -> CellResult | None:
    """The cell's result, if it was made before, with the same configuration."""
    path = _file(order.folder, cell)
    if not path.is_file():
        return None
    away = f"remove {path} to make it anew, or choose another folder with --out"
    try:
        result = CellResult.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no result of a study: {away}") from error
    wanted = settings_of(cell, order.size, order.config.seed)
    if result.digest != digest_of(wanted):
        raise ConfigurationError(
            f"{path} was made with another configuration ({difference(result.settings, wanted)}): "
            f"{away}"
        )
    return result


def difference(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> str:
    """The first value in which two settings differ, as `key: old, now new`."""
    for key in [*old, *(key for key in new if key not in old)]:
        one, other = old.get(key), new.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            return difference(one, other, f"{above}{key}.")
        return f"{above}{key}: {one}, now {other}"
    return "its digest differs"


def _file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.name}.json"


def _write(path: Path, result: CellResult) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    beside.replace(path)
