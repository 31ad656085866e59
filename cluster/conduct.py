"""One start of a run from outside: folder, observers, driver, then summary and report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console

from cluster.figures import SummaryBuilder
from cluster.metrics_log import MetricsLog, read_metrics
from cluster.observer import Observers
from cluster.progress import make_display, percent
from cluster.run_folder import RunFolder
from cluster.summary import Measures, Summary, read_summary, write_summary
from configs.errors import NesyprError
from configs.schema import RunConfig

if TYPE_CHECKING:
    from tasks.stream import TaskStream

STOPPED = 130
"""The exit code after Ctrl-C."""


def check_stream(config: RunConfig) -> None:
    """Make the stream and its simulators once before anything is started or written.

    Raises TaskError: an unknown domain, a PDDL file that does not parse, an impossible size, too
    few tasks for the probes, a domain that no simulator can run, too few names for the objects of
    a large task in PDDL. LearnerError: the teacher's planner is not installed. A stream of
    distinct tasks is drawn to its end, so that none runs dry in the middle.
    """
    from learner.teachers import check_teacher
    from tasks.domains import get_domain
    from tasks.simulators import make_simulator
    from tasks.stream import TaskStream

    check_teacher(config.teacher)
    stream = TaskStream(config.stream, config.seed)
    if config.stream.distinct:
        _ = stream[len(stream) - 1]
    for name in {share.name for phase in config.stream.phases for share in phase.domains}:
        make_simulator(get_domain(name), config.stream.simulator)
    _check_names(config, stream)


def _check_names(config: RunConfig, stream: TaskStream) -> None:
    """Raise TaskError where a share's largest task in PDDL has more objects than names.

    That is one with all sizes at their most, or its largest files. No simulator is asked; the
    other worlds name what is seen, which only their episodes tell.
    """
    from tasks.domains import get_domain
    from tasks.pddl_domain import PddlDomain
    from tasks.rendering import Rendering
    from tasks.stream_phases import size_at

    rendering = Rendering(stream.domains, config.rendering)
    for share in (share for phase in config.stream.phases for share in phase.domains):
        domain = get_domain(share.name)
        if not isinstance(domain, PddlDomain):
            continue
        if share.source == "files" or domain.generator is None:
            splits = [files for files in (domain.train_files, domain.test_files) if files]
            largest = [max(files, key=lambda file: file.stat().st_size) for files in splits]
            tasks = [domain.task_from_file(file) for file in largest]
        else:
            default = {each.name: each.default for each in domain.generator.parameters}
            sizes = [{**default, **size_at(share, place)} for place in (0.0, 1.0)]
            most = [{name: (top, top) for name, (_, top) in size.items()} for size in sizes]
            tasks = [domain.draw(size, config.seed) for size in most]
        for task in tasks:
            problem = domain.read_problem(task.problem, task.origin)
            rendering.check_names(domain, problem.objects, problem.initial)


def check_model(config: RunConfig) -> None:
    """Look for the pretrained model, if there is one, before anything is started or written.

    Raises ModelError: it cannot be had, does not fit, or lacks a package.
    """
    if config.model.pretrained is not None:
        from model.pretrained import check

        check(config.model)


def conduct(config: RunConfig, folder: RunFolder, resume: bool, console: Console) -> int:
    """Run (or go on with) the run in `folder`, which is held, and return the exit code.

    0: finished and the accounting closes; 1: it does not close; 130: stopped and resumable. The
    summary and the report are written in every case, also when the driver raises.
    """
    from cluster import driver
    from cluster.dashboard.beside import page_beside
    from cluster.ray_gauges import RayGauges
    from cluster.tensorboard import TensorBoard

    builder, started = _counted_so_far(folder) if resume else (SummaryBuilder(), time.time())
    console.print(f"run {folder.name} in {folder.path}", highlight=False, soft_wrap=True)
    if (words := folder.moved_words(config)) is not None:
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    display = make_display(console)
    try:
        log = MetricsLog(folder.metrics_file)
        board = TensorBoard(folder.tensorboard, builder.tasks_done)
        gauges = RayGauges(builder.tasks_done)
        observers = Observers([log, builder, board, gauges, display], builder.seconds)
        try:
            with page_beside(folder.path, config.monitoring) as address:
                if address is not None:
                    console.print(f"page     {address}", highlight=False, soft_wrap=True)
                driver.run(config, folder, observers, resume)
        finally:
            observers.close()
    except BaseException as error:
        display.close()
        _write_what_there_is(folder, builder, started, error)
        raise
    summary = _write_outcome(folder, builder, started)
    if summary is None:
        raise NesyprError("the driver ended before the run began")
    return _closing_words(summary, folder, console)


def _counted_so_far(folder: RunFolder) -> tuple[SummaryBuilder, float]:
    """What the earlier starts counted, and when the first of them was (Unix time)."""
    builder, started = SummaryBuilder(), None
    for logged in read_metrics(folder.metrics_file):
        builder.observe(logged.event, logged.seconds)
        started = logged.time if started is None else started
    return builder, time.time() if started is None else started


def known_summary(folder: RunFolder) -> Summary | None:
    """The summary as written, or as far as `metrics.jsonl` tells it; None before any event."""
    if folder.summary_file.exists() and folder.state() != "running":
        return read_summary(folder.summary_file)
    builder, started = _counted_so_far(folder)
    return builder.build(started)


def _write_outcome(folder: RunFolder, builder: SummaryBuilder, started: float) -> Summary | None:
    from cluster.report import write_report

    summary = builder.build(started)
    if summary is not None:
        write_summary(folder, summary)
        write_report(folder, summary)
    return summary


def _write_what_there_is(
    folder: RunFolder,
    builder: SummaryBuilder,
    started: float,
    error: BaseException,
) -> None:
    """Summary and report of a run that broke off; a failure here must not hide the cause."""
    try:
        _write_outcome(folder, builder, started)
    except NesyprError as second:
        error.add_note(f"no summary was written: {second}")


def _closing_words(summary: Summary, folder: RunFolder, console: Console) -> int:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    probe = summary.whole.probe
    for name, measures in (
        ("untrained, free decoding", probe.untrained),
        ("free decoding", probe.free),
        ("admissible actions only", probe.restricted),
    ):
        if measures is not None:
            say(f"held-out tasks, {name}: {_csr_words(measures)}")
    say(f"summary  {folder.summary_file}")
    say(f"report   {folder.report_file}")
    if summary.outcome == "stopped":
        say(f"stopped; go on with: nesypr resume {folder.name}")
        return STOPPED
    problems = summary.accounting.problems if summary.accounting else ()
    if summary.accounting is None or not summary.accounting.closes:
        raise NesyprError(
            "the run's accounting does not close: " + ("; ".join(problems) or "it was not made")
        )
    if summary.outcome != "finished":
        raise NesyprError(f"the run ended as {summary.outcome}: see {folder.report_file}")
    return 0


def _csr_words(measures: Measures) -> str:
    csr = measures.csr
    return (
        f"CSR {percent(csr.value)} (95 % interval {percent(csr.low)} to {percent(csr.high)}, "
        f"{measures.tasks} tasks)"
    )
