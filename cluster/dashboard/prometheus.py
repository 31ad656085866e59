"""The runs' figures as Prometheus reads them (text exposition format 0.0.4).

A figure's name is that in `summary.json` with `nesypr_` before it and `_` for dots; one with an
interval has its value under its name, and `_low` and `_high`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from cluster.dashboard.run_view import RunView
from cluster.dashboard.runs import Runs

HELP = "see docs/metrics.md and `nesypr report --schema`"
Sample = tuple[str, dict[str, str], float]


def exposition(runs: Runs) -> str:
    """All figures of the opened runs, or where none is, of the latest one."""
    views = runs.opened() or [runs.view(name) for name in runs.names()[:1]]
    by_name: dict[str, list[str]] = {}
    for view in views:
        for name, labels, value in samples(view):
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            by_name.setdefault(name, []).append(f"{name}{{{inner}}} {value!r}")
    lines: list[str] = []
    for name, values in sorted(by_name.items()):
        lines += [f"# HELP {name} {HELP}", f"# TYPE {name} gauge", *values]
    return "\n".join(lines) + "\n"


def samples(view: RunView) -> Iterator[Sample]:
    """Every number of a run with its name and labels."""
    run = {"run": view.folder.name}
    for name, value in view.figures().items():
        if isinstance(value, bool | int | float):
            yield metric_name(name), run, float(value)
    yield "nesypr_running", run, float(view.state == "running")
    last = view.last_event()
    if last is not None:
        yield "nesypr_last_event_age_seconds", run, max(0.0, time.time() - last)
    for kind, count in view.alarms.raised_by_kind.items():
        yield "nesypr_alarms_raised_by_kind", {**run, "kind": kind}, float(count)
    for kind in {alarm.kind for alarm in view.alarms.alarms}:
        standing = sum(alarm.kind == kind for alarm in view.alarms.standing)
        yield "nesypr_alarms_standing", {**run, "kind": kind}, float(standing)
    health = view.health()
    if health:
        for actor in health["actors"]:
            labels = {**run, "actor": actor["actor"], "host": actor.get("host", "")}
            yield "nesypr_actor_up", labels, float(actor["up"])
            yield "nesypr_actor_age_seconds", labels, float(actor["age_s"])
        for wait in health.get("waits", ()):
            labels = {**run, "who": wait["who"], "whom": wait["whom"]}
            yield "nesypr_wait_overdue_seconds", labels, float(wait["seconds"])
        yield "nesypr_waits_passed", run, float(health.get("waits_passed", 0))
        for name in ("learner_age_s", "server_answer_s"):
            yield f"nesypr_{name.removesuffix('_s')}_seconds", run, float(health[name])
        for name in ("server_bytes", "server_limit_bytes"):
            yield f"nesypr_{name}", run, float(health[name])


def metric_name(figure: str) -> str:
    """The name of a figure for Prometheus: `whole.stream.csr.value` → `nesypr_whole_stream_csr`."""
    return "nesypr_" + re.sub(r"[^a-zA-Z0-9_]", "_", figure.removesuffix(".value"))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
