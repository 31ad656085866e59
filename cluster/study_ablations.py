"""`nesypr study ablations`: what each part of the method is worth, on the same tasks.

Trained apart: the whole (full), continuous memory (no quantisation) and a plain LM (no memory).
The full model acts with both banks, with M+ only, M- only and without; its banks are filled by
acting, without banks and with its weights as they are, on tasks of the stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cluster.studies import StudyOrder, StudyPage
from cluster.study_figures import (
    between,
    draw_losses,
    how_made,
    interval,
    markdown,
    over_domains,
    percent,
)
from cluster.study_grid import Arm, Cell, CellResult, run_grid
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from tasks.metrics import Estimate

SEEDS = 3

EXCHANGED = Arm("exchanged", mode="exchanged")
"""Without banks, with the procedures of another task: for memory reliance."""

BANK_ARMS = (
    Arm("both", banks="both"),
    Arm("none"),
    Arm("success", banks="success"),
    Arm("failure", banks="failure"),
    EXCHANGED,
)


@dataclass(frozen=True, slots=True)
class Ablation:
    """A row of the table: which model, tried in which arm."""

    name: str
    kind: str
    arm: str


ABLATIONS = (
    Ablation("full", "full", "both"),
    Ablation("no banks", "full", "none"),
    Ablation("M⁺ only", "full", "success"),
    Ablation("M⁻ only", "full", "failure"),
    Ablation("no quantisation (and so no banks)", "no quantisation", "none"),
    Ablation("no memory (plain LM)", "no memory", "none"),
)


def run_study(order: StudyOrder) -> StudyPage:
    """Make the models that are missing; write ablations.md, ablations.json, ablations.svg."""
    model = order.config.model
    if model.memory.use == "none" or not model.book.quantised:
        raise ConfigurationError(
            "study ablations takes things away itself: leave out model.memory.use and "
            "model.book.quantised"
        )
    results = run_grid(order, cells(order.config, order.size.seeds or SEEDS))
    draw_losses(results, order.folder / "ablations.svg")
    found = {
        "table": [_figures(results, ablation) for ablation in ABLATIONS],
        "cells": [result.model_dump(mode="json") for result in results],
    }
    (order.folder / "ablations.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "ablations.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def cells(config: RunConfig, seeds: int) -> list[Cell]:
    """Every model with every seed, seed by seed."""
    model = config.model
    continuous = model.book.model_copy(update={"quantised": False})
    plain = model.memory.model_copy(update={"use": "none"})
    kinds = (
        ("full", model, BANK_ARMS),
        (
            "no quantisation",
            model.model_copy(update={"book": continuous}),
            (Arm("none"), EXCHANGED),
        ),
        ("no memory", model.model_copy(update={"memory": plain}), (Arm("none"),)),
    )
    return [
        Cell(kind, config.model_copy(update={"model": changed, "seed": seed}), arms)
        for seed in range(config.seed, config.seed + seeds)
        for kind, changed, arms in kinds
    ]


def page(results: list[CellResult]) -> str:
    """Tables in Markdown."""
    rows = []
    for ablation in ABLATIONS:
        of = _of(results, ablation.kind)
        csr = over_domains([one.csr(ablation.arm) for one in of])
        against = "–"
        if ablation is not ABLATIONS[0]:
            worth = _against_full(results, ablation)
            value, low, high = (100 * part for part in (worth.value, worth.low, worth.high))
            against = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
        exes = [exe for one in of if (exe := one.exe(ablation.arm)) is not None]
        rows.append(
            [
                ablation.name,
                f"{of[0].parameters:,}",
                percent(csr.value),
                interval(csr),
                against,
                percent(sum(exes) / len(exes) if exes else None),
            ]
        )
    head = ["", "parameters", "CSR", "95 %", "against full, points (95 %)", "Exe"]
    lines = markdown(head, rows)
    sizes = ", ".join(
        f"{one.bank_sizes['success']:,} and {one.bank_sizes['failure']:,}"
        for one in _of(results, "full")
    )
    acting = results[0].settings["acting"]
    lines += [
        "",
        how_made(results),
        f"Procedures in M⁺ and M⁻, by seed: {sizes} (υ = {acting['threshold']}, k = "
        f"{acting['nearest']}, α = {acting['contrast']}).",
        "",
        "Memory reliance (CSR without banks minus the same with another task's procedures):",
        "",
    ]
    kinds = [kind for kind in ("full", "no quantisation") if _of(results, kind)]
    lines += markdown(
        ["", "reliance, points", "95 %"], [[kind, *_reliance(results, kind)] for kind in kinds]
    )
    lines += ["", "CSR by domain:", ""]
    by_domain = [
        [domain, *(_at(results, ablation, domain) for ablation in ABLATIONS)]
        for domain in results[0].domains
    ]
    lines += markdown(["domain", *(ablation.name for ablation in ABLATIONS)], by_domain)
    return "\n".join(lines) + "\n"


def _of(results: list[CellResult], kind: str) -> list[CellResult]:
    return [result for result in results if result.kind == kind]


def _against_full(results: list[CellResult], ablation: Ablation) -> Estimate:
    full = ABLATIONS[0]
    pairs = zip(_of(results, ablation.kind), _of(results, full.kind), strict=True)
    return between([(one.csr(ablation.arm), whole.csr(full.arm)) for one, whole in pairs])


def _reliance(results: list[CellResult], kind: str) -> tuple[str, str]:
    found = between([(one.csr("none"), one.csr(EXCHANGED.name)) for one in _of(results, kind)])
    value, low, high = (100 * part for part in (found.value, found.low, found.high))
    return f"{value:.1f}", f"{low:.1f} to {high:.1f}"


def _at(results: list[CellResult], ablation: Ablation, domain: str) -> str:
    found = [one.csr(ablation.arm)[domain].value for one in _of(results, ablation.kind)]
    return percent(sum(found) / len(found))


def _figures(results: list[CellResult], ablation: Ablation) -> dict[str, object]:
    csr = over_domains([one.csr(ablation.arm) for one in _of(results, ablation.kind)])
    worth = _against_full(results, ablation)
    return {
        "ablation": ablation.name,
        "csr": {"value": csr.value, "low": csr.low, "high": csr.high},
        "against_full": {"value": worth.value, "low": worth.low, "high": worth.high},
    }
