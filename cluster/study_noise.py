"""`nesypr study noise`: teachers that do not plan optimally, on the same tasks.

All models are tried on the same held-out tasks and against the same optimal plans (SPL).
"""

from __future__ import annotations

import json
import statistics
import threading
from pathlib import Path

from cluster.studies import StudyOrder, StudyPage, StudySize, Tell
from cluster.study_codes import OTHER, OWN, by_kind, cells, memory_line
from cluster.study_figures import (
    between,
    draw_losses,
    how_made,
    interval,
    markdown,
    over_domains,
    percent,
)
from cluster.study_grid import (
    PLANS_FILE,
    Cell,
    CellResult,
    distil_cell,
    run_grid,
    try_cell,
)
from cluster.study_steps import Planned, plan
from configs.errors import ConfigurationError

_PLANNING = threading.Lock()
"""Models of one teacher, side by side, find the plans that the first of them made."""


def run_study(order: StudyOrder) -> StudyPage:
    """Make the models that are missing; write noise.md, noise.json and noise.svg."""
    preset = order.preset
    if preset is None:
        raise ConfigurationError("study noise needs a preset: --set preset=quick")
    teacher = order.config.teacher
    if teacher.noise or teacher.planner not in ("mimir-astar", "fd-optimal"):
        raise ConfigurationError(
            "study noise compares with an optimal teacher: leave out teacher.noise and "
            "teacher.planner, which are the study's own"
        )

    def make(planned: Planned, cell: Cell, size: StudySize, folder: Path, tell: Tell) -> CellResult:
        config = order.config.model_copy(update={"teacher": cell.config.teacher})
        with _PLANNING:
            taught = plan(config, size, tell, folder / PLANS_FILE)
        return try_cell(planned, cell, size, distil_cell(taught, cell, size, folder, tell), tell)

    results = run_grid(order, cells(preset, order.size.seeds or 1, (OWN, OTHER)), make)
    draw_losses(results, order.folder / "noise.svg")
    found = {"cells": [result.model_dump(mode="json") for result in results]}
    (order.folder / "noise.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "noise.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def page(results: list[CellResult]) -> str:
    """Tables in Markdown."""
    rows, silent = [], []
    kinds = by_kind(results)
    for kind, of in kinds.items():
        own = over_domains([one.csr(OWN.name) for one in of])
        reliance = between([(one.csr(OWN.name), one.csr(OTHER.name)) for one in of])
        if reliance.low <= 0:
            silent.append(kind)
        spl = over_domains(
            [
                {row.domain: row.spl for row in one.rows if row.arm == OWN.name and row.spl}
                for one in of
            ]
        )
        exes = [exe for one in of if (exe := one.exe(OWN.name)) is not None]
        rows.append(
            [
                kind,
                percent(own.value),
                interval(own),
                f"{spl.value:.3f}",
                percent(statistics.fmean(exes) if exes else None),
                f"{100 * reliance.value:.1f}",
                f"{of[0].curve[-1].loss:.3f}",
            ]
        )
    head = ["teacher", "CSR", "95 %", "SPL", "Exe", "reliance, points", "loss at the end"]
    lines = [memory_line(silent), "", *markdown(head, rows), "", how_made(results), ""]
    lines += ["CSR by domain:", ""]
    lines += markdown(
        ["domain", *kinds],
        [
            [
                domain,
                *(
                    percent(statistics.fmean(one.csr(OWN.name)[domain].value for one in of))
                    for of in kinds.values()
                ),
            ]
            for domain in results[0].domains
        ],
    )
    return "\n".join([*lines, "", "![Loss of the models](noise.svg)", ""])
