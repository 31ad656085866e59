"""`nesypr status`: where a run stands, read from its folder without disturbing it."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from cluster.metrics_log import read_metrics
from cluster.observer import ActorHealth, HealthMeasured, RunFinished
from cluster.progress import Standing, clock, duration, number, percent
from cluster.run_folder import RunFolder
from cluster.waits import wait_sentence


def run_status(folder: RunFolder) -> dict[str, Any]:
    """The state of a run and its latest figures, ready for JSON."""
    standing, last = Standing(), None
    health: HealthMeasured | None = None
    for logged in read_metrics(folder.metrics_file):
        standing.update(logged.event, logged.seconds)
        last = logged.time
        if isinstance(logged.event, HealthMeasured):
            health = logged.event
        elif isinstance(logged.event, RunFinished):
            health = None
    state = folder.state()
    return {
        "name": folder.name,
        "folder": str(folder.path),
        "state": state,
        "phase": standing.phase,
        "tasks_done": standing.done,
        "tasks": standing.tasks,
        "csr": standing.csr,
        "bank_success": standing.success_entries,
        "bank_failure": standing.failure_entries,
        "codes_used": standing.codes_used,
        "codes_dead": standing.codes_dead,
        "perplexity": standing.perplexity,
        "version": standing.version,
        "tasks_per_s": standing.rate,
        "seconds": standing.seconds,
        "seconds_left": standing.left_s if state == "running" else None,
        "last_event_age_s": None if last is None else max(0.0, time.time() - last),
        "memory_mb": standing.total_mb,
        "actors": {} if health is None else actors_by_host(health.actors),
        "waits": [] if health is None else [wait_sentence(wait) for wait in health.waits],
        "alarm": standing.alarm or None,
    }


def actors_by_host(actors: tuple[ActorHealth, ...]) -> dict[str, dict[str, int]]:
    """How many actors are on each host ("": nowhere yet), and how many of them are up."""
    counts: dict[str, dict[str, int]] = {}
    for actor in actors:
        count = counts.setdefault(actor.host, {"actors": 0, "up": 0})
        count["actors"] += 1
        count["up"] += actor.up
    return counts


def status_table(status: dict[str, Any]) -> Table:
    """The same for a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {
        "run": f"{status['name']} ({status['folder']})",
        "state": status["state"],
        "phase": status["phase"],
        "tasks": f"{status['tasks_done']} of {status['tasks']}",
        "CSR, last tasks": percent(status["csr"]),
        "M+ / M-": f"{status['bank_success']} / {status['bank_failure']} entries",
        "codes": f"{status['codes_used']} used, {status['codes_dead']} dead",
        "perplexity": number(status["perplexity"]),
        "version": str(status["version"]),
        "tasks/s": number(status["tasks_per_s"]),
        "time": clock(status["seconds"]),
        "time left": duration(status["seconds_left"]),
        "last event": "-"
        if status["last_event_age_s"] is None
        else f"{clock(status['last_event_age_s'])} ago",
        "actors": ", ".join(
            f"{count['up']} of {count['actors']} up" + (f" on {host}" if host else "")
            for host, count in status["actors"].items()
        )
        or "-",
        "waits": "\n".join(status["waits"]) or "-",
        "alarm": status["alarm"] or "-",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
