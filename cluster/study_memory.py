"""`nesypr study memory`: what the memory carries, continuous and with books of different size.

The same tasks are learned with continuous memory and with K codes; each model is tried with its
own procedures and with those of another task of the same domain. The difference is the memory
reliance.
"""

from __future__ import annotations

import json
import math
from typing import Any

from cluster.studies import StudyOrder, StudyPage
from cluster.study_figures import (
    between,
    draw_losses,
    how_made,
    interval,
    last,
    markdown,
    over_domains,
    percent,
)
from cluster.study_grid import Arm, Cell, CellResult, run_grid
from configs.errors import ConfigurationError
from configs.schema import RunConfig

CODES = (16, 64, 256)
"""K of the books that are compared."""

SEEDS = 1

OWN, OTHER = "own", "another's"

ARMS = (Arm(OWN), Arm(OTHER, mode="exchanged"))


def run_study(order: StudyOrder) -> StudyPage:
    """Make the models that are missing, and write memory.md, memory.json and memory.svg."""
    if order.config.model.memory.use == "none":
        raise ConfigurationError(
            "study memory compares memories, but model.memory.use = none has none: leave it out"
        )
    results = run_grid(order, cells(order.config, order.size.seeds or SEEDS))
    draw_losses(results, order.folder / "memory.svg")
    found = {
        "table": [_figures(results, kind) for kind in dict.fromkeys(r.kind for r in results)],
        "cells": [result.model_dump(mode="json") for result in results],
    }
    (order.folder / "memory.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "memory.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def cells(config: RunConfig, seeds: int) -> list[Cell]:
    """Every memory with every seed, seed by seed."""
    made = []
    for seed in range(config.seed, config.seed + seeds):
        for codes in (None, *CODES):
            update: dict[str, Any] = {"quantised": codes is not None}
            if codes is not None:
                update["codes"] = codes
            book = config.model.book.model_copy(update=update)
            model = config.model.model_copy(update={"book": book})
            kind = "continuous" if codes is None else f"K = {codes}"
            made.append(Cell(kind, config.model_copy(update={"model": model, "seed": seed}), ARMS))
    return made


def page(results: list[CellResult]) -> str:
    """Tables in Markdown, and where the loss curves are."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    rows = []
    for kind in kinds:
        of = [result for result in results if result.kind == kind]
        own = over_domains([one.csr(OWN) for one in of])
        other = over_domains([one.csr(OTHER) for one in of])
        reliance = between([(one.csr(OWN), one.csr(OTHER)) for one in of])
        end, bits = last(of), _bits(of[0])
        quantised = bits is not None
        rows.append(
            [
                kind,
                "–" if bits is None else f"{bits:.0f}",
                percent(own.value),
                interval(own),
                percent(other.value),
                f"{100 * reliance.value:.1f}",
                f"{100 * reliance.low:.1f} to {100 * reliance.high:.1f}",
                f"{end.codes_used}" if quantised else "–",
                f"{end.perplexity:.0f}" if quantised else "–",
                f"{end.quantisation_error:.3f}" if quantised else "–",
                f"{end.loss:.4f}",
            ]
        )
    head = [
        *("memory", "bits of R", "CSR", "95 %", "CSR, another's R", "reliance, points", "95 %"),
        *("codes used", "perplexity", "quantisation error", "loss at the end"),
    ]
    lines = markdown(head, rows)
    lines += ["", how_made(results), "", "CSR by domain, own (another's):", ""]
    by_domain = [
        [
            domain,
            *(
                f"{_at(results, kind, OWN, domain)} ({_at(results, kind, OTHER, domain)})"
                for kind in kinds
            ),
        ]
        for domain in results[0].domains
    ]
    lines += markdown(["domain", *kinds], by_domain)
    lines += ["", "Loss by step (curves: memory.svg):", ""]
    steps = _few([progress.step for progress in results[0].curve])
    by_step = [
        [
            f"{result.kind}, seed {result.seed}",
            *(f"{one.loss:.3f}" for one in result.curve if one.step in steps),
        ]
        for result in results
    ]
    lines += markdown(["model", *map(str, steps)], by_step)
    return "\n".join(lines) + "\n"


def _figures(results: list[CellResult], kind: str) -> dict[str, object]:
    of = [result for result in results if result.kind == kind]
    own, other = [one.csr(OWN) for one in of], [one.csr(OTHER) for one in of]
    figures = {
        "csr": over_domains(own),
        "csr_exchanged": over_domains(other),
        "memory_reliance": between(list(zip(own, other, strict=True))),
    }
    return {
        "memory": kind,
        "seeds": len(of),
        **{
            name: {"value": one.value, "low": one.low, "high": one.high}
            for name, one in figures.items()
        },
    }


def _bits(result: CellResult) -> float | None:
    """n·log₂K, the most that a procedure can tell; None of continuous memory."""
    model = result.settings["model"]
    memory, book = model["memory"], model["book"]
    if not book["quantised"]:
        return None
    return float(memory["slots"] * memory["width"] // book["width"] * math.log2(book["codes"]))


def _at(results: list[CellResult], kind: str, arm: str, domain: str) -> str:
    found = [result.csr(arm)[domain].value for result in results if result.kind == kind]
    return percent(sum(found) / len(found))


def _few(steps: list[int], most: int = 8) -> list[int]:
    """At most so many of them, evenly, with the last."""
    stride = math.ceil(len(steps) / most)
    return steps[::-1][::stride][::-1]
