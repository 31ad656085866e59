"""A run's curves as SVG and PDF and its figures as CSV, each with a caption that a paper can take.

A caption says what is shown, over how many tasks, what the intervals are, and with which seed,
versions and hardware it was made.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cluster.curves import Chart, CurveBuilder
from cluster.dashboard.run_view import flat
from cluster.drawing import save
from cluster.metrics_log import read_metrics
from cluster.run_folder import RunFolder, make_folder, writing
from cluster.summary import Summary

INTERVALS = "Intervals are of 95 %: Wilson's for CSR, Agresti and Coull's for the other means."


def write_figures(folder: RunFolder, summary: Summary, target: Path) -> tuple[Path, ...]:
    """Write all charts, their points, the table of all figures, and captions.txt into `target`.

    Raises RunFolderError where something cannot be written or read.
    """
    make_folder(target)
    builder = CurveBuilder()
    for logged in read_metrics(folder.metrics_file):
        builder.take(logged.event)
    written: list[Path] = []
    captions: list[str] = []
    with writing(target):
        for chart in builder.charts():
            stem = target / _stem(chart.title)
            written += save(chart, stem)
            written.append(_write_table(stem.with_suffix(".csv"), *_points(chart)))
            captions.append(f"{stem.name}: {caption(chart, summary)}")
        figures = flat(summary.model_dump(mode="json", exclude={"probes", "alarms"}))
        rows = [(name, _cell(value)) for name, value in figures.items()]
        written.append(_write_table(target / "figures.csv", ("figure", "value"), rows))
        path = target / "captions.txt"
        path.write_text("\n\n".join(captions) + "\n", encoding="utf-8")
    return (*written, path)


def caption(chart: Chart, summary: Summary) -> str:
    """What the chart shows and what it rests on."""
    lines = ", ".join(curve.family or curve.name for curve in chart.curves)
    intervals = f" {INTERVALS}" if any(curve.low for curve in chart.curves) else ""
    return f"{chart.title} ({lines}). {chart.explanation}{intervals} {provenance(summary)}"


def provenance(summary: Summary) -> str:
    """Tasks, seed, model, versions and hardware, in a sentence."""
    machine = summary.hardware
    versions = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    return (
        f"Run {summary.name} ({summary.outcome}), n = {summary.tasks_done} tasks of the stream, "
        f"one seed ({summary.seed}), {summary.model.parameters / 1e6:.2f} M parameters, "
        f"K = {summary.model.codes}; {machine.processor} ({machine.machine}), {machine.cores} "
        f"cores, {machine.system}; {versions}."
    )


def _points(chart: Chart) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The points of a chart's curves: a row a point."""
    rows: list[tuple[str, ...]] = []
    for curve in chart.curves:
        for place, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
            bounds = (curve.low[place], curve.high[place]) if curve.low else (None, None)
            rows.append((curve.name, *map(_cell, (x, y, *bounds))))
    return ("curve", chart.x_label, chart.y_label, "low", "high"), rows


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _stem(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
