"""The plot of `nesypr bench fleet`: episodes/s against actors, and which part takes which share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from cluster.drawing import COLOURS

PARTS = ("driver", "server", "stand-ins", "Ray", "learner", "teacher")


def draw_scaling(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the plot as SVG; `rows` as the bench gives them."""
    actors = [row["actors"] for row in rows]
    rates = [row["episodes_a_s"] for row in rows]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fleet", "font.size": 9}):
        figure = Figure(figsize=(8.6, 3.4), layout="constrained")
        speed, shares = figure.subplots(1, 2)
        linear = [rates[0] / actors[0] * count for count in actors]
        speed.plot(actors, linear, "--", color="grey", lw=1.0, label="linear")
        speed.plot(actors, rates, "-o", color=COLOURS[0], ms=4, lw=1.4, label="measured")
        speed.set(xscale="log", yscale="log", ylabel="episodes/s")
        for place, part in enumerate(PARTS):
            spent = [row["cores"].get(part, 0.0) for row in rows]
            shares.plot(actors, spent, "-o", color=COLOURS[place], ms=3, lw=1.2, label=part)
        shares.axhline(1.0, color="grey", lw=0.8, ls="--")
        shares.set(xscale="log", ylabel="cores taken (driver, server: one at most)")
        for axes in (speed, shares):
            axes.set_xlabel("actors (stand-ins)")
            axes.set_xticks(actors, [str(count) for count in actors])
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(fontsize=8, frameon=False)
        figure.savefig(path, metadata={"Date": None})
