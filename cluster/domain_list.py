"""`nesypr tasks list`: the domains that a stream can draw from."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from tasks.domains import domain_names, get_domain


def domain_rows() -> list[dict[str, Any]]:
    """For each domain: its actions with arities, generator's sizes, numbers of problem files."""
    rows: list[dict[str, Any]] = []
    for name in domain_names():
        domain = get_domain(name)
        generator = domain.generator
        sizes = {p.name: list(p.default) for p in generator.parameters} if generator else None
        rows.append(
            {
                "name": name,
                "actions": dict(domain.actions),
                "sizes": sizes,
                "train_files": len(domain.train_files),
                "test_files": len(domain.test_files),
            }
        )
    return rows


def domain_table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("domain", "generator sizes (defaults)", "files train/test", "actions"):
        table.add_column(column, overflow="fold")
    for row in rows:
        sizes = row["sizes"] or {}
        table.add_row(
            row["name"],
            ", ".join(f"{name} {low}-{high}" for name, (low, high) in sizes.items()) or "-",
            f"{row['train_files']}/{row['test_files']}",
            " ".join(f"{name}/{arity}" for name, arity in row["actions"].items()),
        )
    return table
