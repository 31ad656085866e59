"""`nesypr tasks stream`: the tasks that a configuration's stream gives, without running it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.stream import TaskStream
from tasks.task import Task


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A task of the stream. `plan_length` is None: nothing is planned for a list."""

    index: int
    phase: str
    domain: str
    size: str
    origin: str
    digest: str
    plan_length: int | None = None


def first_tasks(stream: TaskStream, head: int) -> list[StreamRow]:
    """The first tasks, at most `head`."""
    return [_row(stream, stream[index]) for index in range(min(head, len(stream)))]


def distinct_counts(stream: TaskStream) -> dict[str, Any]:
    """Draw the whole stream and count what differs, for JSON.

    `distinct`: contents, up to the names of objects; `visible`: what the small LM sees of them.
    """
    began = time.monotonic()
    contents: set[str] = set()
    visible: set[str] = set()
    domains: Counter[str] = Counter()
    for task in stream:
        domains[task.domain] += task.digest not in contents
        contents.add(task.digest)
        visible.add(task.visible)
    return {
        "tasks": len(stream),
        "distinct": len(contents),
        "visible": len(visible),
        "held_out": sum(len(stream.probe(phase.number)) for phase in stream.phases),
        "phases": len(stream.phases),
        "domains": dict(sorted(domains.items())),
        "seconds": round(time.monotonic() - began, 1),
    }


def rows_for_json(rows: list[StreamRow]) -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [asdict(row) for row in rows]


def print_stream(rows: list[StreamRow], stream: TaskStream, console: Console) -> None:
    """The rows for a terminal, under one line about the whole stream."""
    console.print(
        f"{len(stream)} tasks in {len(stream.phases)} phases of {len(stream.domains)} domains; "
        f"{len(stream.probe(0))} held-out tasks a phase",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("index", "phase", "domain", "size", "plan", "origin"):
        table.add_column(column, overflow="fold", justify="right" if column == "index" else "left")
    for row in rows:
        table.add_row(str(row.index), row.phase, row.domain, row.size, "unknown", row.origin)
    console.print(table)


def print_counts(counts: dict[str, Any], console: Console) -> None:
    """The counts for a terminal."""
    console.print(
        f"{counts['distinct']} distinct tasks of {counts['tasks']} ({counts['visible']} as the "
        f"small LM sees them) in {counts['phases']} phases, {counts['held_out']} held out besides, "
        f"in {counts['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("domain")
    table.add_column("distinct", justify="right")
    for domain, count in counts["domains"].items():
        table.add_row(domain, str(count))
    console.print(table)


def _row(stream: TaskStream, task: Task) -> StreamRow:
    _, _, detail = task.origin.partition(f":{task.domain}:")
    size = detail.rpartition(":")[0] if task.origin.startswith("generator:") else "file"
    return StreamRow(
        task.index, stream.phases[task.phase].name, task.domain, size, task.origin, task.digest
    )
