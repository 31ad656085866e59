"""From a run's events to the curves of its report: lists of points on the axis of tasks done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.observer import (
    BankMeasured,
    EpisodeFinished,
    Event,
    PhaseStarted,
    Probed,
    VersionPublished,
)

WINDOW = 100
"""Tasks over which the curves of the stream are averaged."""

MOST_POINTS = 400
"""Points that a curve keeps; more are thinned out evenly."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line. x is tasks done (or phases, for probes).

    A dashed line goes with the solid one before it and has its colour. Lines of one family share a
    colour and stand in the legend by its name. `place` in the palette keeps a kind's colour the
    same in several charts, of which some lack a kind.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    dashed: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    family: str = ""
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of the report: curves that share their axes."""

    title: str
    explanation: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    share: bool = False  # the y axis goes from 0 to 1
    phases: tuple[tuple[float, str], ...] = ()  # where each phase starts, and its name
    logarithmic: bool = False  # the y axis, of figures above 0


@dataclass(slots=True)
class _Points:
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        self.x.append(x)
        self.y.append(y)

    def curve(self, name: str, dashed: bool = False) -> Curve:
        stride = -(-len(self.x) // MOST_POINTS) or 1
        keep = sorted({*range(0, len(self.x), stride), len(self.x) - 1} - {-1})
        x, y = tuple(self.x[i] for i in keep), tuple(self.y[i] for i in keep)
        return Curve(name, x, y, dashed)


class CurveBuilder:
    """Takes events in order and gives the report's charts."""

    def __init__(self) -> None:
        self._done = 0
        self._episodes: set[int] = set()
        self._recent: deque[EpisodeFinished] = deque(maxlen=WINDOW)
        self._points: dict[str, _Points] = {}
        self._phases: dict[int, tuple[float, str]] = {}
        self._probes: dict[tuple[int, str], dict[int, Probed]] = {}

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case PhaseStarted():
                self._phases.setdefault(event.phase, (self._done, event.name))
            case EpisodeFinished():
                if event.episode not in self._episodes:
                    self._episode(event)
            case VersionPublished() if event.steps:  # not the untrained version 0
                for name in ("codes_used", "codes_dead", "perplexity", "quantisation_error"):
                    self._add(name, getattr(event, name))
                self._add("loss", event.loss)
                self._add("revived", event.codes_revived)
            case BankMeasured():
                for sign in ("success", "failure"):
                    banks = [bank for bank in event.banks if bank.sign == sign]
                    self._add(f"entries {sign}", sum(bank.entries for bank in banks))
                    self._add(f"unique {sign}", sum(bank.unique for bank in banks))
            case Probed():
                probes = self._probes.setdefault((event.phase, event.mode), {})
                probes[event.after_phase] = event
            case _:
                pass

    def charts(self) -> tuple[Chart, ...]:
        """All charts that have something to show."""
        charts = [
            self._on_tasks(
                "CSR on the stream",
                f"Share of tasks solved, over the last {WINDOW} tasks; dashed: share of actions "
                "that the simulator accepted.",
                "share",
                [("csr", "CSR", False), ("exe", "Exe", True)],
                share=True,
            ),
            *(self._probe_chart(mode) for mode in ("free", "restricted", "exchanged")),
            self._on_tasks(
                "Bank growth",
                "Entries of M+ (procedures of successes) and M- (of failures); dashed: distinct "
                "procedures among them.",
                "entries",
                [
                    ("entries success", "M+", False),
                    ("unique success", "M+ distinct", True),
                    ("entries failure", "M-", False),
                    ("unique failure", "M- distinct", True),
                ],
            ),
            self._on_tasks(
                "Hit rate",
                f"Share of decisions for which a bank held a procedure above the threshold, over "
                f"the last {WINDOW} tasks.",
                "share",
                [("hits success", "M+", False), ("hits failure", "M-", False)],
                share=True,
            ),
            self._on_tasks(
                "Codes",
                "Codes of the procedure-book that are used, and those that nothing uses any more.",
                "codes",
                [("codes_used", "used", False), ("codes_dead", "dead", False)],
            ),
            self._on_tasks(
                "Perplexity",
                "How many codes the book uses as if evenly: exp of the entropy of their use.",
                "codes",
                [("perplexity", "perplexity", False)],
            ),
            self._on_tasks(
                "Quantisation error",
                "Mean squared distance of memory from its codes, relative to memory's own size.",
                "relative error",
                [("quantisation_error", "error", False)],
            ),
            self._on_tasks(
                "Staleness",
                f"Versions that an episode lagged behind the learner: mean and most over the last "
                f"{WINDOW} tasks.",
                "versions",
                [("staleness", "mean", False), ("staleness most", "most", True)],
            ),
            self._on_tasks(
                "Loss",
                "Training loss of each published version.",
                "loss",
                [("loss", "loss", False)],
            ),
        ]
        return tuple(chart for chart in charts if any(curve.x for curve in chart.curves))

    def _episode(self, event: EpisodeFinished) -> None:
        self._episodes.add(event.episode)
        self._done += 1
        self._recent.append(event)
        recent = self._recent
        decisions = max(1, sum(e.decisions for e in recent))
        self._add("csr", sum(e.success for e in recent) / len(recent))
        steps = sum(e.steps for e in recent)
        if steps:
            self._add("exe", sum(e.accepted for e in recent) / steps)
        self._add("hits success", sum(e.hits_success for e in recent) / decisions)
        self._add("hits failure", sum(e.hits_failure for e in recent) / decisions)
        self._add("staleness", sum(e.staleness for e in recent) / len(recent))
        self._add("staleness most", max(e.staleness for e in recent))

    def _add(self, name: str, value: float) -> None:
        self._points.setdefault(name, _Points()).add(self._done, value)

    def _on_tasks(
        self,
        title: str,
        explanation: str,
        y_label: str,
        lines: Iterable[tuple[str, str, bool]],
        share: bool = False,
    ) -> Chart:
        curves = [
            self._points[key].curve(name, dashed)
            for key, name, dashed in lines
            if key in self._points
        ]
        phases = tuple(self._phases[phase] for phase in sorted(self._phases))
        return Chart(title, explanation, "tasks", y_label, tuple(curves), share, phases)

    def _probe_chart(self, mode: str) -> Chart:
        words = {
            "free": ("free decoding", "No restriction to admissible actions."),
            "restricted": ("admissible actions only", "The simulator names what is possible."),
            "exchanged": ("exchanged procedures", "Free, with another task's procedures."),
        }[mode]
        curves = []
        for (phase, probe_mode), probes in sorted(self._probes.items()):
            if probe_mode == mode:
                after = sorted(probes)
                estimates = [probes[a].csr for a in after]
                name = self._phases.get(phase, (0.0, f"phase {phase + 1}"))[1]
                curves.append(
                    Curve(
                        name,
                        tuple(a + 1.0 for a in after),
                        tuple(e.value for e in estimates),
                        low=tuple(e.low for e in estimates),
                        high=tuple(e.high for e in estimates),
                    )
                )
        return Chart(
            f"CSR on held-out tasks, {words[0]}",
            f"{words[1]} Each line is the probe of one phase, tried after each phase so far "
            "(0: untrained), with 95 % intervals.",
            "phases finished",
            "CSR",
            tuple(curves),
            share=True,
        )
