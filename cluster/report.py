"""`report.html`: a run's figures and curves in one self-contained page.

Inline SVG from matplotlib, no script and nothing fetched; readable on a phone, in dark and light.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from cluster.curves import Chart, CurveBuilder
from cluster.drawing import draw
from cluster.metrics_log import read_metrics
from cluster.observer import Estimate
from cluster.progress import clock, number, percent
from cluster.run_folder import RunFolder
from cluster.summary import Figures, Measures, Summary

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5d6873; --paper: #ffffff;
  --card: #f5f6f8; --line: #d9dde2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7eb; --soft: #9aa5b0;
  --paper: #14181c; --card: #1d2328; --line: #343c44; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; } h2 { font-size: 1.15rem; margin: 1.75rem 0 0.5rem; }
p { margin: 0.3rem 0; } .soft, figcaption p { color: var(--soft); }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.facts { display: grid; gap: 0.75rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.fact, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.fact { padding: 0.5rem 0.75rem; } .fact b { display: block; font-size: 1.3rem; }
figure { margin: 0; padding: 0.75rem; } figcaption { font-weight: 600; }
figcaption p { font-weight: 400; font-size: 0.85rem; }
svg { display: block; width: 100%; height: auto; color: var(--ink); }
svg text { font-family: system-ui, sans-serif; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
.problem { border-left: 4px solid #c0504d; padding-left: 0.75rem; margin: 0.75rem 0; }
"""


def write_report(folder: RunFolder, summary: Summary) -> None:
    """Write `report.html` into the run's folder. Raises RunFolderError where it cannot."""
    folder.write(folder.report_file, render_report(folder, summary))


