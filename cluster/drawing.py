"""A chart of the report as an SVG element that takes the page's colours and width."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cluster.curves import Chart

INK = "#010203"
"""Drawn in this colour by matplotlib, and then in the page's own text colour."""

COLOURS = ("#3b82c4", "#d9722e", "#3a9d5d", "#b4589d", "#9a8b1f", "#7a6ad8", "#c0504d", "#3aa6a6")
"""Legible on white and on dark grey."""

LEGEND_LETTERS = 72
"""So many letters of a legend go into a chart's width."""

INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


def figure_of(chart: Chart, ink: str = INK) -> Figure:
    """The chart as a figure of matplotlib, its phases marked in `ink`."""
    figure = Figure(figsize=(4.8, 3.1), layout="constrained")
    axes = figure.add_subplot()
    families: dict[str, str] = {}
    solid = -1
    for place, curve in enumerate(chart.curves):
        known = families.get(curve.family)
        if known is None:
            solid += not curve.dashed
        colour = known or COLOURS[(solid if curve.place is None else curve.place) % len(COLOURS)]
        name = curve.family or curve.name
        if curve.family:
            families[curve.family] = colour
        label = "_nolegend_" if known else name
        if curve.low:
            below = [y - low for y, low in zip(curve.y, curve.low)]
            above = [high - y for y, high in zip(curve.y, curve.high)]
            shift = 0.04 * (place - (len(chart.curves) - 1) / 2)
            x = [value + shift for value in curve.x]
            axes.errorbar(
                x, curve.y, (below, above), color=colour, label=label, marker="o", ms=4,
                lw=1.4, elinewidth=0.8,
            )  # fmt: skip
        else:
            style = "--" if curve.dashed else "-"
            mark = "o" if len(curve.x) == 1 else ""
            axes.plot(curve.x, curve.y, style, color=colour, label=label, lw=1.4, marker=mark)
    for start, name in chart.phases:
        axes.axvline(start, color=ink, lw=0.5, alpha=0.4)
        axes.annotate(
            name, (start, 1.0), (2, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7, annotation_clip=False,
        )  # fmt: skip
    if chart.share:
        axes.set_ylim(-0.03, 1.03)
    elif chart.logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    if any(curve.low for curve in chart.curves):  # probes stand at whole numbers of phases
        axes.set_xlim(-0.3, max(x for curve in chart.curves for x in curve.x) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0.0)
    if len(chart.curves) > 1:
        longest = max(len(curve.family or curve.name) for curve in chart.curves)
        columns = max(1, min(4, LEGEND_LETTERS // (longest + 6)))
        figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=columns)
    return figure


def save(chart: Chart, stem: Path) -> tuple[Path, ...]:
    """Write the chart as STEM.svg and STEM.pdf, black on nothing, for a paper."""
    written = []
    settings = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": stem.name}
    with rc_context({**settings, "font.size": 9}):
        figure = figure_of(chart, "black")
        for ending, metadata in ((".svg", {"Date": None}), (".pdf", {"CreationDate": None})):
            path = stem.with_suffix(ending)
            figure.savefig(path, transparent=True, metadata=metadata)
            written.append(path)
    return tuple(written)


def draw(chart: Chart, salt: str) -> str:
    """The chart as an `<svg>` element in the page's colours; `salt` keeps its ids its own."""
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "svg.id": salt,
        "font.size": 10,
        **dict.fromkeys(INKED, INK),
    }
    with rc_context(settings):
        figure = figure_of(chart)
        FigureCanvasSVG(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to them; several charts share them
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    label = html.escape(f"{chart.title}: {chart.explanation}", quote=True)
    return f'{head} role="img" aria-label="{label}">{rest}'
