"""`nesypr study codes`: how many chunks, how many codes, how wide.

Models over a grid of n, K and d learn the same tasks; each is tried with its own procedures and
with another task's of the domain.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from cluster.curves import Chart, Curve
from cluster.studies import StudyOrder, StudyPage
from cluster.study_figures import (
    between,
    draw_light,
    how_made,
    interval,
    last,
    markdown,
    over_domains,
    percent,
)
from cluster.study_grid import Arm, Cell, CellResult, run_grid
from cluster.study_presets import Preset
from configs.errors import ConfigurationError

OWN, OTHER = Arm("own"), Arm("another's", mode="exchanged")


def run_study(order: StudyOrder) -> StudyPage:
    """Make the models that are missing; write codes.md, codes.json and codes.svg."""
    preset = order.preset
    if preset is None:
        raise ConfigurationError("study codes needs a preset: --set preset=quick")
    if any(kind.config.model.memory.use == "none" for kind in preset.kinds):
        raise ConfigurationError("study codes needs a memory: leave out model.memory.use = none")
    results = run_grid(order, cells(preset, order.size.seeds or 1, (OWN, OTHER)))
    _draw(results, order.folder / "codes.svg")
    found = {"cells": [result.model_dump(mode="json") for result in results]}
    (order.folder / "codes.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "codes.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def cells(preset: Preset, seeds: int, arms: tuple[Arm, ...]) -> list[Cell]:
    """Every kind with every seed, seed by seed."""
    first = preset.config.seed
    return [
        Cell(kind.name, kind.config.model_copy(update={"seed": seed}), arms)
        for seed in range(first, first + seeds)
        for kind in preset.kinds
    ]


def by_kind(results: list[CellResult]) -> dict[str, list[CellResult]]:
    """Results that differ in their seed only, together."""
    found: dict[str, list[CellResult]] = {}
    for result in results:
        found.setdefault(result.kind, []).append(result)
    return found


def bits(result: CellResult) -> float | None:
    """n·log₂K, the most that a procedure can tell; None of continuous memory."""
    book = result.settings["model"]["book"]
    return chunks(result) * math.log2(book["codes"]) if book["quantised"] else None


def chunks(result: CellResult) -> int:
    """n"""
    memory, book = result.settings["model"]["memory"], result.settings["model"]["book"]
    return int(memory["slots"] * memory["width"] // book["width"])


def page(results: list[CellResult]) -> str:
    """The table in Markdown, beginning with whether the policies read their memory."""
    rows, silent = [], []
    for kind, of in by_kind(results).items():
        own = over_domains([one.csr(OWN.name) for one in of])
        reliance = between([(one.csr(OWN.name), one.csr(OTHER.name)) for one in of])
        if reliance.low <= 0:
            silent.append(kind)
        end, size = last(of), bits(of[0])
        rows.append(
            [
                kind,
                "–" if size is None else f"{size:.0f}",
                percent(own.value),
                interval(own),
                f"{100 * reliance.value:.1f} ({100 * reliance.low:.1f} to "
                f"{100 * reliance.high:.1f})",
                "–" if size is None else f"{end.codes_used}",
                "–" if size is None else f"{end.perplexity:.0f}",
                "–" if size is None else f"{end.quantisation_error:.3f}",
                f"{end.loss:.3f}",
            ]
        )
    head = [
        *("memory", "bits of R", "CSR", "95 %", "reliance, points (95 %)", "codes used"),
        *("perplexity", "quantisation error", "loss at the end"),
    ]
    lines = [memory_line(silent), "", *markdown(head, rows), "", how_made(results), ""]
    return "\n".join([*lines, "![CSR against the bits of R](codes.svg)", ""])


def memory_line(silent: list[str]) -> str:
    """The first line of a study's page: which policies cannot be said to read their memory."""
    if not silent:
        return "All policies read their memory (the intervals of memory reliance are above 0)."
    return (
        f"**It cannot be said of these that the policy reads its memory: {'; '.join(silent)}** "
        "(the interval of memory reliance reaches 0)."
    )


def _draw(results: list[CellResult], path: Path) -> None:
    """CSR against bits, a line for each n and d."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for of in by_kind(results).values():
        size = bits(of[0])
        if size is None:
            continue
        name = f"n = {chunks(of[0])}, d = {of[0].settings['model']['book']['width']}"
        csr = over_domains([one.csr(OWN.name) for one in of]).value
        lines.setdefault(name, []).append((size, csr))
    curves = tuple(
        Curve(name, tuple(x for x, _ in sorted(points)), tuple(y for _, y in sorted(points)))
        for name, points in lines.items()
    )
    chart = Chart("CSR", how_made(results), "bits of R, n·log₂K", "CSR", curves, share=True)
    path.write_text(draw_light(chart, path.stem), encoding="utf-8")