def render_report(folder: RunFolder, summary: Summary) -> str:
    """The page as text."""
    builder = CurveBuilder()
    for logged in read_metrics(folder.metrics_file):
        builder.take(logged.event)
    charts = "\n".join(_figure(chart, number) for number, chart in enumerate(builder.charts()))
    title = html.escape(f"nesypr run {summary.name}")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p class="soft">{html.escape(_subtitle(summary))}</p>
{_problems(summary)}
{_facts(summary)}
<h2>Held-out tasks, at the run's end</h2>
<p class="soft">With 95 % intervals. Free decoding, unless a column says otherwise.</p>
{_probe_table(summary)}
<h2>Continual learning</h2>
<p class="soft">From free decoding's CSR on each phase's held-out tasks after each phase.</p>
{_continual_table(summary)}
<h2>Stream</h2>
{_stream_table(summary)}
<h2>Curves</h2>
<div class="grid">
{charts or "<p>Nothing was measured yet.</p>"}
</div>
<h2>Accounting</h2>
{_accounting(summary)}
<h2>Made with</h2>
<p class="soft">{html.escape(_made_with(summary))}</p>
</body>
</html>
"""


def _subtitle(summary: Summary) -> str:
    return (
        f"{summary.outcome}; {summary.tasks_done} of {summary.tasks} tasks in "
        f"{clock(summary.seconds)}; seed {summary.seed}; started {summary.started}; small LM of "
        f"{summary.model.parameters / 1e6:.2f} M parameters, {summary.model.codes} codes"
    )


def _problems(summary: Summary) -> str:
    problems = summary.accounting.problems if summary.accounting else ()
    lines = [*problems, *(alarm.message for alarm in summary.alarms[-10:])]
    return "\n".join(f'<p class="problem">{html.escape(line)}</p>' for line in lines)


def _facts(summary: Summary) -> str:
    whole = summary.whole
    banks, book, memory = whole.banks, whole.book, summary.memory
    facts = [
        ("CSR held-out, free", _csr(whole.probe.free)),
        ("CSR held-out, admissible only", _csr(whole.probe.restricted)),
        ("CSR untrained", _csr(whole.probe.untrained)),
        ("memory reliance", percent(whole.probe.memory_reliance)),
        ("M+ entries", str(banks.success.entries) if banks else "-"),
        ("M- entries", str(banks.failure.entries) if banks else "-"),
        ("codes used", f"{book.codes_used} of {book.codes}" if book else "-"),
        ("perplexity", number(book.perplexity) if book else "-"),
        ("episodes/s", number(whole.rates.episodes_per_s)),
        ("decisions/s", number(whole.rates.decisions_per_s)),
        ("version", str(summary.version)),
        ("memory, all", f"{memory.total_mb / 1024:.2f} GiB" if memory else "-"),
    ]
    cells = "".join(
        f'<div class="fact"><b>{html.escape(value)}</b><span class="soft">{html.escape(name)}'
        "</span></div>"
        for name, value in facts
    )
    return f'<div class="facts">{cells}</div>'


def _csr(measures: Measures | None) -> str:
    return percent(measures.csr.value) if measures else "-"


def _probe_table(summary: Summary) -> str:
    head = (
        *("phase", "tasks", "CSR untrained", "CSR at phase's end"),
        *("CSR", "CGC", "Exe", "SPL", "CSR admissible only", "CSR exchanged", "CSR without banks"),
    )
    probes = [(phase.name, phase.probe, phase.probe_at_end) for phase in summary.phases]
    whole = summary.whole.probe
    rows = [
        (
            name,
            str(last.free.tasks) if last.free else "-",
            _csr_interval(last.untrained),
            _csr_interval(first.free) if first is not None else "-",
            *_measures(last.free),
            _csr_interval(last.restricted),
            _csr_interval(last.exchanged),
            _csr_interval(last.silent),
        )
        for name, first, last in [*probes, ("whole", None, whole)]
    ]
    return _table(head, rows)


def _continual_table(summary: Summary) -> str:
    head = ("ACC", "average incremental accuracy", "BWT", "FWT", "forgetting")
    found = summary.continual
    if found is None:
        return _table(head, [])
    cells = (
        found.accuracy,
        found.average_incremental_accuracy,
        found.backward_transfer,
        found.forward_transfer,
        found.forgetting,
    )
    return _table(head, [tuple(_interval(cell) for cell in cells)])


def _csr_interval(measures: Measures | None) -> str:
    return _interval(measures.csr if measures else None)


def _stream_table(summary: Summary) -> str:
    head = (
        *("phase", "tasks", "CSR", "CGC", "Exe", "SPL", "M+ hit rate", "M- hit rate"),
        *("plans", "solved", "timed out", "staleness", "episodes/s"),
    )
    rows = [
        (
            name,
            str(figures.stream.tasks) if figures.stream else "-",
            *_measures(figures.stream),
            percent(figures.banks.success.hit_rate if figures.banks else None),
            percent(figures.banks.failure.hit_rate if figures.banks else None),
            str(figures.planner.calls + figures.planner.cached),
            str(figures.planner.solved),
            str(figures.planner.timed_out),
            f"{figures.staleness.mean:.2f} (most {figures.staleness.max})"
            if figures.staleness
            else "-",
            number(figures.rates.episodes_per_s),
        )
        for name, figures in _named_figures(summary)
    ]
    return _table(head, rows)


def _named_figures(summary: Summary) -> list[tuple[str, Figures]]:
    return [*((phase.name, phase) for phase in summary.phases), ("whole", summary.whole)]


def _measures(measures: Measures | None) -> tuple[str, str, str, str]:
    if measures is None:
        return ("-", "-", "-", "-")
    exe = measures.exe.value if measures.exe else None
    spl = measures.spl.value if measures.spl else None
    return (
        _interval(measures.csr),
        percent(measures.cgc.value),
        percent(exe),
        percent(spl),
    )


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{percent(estimate.value)} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


def _accounting(summary: Summary) -> str:
    account = summary.accounting
    if account is None:
        return "<p>The run has not ended.</p>"
    verdict = "It closes." if account.closes else "It does not close."
    read = "none" if account.bank_entries_read is None else account.bank_entries_read
    return (
        f"<p>{verdict} Episodes: {account.episodes_started} started = "
        f"{account.episodes_finished} finished + {account.episodes_failed} lost with their actor + "
        f"{account.episodes_in_flight} in flight ({account.episodes_doubled} told twice, counted "
        f"once). Procedures: {account.procedures_submitted} submitted = "
        f"{account.procedures_admitted} admitted + {account.procedures_duplicate} duplicates; "
        f"{account.procedures_retired} retired; {read} read back from the "
        f"banks. Plans: {account.plans_answered} of {account.plans_requested} answered; "
        f"{account.traces_queued} traces queued for the learner.</p>"
    )


def _made_with(summary: Summary) -> str:
    machine = summary.hardware
    versions = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    return (
        f"{machine.processor} ({machine.machine}), {machine.cores} cores, "
        f"{machine.memory_mb / 1024:.0f} GiB, {machine.system}; {versions}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells(head, "th")}</tr>{body}</table></div>'


def _figure(chart: Chart, place: int) -> str:
    title = html.escape(chart.title)
    caption = f"<figcaption>{title}<p>{html.escape(chart.explanation)}</p></figcaption>"
    return f"<figure>{caption}{draw(chart, f'chart{place}')}</figure>"
