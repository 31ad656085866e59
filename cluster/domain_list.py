"""`nesypr tasks list`: the domains that a stream can draw from, for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.catalogue import TaskRow


def rows_as_dicts(rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in rows]


def print_domains(rows: Sequence[TaskRow], console: Console) -> None:
    """The rows for a terminal: what can be run as a table, then what cannot, and why, and notes."""
    table = Table(box=None, pad_edge=False)
    for column in ("domain", "generator sizes (defaults)", "train", "test", "simulator"):
        table.add_column(column, overflow="fold")
    for row in rows:
        if row.simulator:
            sizes = ", ".join(f"{name} {low}-{high}" for name, (low, high) in row.sizes.items())
            table.add_row(row.domain, sizes or "-", str(row.train), str(row.test), row.simulator)
    console.print(table)
    for row in rows:
        if not row.simulator:
            words = f"{row.domain} cannot be used: {row.reason}"
            console.print(words, markup=False, highlight=False, soft_wrap=True)
        if row.note:
            words = f"{row.domain}: {row.note}"
            console.print(words, markup=False, highlight=False, soft_wrap=True)
