"""The page and the figures of `nesypr study capacity`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.curves import Chart, Curve
from cluster.saturation import Saturation, fit_saturation
from cluster.stream_curves import CURVES, BookCurve, codes_of, curve_of, matrix_of, reliance
from cluster.stream_rows import StreamResult
from cluster.study_figures import draw_light, markdown, over_seeds
from tasks.accuracy_matrix import AccuracyMatrix
from tasks.metrics import Estimate

FIGURES: tuple[tuple[str, str, str, tuple[str, ...], bool], ...] = (
    ("csr", "CSR, phases so far", "CSR", ("CSR, phases so far",), True),
    ("reliance", "Memory reliance", "CSR, own - another's", ("memory reliance",), True),
    ("codes", "Codes used; dashed: perplexity", "codes", ("codes used", "perplexity"), False),
    (
        "error",
        "Quantisation error on tasks to come; dashed: on tasks learned",
        "relative error",
        ("quantisation error, new tasks", "quantisation error, old tasks"),
        False,
    ),
    ("ceiling", "Share that the procedures tell apart", "share", ("ceiling, old tasks",), True),
    ("bank", "Distinct procedures in banks", "procedures", ("bank, distinct procedures",), False),
)
"""File, title, y axis, curves (the second dashed), whether y is a share."""

Grouped = Mapping[str, Sequence[StreamResult]]


def page(results: Sequence[StreamResult]) -> str:
    """All tables in Markdown, beginning with whether the policies read their memory."""
    kinds = _kinds(results)
    lines = [_first_line(kinds), "", _how_made(results), ""]
    lines += _ends(kinds)
    lines += ["", "Where curves saturate, in tasks (95 % interval); else why the fit refuses:", ""]
    lines += _saturations(kinds)
    lines += ["", "CSR by phase: when the phase ended, and at the stream's end:", ""]
    lines += _phases(kinds)
    lines += [""]
    lines += [f"![{title}](capacity-{name}.svg)" for name, title, *_ in FIGURES]
    return "\n".join(lines) + "\n"


def draw_figures(results: Sequence[StreamResult], folder: Path) -> None:
    """FOLDER/capacity-NAME.svg for each figure: means over seeds, a line a kind of model."""
    kinds = _kinds(results)
    by_name = {curve.name: curve for curve in CURVES}
    phases = tuple((float(phase.start), phase.name) for phase in results[0].phases)
    for name, title, label, curves, share in FIGURES:
        drawn = [
            Curve(f"{kind}{': ' + curve if number else ''}", *mean, dashed=number > 0, place=place)
            for place, (kind, of) in enumerate(kinds.items())
            for number, curve in enumerate(curves)
            if (mean := _mean_curve(of, by_name[curve]))[0]
        ]
        chart = Chart(
            title, _how_made(results), "tasks learned", label, tuple(drawn), share, phases=phases
        )
        (folder / f"capacity-{name}.svg").write_text(draw_light(chart, name), encoding="utf-8")


def _kinds(results: Sequence[StreamResult]) -> dict[str, list[StreamResult]]:
    found: dict[str, list[StreamResult]] = {}
    for result in results:
        found.setdefault(result.kind, []).append(result)
    return found


def _mean_curve(
    results: Sequence[StreamResult], curve: BookCurve
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean over seeds, where all of them have a value."""
    values: dict[float, list[float]] = {}
    for result in results:
        for task, value in zip(*curve_of(result, curve), strict=True):
            values.setdefault(task, []).append(value)
    whole = [task for task, found in sorted(values.items()) if len(found) == len(results)]
    return tuple(whole), tuple(statistics.fmean(values[task]) for task in whole)


def _at_the_end(results: Sequence[StreamResult]) -> Estimate:
    """Memory reliance after the last task."""
    found = [one for result in results if (one := reliance(result.looks[-1])) is not None]
    return over_seeds(found, least=-1.0)


def _first_line(kinds: Grouped) -> str:
    ends = {kind: _at_the_end(of) for kind, of in kinds.items()}
    said = ", ".join(f"{kind}: {_points(one)}" for kind, one in ends.items())
    silent = [kind for kind, one in ends.items() if one.low <= 0]
    if silent:
        return (
            f"**It cannot be said of {'; '.join(silent)} that the policy reads its memory** "
            f"(memory reliance at the end, points: {said}): what these curves say of the book, "
            "they do not say of what is solved."
        )
    return f"The policies read their memory: reliance at the end, points: {said}."


