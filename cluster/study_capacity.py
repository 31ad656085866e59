"""`nesypr study capacity`: a stream of tasks, domain after domain, with books of different size.

Each model learns the stream of its preset in the same order from the same plans, and is looked at
every so many tasks: CSR of all phases so far with its own procedures and with another task's,
the book on tasks that were learned and on those that come next, and what acting on these gives to
the banks. Whether and where each curve saturates says `cluster.saturation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from cluster.grid_cells import found_result, make_side_by_side
from cluster.saturation import fit_saturation
from cluster.stream_cell import learn_stream, plan_stream, stream_settings
from cluster.stream_curves import CURVES, curve_of
from cluster.stream_rows import StreamResult
from cluster.studies import StudyOrder, StudyPage
from cluster.study_capacity_page import draw_figures, page
from cluster.study_presets import Kind, Preset
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from learner.curriculum import single


def run_study(order: StudyOrder) -> StudyPage:
    """Make the models that are missing; write capacity.md, capacity.json and figures (SVG)."""
    if order.preset is None:
        raise ConfigurationError("study capacity needs a preset: --set preset=quick")
    _check(order.preset)
    results = learn_all(order, order.preset)
    draw_figures(results, order.folder)
    fits = {
        f"{one.kind}, seed {one.seed}": {
            curve.name: asdict(fit_saturation(*curve_of(one, curve), seed=one.seed))
            for curve in CURVES
            if len(curve_of(one, curve)[0]) > 1
        }
        for one in results
    }
    found = {
        "preset": order.preset.name,
        "saturation": fits,
        "cells": [result.model_dump(mode="json") for result in results],
    }
    (order.folder / "capacity.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "capacity.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def learn_all(order: StudyOrder, preset: Preset) -> list[StreamResult]:
    """Every kind with every seed, seed by seed; what is done is read, what was begun goes on."""
    base, measuring = preset.config, preset.study.measuring
    cells: dict[str, tuple[Kind, RunConfig]] = {}
    for seed in range(base.seed, base.seed + (order.size.seeds or 1)):
        for kind in preset.kinds:
            name = f"{re.sub(r'[^A-Za-z0-9]+', '-', kind.name)}-seed-{seed}"
            cells[name] = (kind, kind.config.model_copy(update={"seed": seed}))
    done: dict[str, StreamResult] = {}
    for name, (_, config) in cells.items():
        wanted = stream_settings(config, measuring, base.seed)
        found = found_result(order.folder / f"{name}.json", StreamResult, wanted)
        if found is not None:
            done[name] = found
    left = [name for name in cells if name not in done]
    if left:
        order.tell(f"{len(done)} of {len(cells)} models are there")
        planners = order.size.processes * order.size.parallel
        planned = plan_stream(base, planners, order.folder, order.tell)

        def make(name: str) -> StreamResult:
            kind, config = cells[name]
            return learn_stream(
                kind.name,
                dict(kind.values),
                config,
                measuring,
                planned,
                base.seed,
                order.folder / name,
                lambda line: order.tell(f"{name}: {line}"),
            )

        done |= make_side_by_side(left, make, order.folder, order.size.parallel, order.tell)
    return [done[name] for name in cells]


def _check(preset: Preset) -> None:
    """Refuse what the study cannot measure."""
    config, every = preset.config, preset.study.measuring.checkpoint_tasks
    if any(kind.config.model.memory.use == "none" for kind in preset.kinds):
        raise ConfigurationError(
            "study capacity measures a book, but model.memory.use = none has none: leave it out"
        )
    if not single(config.rendering, config.distillation):
        raise ConfigurationError(
            "study capacity learns decision by decision: it needs rendering.observation = prompt "
            "and distillation.decisions of at least 1"
        )
    uneven = [phase.name for phase in config.stream.phases if phase.tasks % every]
    if uneven:
        raise ConfigurationError(
            f"phases must be multiples of study.measuring.checkpoint_tasks = {every}, so that each "
            f"is looked at when it ends: {', '.join(uneven)} is not"
        )
    if not _same_streams(preset):
        raise ConfigurationError("all models of study capacity must learn one stream and teacher")


def _same_streams(preset: Preset) -> bool:
    """Whether all kinds differ in their models and learning alone."""

    def shared(config: RunConfig) -> Sequence[object]:
        return (config.stream, config.rendering, config.teacher)

    return all(shared(kind.config) == shared(preset.config) for kind in preset.kinds)
