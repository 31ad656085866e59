"""`nesypr bench NAME`: finds a benchmark by name and shows what it measured.

A benchmark is a function without arguments that returns numbers and words, ready for JSON. It is
named here as `module:function`, so that only the one that runs is imported.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from rich.table import Table

from configs.errors import ConfigurationError

Bench = Callable[[], dict[str, Any]]

BENCHES: dict[str, tuple[str, str]] = {
    "acting": (
        "actor decisions/s against a plain loop over `generate`, same model and simulators",
        "cluster.bench_acting:bench_acting",
    ),
    "actors": (
        "episodes/s of real runs with one actor and with two, on a quiet machine of two cores",
        "cluster.bench_actors:bench_actors",
    ),
    "bank": (
        "look-ups in a bank of up to a million procedures against faiss and a float32 product",
        "cluster.bench_bank:bench_bank",
    ),
    "dashboard": (
        "the live page on a run of over a million points: first paint, and what an update costs",
        "cluster.bench_dashboard:bench_dashboard",
    ),
    "decode": (
        "decisions/s of the decoding engine against `generate`, one by one and batched; contrast",
        "cluster.bench_decode:bench_decode",
    ),
    "distil": (
        "tokens/s of a distillation step against a training step of the bare backbone",
        "cluster.bench_distil:bench_distil",
    ),
    "fleet": (
        "episodes/s of a run with up to 512 actors that are stand-ins, and what saturates first",
        "cluster.bench_fleet:bench_fleet",
    ),
    "inference": (
        "episodes/s of two actors with models of their own against one that they share",
        "cluster.bench_inference:bench_inference",
    ),
    "learners": (
        "steps/s of two learners that share out each batch, against one",
        "cluster.bench_learners:bench_learners",
    ),
    "simulators": (
        "steps/s and resets/s of our simulators against those that the domains come with",
        "cluster.bench_simulators:bench_simulators",
    ),
    "watching": (
        "tasks/s of a run whose page is looked at against one without a page, in pairs",
        "cluster.bench_watching:bench_watching",
    ),
}


def list_benches() -> dict[str, str]:
    """What each benchmark measures, by name."""
    return {name: words for name, (words, _) in BENCHES.items()}


def find_bench(name: str) -> Bench:
    """The benchmark of that name. Raises ConfigurationError with the nearest name."""
    if name not in BENCHES:
        near = difflib.get_close_matches(name, BENCHES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"there is no benchmark {name!r}: there is {', '.join(BENCHES)}{hint}"
        )
    module, _, function = BENCHES[name][1].partition(":")
    found: Bench = getattr(importlib.import_module(module), function)
    return found


def bench_table(name: str, result: dict[str, Any]) -> Table:
    """A benchmark's result for a terminal."""
    table = Table(title=f"bench {name}", box=None, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in result.items():
        if isinstance(value, float):
            words = f"{value:.4g}"
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            words = "\n".join(_line(row) for row in value)
        elif isinstance(value, dict):
            words = "\n".join(f"{one}: {what}" for one, what in value.items())
        elif isinstance(value, list):
            words = ", ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in value)
        else:
            words = str(value)
        table.add_row(key.replace("_", " "), words)
    return table


def _line(row: dict[str, Any]) -> str:
    """A row of a result in one line: its words, then its numbers with their names."""
    words = [value for value in row.values() if isinstance(value, str)]
    numbers = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if isinstance(value, int | float)
    ]
    return ", ".join([*words, *numbers])