def _points(one: Estimate) -> str:
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _how_made(results: Sequence[StreamResult]) -> str:
    first, last = results[0], results[0].looks[-1]
    seeds = sorted({result.seed for result in results})
    measuring = first.settings["measuring"]
    memory, book = first.settings["model"]["memory"], first.settings["model"]["book"]
    domains = {domain for phase in first.phases for domain in phase.domains}
    minutes = sum(result.looks[-1].seconds for result in results) / 60
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    return (
        f"{last.tasks:,} tasks ({first.traces:,} with a plan) of {len(domains)} domains in "
        f"{len(first.phases)} phases; R of {memory['slots'] * memory['width'] // book['width']} "
        f"chunks; {last.steps:,} steps at a constant rate, a look every "
        f"{measuring['checkpoint_tasks']} tasks with {last.probes[0].tasks} held-out tasks a phase "
        f"and up to {measuring['sample']:,} decisions; seed{'s' * (len(seeds) > 1)} "
        f"{', '.join(map(str, seeds))}; 95 % intervals of the tasks, or over seeds where those "
        f"are wider; {minutes:.0f} model minutes "
        f"on {first.hardware}; {versions}."
    )


def _ends(kinds: Grouped) -> list[str]:
    rows = []
    for kind, of in kinds.items():
        matrices = [matrix_of(result) for result in of]
        figures = [
            over_seeds([one for one in found if one is not None], least=-1.0)
            for found in (
                [matrix.accuracy() for matrix in matrices],
                [matrix.forgetting() for matrix in matrices],
                [matrix.backward_transfer() for matrix in matrices],
            )
        ]
        codes = codes_of(of[0])
        rows.append([kind, *map(_points, figures), _points(_at_the_end(of)), *_book(of, codes)])
    head = [
        *("memory", "ACC, points", "forgetting", "BWT", "reliance", "codes used", "perplexity"),
        *("error, learned", "error, to come (last)", "ceiling", "distinct in banks"),
    ]
    return markdown(head, rows)


def _book(of: Sequence[StreamResult], codes: int | None) -> list[str]:
    """The book's figures at the end, means over seeds."""
    if codes is None:
        return ["–"] * 6

    def mean(name: str) -> float | None:
        (curve,) = [curve for curve in CURVES if curve.name == name]
        found = [values[-1] for one in of if (values := curve_of(one, curve)[1])]
        return statistics.fmean(found) if found else None

    def written(name: str, form: str) -> str:
        value = mean(name)
        return "–" if value is None else format(value, form)

    return [
        f"{written('codes used', '.0f')} of {codes}",
        written("perplexity", ".0f"),
        written("quantisation error, old tasks", ".3f"),
        written("quantisation error, new tasks", ".3f"),
        written("ceiling, old tasks", ".1%"),
        written("bank, distinct procedures", ",.0f"),
    ]


def _saturations(kinds: Grouped) -> list[str]:
    rows = []
    for curve in CURVES:
        cells = []
        for of in kinds.values():
            fits = [
                fit_saturation(*found, seed=one.seed)
                for one in of
                if len((found := curve_of(one, curve))[0]) > 1
            ]
            cells.append(_answer(fits))
        rows.append([curve.name, *cells])
    return markdown(["curve", *kinds], rows)


def _answer(fits: Sequence[Saturation]) -> str:
    """One seed's answer or refusal; of several: how many answer, the median and the widest."""
    if not fits:
        return "–"
    points = [one.point for one in fits if one.point is not None]
    if not points:
        return "; ".join(dict.fromkeys(one.refusal for one in fits))
    low = min(one.low for one in fits if one.low is not None)
    high = max(one.high for one in fits if one.high is not None)
    some = "" if len(fits) == 1 else f", {len(points)} of {len(fits)} seeds"
    return f"{statistics.median(points):,.0f} ({low:,.0f} to {high:,.0f}){some}"


def _phases(kinds: Grouped) -> list[str]:
    """For each phase and kind: CSR at the phase's end → at the stream's end."""
    first = next(iter(kinds.values()))[0]
    last = len(first.phases) - 1
    rows = []
    for number, phase in enumerate(first.phases):
        cells = []
        for of in kinds.values():
            matrices = [matrix_of(result) for result in of]
            cells.append(f"{_share(matrices, number, number)} → {_share(matrices, last, number)}")
        rows.append([phase.name, *cells])
    return markdown(["phase", *kinds], rows)


def _share(matrices: Sequence[AccuracyMatrix], after: int, phase: int) -> str:
    found = [cell.share for matrix in matrices if (cell := matrix.cell(after, phase)) is not None]
    return f"{statistics.fmean(found):.0%}"
