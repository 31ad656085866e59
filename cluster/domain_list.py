"""`nesypr tasks list`: the domains that a stream can draw from, for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from tasks.catalogue import TaskRow


def rows_as_dicts(rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in rows]


def domain_table(rows: Sequence[TaskRow]) -> Table:
    """The rows for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("domain", "generator sizes (defaults)", "train", "test", "simulator"):
        table.add_column(column, overflow="fold")
    for row in rows:
        sizes = ", ".join(f"{name} {low}-{high}" for name, (low, high) in row.sizes.items())
        simulator = row.simulator or f"cannot be used: {row.reason}"
        table.add_row(row.domain, sizes or "-", str(row.train), str(row.test), simulator)
    return table
