"""`nesypr study policy`: how well the small LM plans, learnt from nothing, domain by domain.

Plans are made, distilled by as many processes as there are cores, and the averaged weights are
tried on held-out tasks of each domain, without banks: free, held to admissible actions, with the
procedures of other tasks, and on tasks one object larger than any in training. Nothing of a
held-out task is ever planned or distilled; the stream keeps them apart by what is visible.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from actors.policy import Policy
from actors.records import Assignment, Shuffle
from actors.rollout import FinishedEpisode, Rollout
from cluster.book_watch import BookWatch
from configs.errors import ConfigurationError
from configs.schema import DomainShare, PhaseConfig, RunConfig, StreamConfig
from learner.joint_distillation import JointProgress, JointSetting, distil_together
from learner.teacher import TeacherPool
from model.saving import from_bytes
from shared_memory.records import PlanRequest, Trace
from tasks.errors import TaskError
from tasks.metrics import Attempt, Estimate, csr, exe, spl
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Task

Mode = Literal["free", "restricted", "exchanged", "larger"]

MODES: dict[Mode, str] = {
    "free": "any words may be answered",
    "restricted": "only actions that the simulator accepts",
    "exchanged": "free, with the procedures of another task of the domain",
    "larger": "free, on tasks one object larger than any in training",
}
PLAN_BATCH = 200
"""Requests given to the teacher at once; progress is told after each."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudySize:
    """How much of it."""

    traces: int = 4000  # planned tasks a domain
    tasks: int = 200  # held-out tasks a domain
    processes: int = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One domain in one mode."""

    domain: str
    mode: Mode
    csr: Estimate
    exe: Estimate | None
    spl: Estimate | None


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What the study found."""

    rows: tuple[Row, ...]
    plan_median: dict[str, float]
    plan_longest: dict[str, int]
    traces: dict[str, int]
    parameters: int
    steps: int
    tokens: int
    codes_used: int
    perplexity: float
    seconds_planning: float
    seconds_distilling: float
    seconds_trying: float
    seed: int
    processes: int
    config: dict[str, Any]

    def mean_csr(self, mode: Mode) -> float:
        """CSR averaged over domains."""
        return statistics.fmean(row.csr.value for row in self.rows if row.mode == mode)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def study_policy(config: RunConfig, size: StudySize, folder: Path, tell: Tell) -> PolicyResult:
    """Plan, distil and try; the model is left in `folder`."""
    shares = _shares(config)
    stream = TaskStream(
        StreamConfig(
            phases=tuple(
                PhaseConfig(name=share.name, tasks=size.traces, domains=(share,))
                for share in shares
            ),
            probe_tasks=size.tasks,
            step_limit=config.stream.step_limit,
        ),
        config.seed,
    )
    began = time.monotonic()
    traces = _teach(stream, config, size, tell)
    planned = time.monotonic()
    last: list[JointProgress] = []
    watch = BookWatch(config.model.book, config.distillation.learning_rate)

    def on_progress(progress: JointProgress) -> None:
        last[:] = [progress]
        tell(_progress_line(progress, config.distillation.total_steps))
        broken = watch.take(progress.step, progress)
        if broken is not None:
            tell(f"warning: {broken}")

    domains = tuple(domain.name for domain in stream.domains)
    payload = distil_together(
        traces,
        JointSetting(
            domains=domains,
            rendering=config.rendering,
            model=config.model,
            distillation=config.distillation,
            seed=config.seed,
            processes=size.processes,
            folder=str(folder),
        ),
        on_progress,
    )
    distilled = time.monotonic()
    trial = _Trial(payload, stream, config)
    rows = []
    for phase, share in zip(stream.phases, shares, strict=True):
        held_out = stream.probe(phase.number)
        for mode in MODES:
            try:
                tasks = _larger(share, stream, size.tasks // 2) if mode == "larger" else held_out
                rows.append(trial.row(share.name, mode, tasks))
            except TaskError as error:
                if mode != "larger":
                    raise
                tell(f"{share.name}, {mode}: not tried, because {error}")
                continue
            tell(f"{share.name}, {mode}: CSR {rows[-1].csr.value:.1%}")
    lengths = {name: [len(t.actions) for t in traces if t.domain == name] for name in domains}
    return PolicyResult(
        rows=tuple(rows),
        plan_median={name: statistics.median(found) for name, found in lengths.items()},
        plan_longest={name: max(found) for name, found in lengths.items()},
        traces={name: len(found) for name, found in lengths.items()},
        parameters=trial.parameters,
        steps=config.distillation.total_steps,
        tokens=last[0].tokens,
        codes_used=last[0].codes_used,
        perplexity=last[0].perplexity,
        seconds_planning=planned - began,
        seconds_distilling=distilled - planned,
        seconds_trying=time.monotonic() - distilled,
        seed=config.seed,
        processes=size.processes,
        config=config.model_dump(mode="json"),
    )


def table(result: PolicyResult) -> str:
    """The result as a Markdown table."""
    lines = [
        "| domain | plans, median (longest) | CSR free | 95 % | Exe | SPL | admissible only | "
        "another task's procedures | one object more |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by = {(row.domain, row.mode): row for row in result.rows}
    for domain in result.plan_median:
        free = by[domain, "free"]
        cells = [
            domain,
            f"{result.plan_median[domain]:g} ({result.plan_longest[domain]})",
            f"{free.csr.value:.1%}",
            f"{free.csr.low:.1%} to {free.csr.high:.1%}",
            "" if free.exe is None else f"{free.exe.value:.1%}",
            "" if free.spl is None else f"{free.spl.value:.2f}",
            *(
                f"{by[domain, mode].csr.value:.1%}" if (domain, mode) in by else "–"
                for mode in ("restricted", "exchanged", "larger")
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    exes = [row.exe.value for row in result.rows if row.mode == "free" and row.exe is not None]
    lines.append(
        f"| **mean** | | **{result.mean_csr('free'):.1%}** | | {statistics.fmean(exes):.1%} | | "
        f"{result.mean_csr('restricted'):.1%} | {result.mean_csr('exchanged'):.1%} | "
        f"{result.mean_csr('larger'):.1%} |"
    )
    minutes = (result.seconds_planning + result.seconds_distilling + result.seconds_trying) / 60
    lines += [
        "",
        f"{result.parameters:,} parameters, {result.steps:,} steps, {result.tokens:,} tokens, seed "
        f"{result.seed}, {result.processes} processes; {minutes:.1f} min in all: planning "
        f"{result.seconds_planning / 60:.1f}, distilling {result.seconds_distilling / 60:.1f}, "
        f"trying {result.seconds_trying / 60:.1f}. Codes used {result.codes_used} of "
        f"{result.config['model']['book']['codes']}, perplexity {result.perplexity:.0f}.",
    ]
    return "\n".join(lines) + "\n"


def write_result(result: PolicyResult, folder: Path) -> Path:
    """Write FOLDER/policy.json and FOLDER/policy.md; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.json").write_text(json.dumps(result.as_dict(), indent=1), encoding="utf-8")
    page = folder / "policy.md"
    page.write_text(table(result), encoding="utf-8")
    return page


def _shares(config: RunConfig) -> list[DomainShare]:
    """Each domain of the stream once."""
    found: dict[str, DomainShare] = {}
    for phase in config.stream.phases:
        for share in phase.domains:
            if found.setdefault(share.name, share).size != share.size:
                raise ConfigurationError(
                    f"the policy study takes one size of each domain, but stream.phases has two "
                    f"of '{share.name}'"
                )
    return list(found.values())


def _teach(stream: TaskStream, config: RunConfig, size: StudySize, tell: Tell) -> list[Trace]:
    """The traces of all tasks of the stream that a planner solved."""
    domains = [domain.name for domain in stream.domains]
    teacher = config.teacher.model_copy(update={"processes": size.processes})
    traces: list[Trace] = []
    with TeacherPool(domains, config.rendering, teacher, kept_answers=1) as pool:
        for start in range(0, len(stream), PLAN_BATCH):
            tasks = [stream[i] for i in range(start, min(start + PLAN_BATCH, len(stream)))]
            answers = pool.plan([_request(task) for task in tasks])
            traces += [answer.trace for answer in answers if answer.trace is not None]
            tell(f"planned {start + len(tasks)} of {len(stream)} tasks")
        if len(traces) < len(stream):
            tell(f"{len(stream) - len(traces)} tasks have no plan: {pool.statistics}")
    return traces


def _request(task: Task) -> PlanRequest:
    return PlanRequest(
        task.index, task.digest, task.domain, task.phase, task.problem, task.origin, True
    )


def _larger(share: DomainShare, stream: TaskStream, count: int) -> list[Task]:
    """Tasks whose first size is one more than the largest in training; none if there are none."""
    (domain,) = [domain for domain in stream.domains if domain.name == share.name]
    if domain.generator is None:
        return []
    sizes = {one.name: one.default for one in domain.generator.parameters} | dict(share.size)
    first = domain.generator.parameters[0].name
    sizes[first] = (sizes[first][1] + 1, sizes[first][1] + 1)
    return [replace(domain.draw(sizes, seed), index=-1) for seed in range(count)]


class _Trial:
    """The learnt policy, without banks, on tasks."""

    def __init__(self, payload: bytes, stream: TaskStream, config: RunConfig) -> None:
        model, version = from_bytes(payload)
        self.parameters = model.parameter_count
        by_name = {domain.name: domain for domain in stream.domains}
        acting = config.acting.model_copy(update={"banks": "none", "episodes": 64})
        self._policy = Policy(model.eval(), version, acting, None)
        self._rollout = Rollout(
            Rendering(stream.domains, config.rendering),
            model.tokenizer,
            lambda domain: make_simulator(by_name[domain]),
            config.stream.step_limit,
            config.seed,
        )

    def row(self, domain: str, mode: Mode, tasks: Sequence[Task]) -> Row:
        """Try the tasks."""
        shuffle: Shuffle = "domain" if mode == "exchanged" else "none"
        assignments = [Assignment(-1, task) for task in tasks]
        found = [
            _attempt(finished)
            for finished in self._rollout.run(
                self._policy, assignments, mode == "restricted", shuffle, banks=False
            )
        ]
        rate = csr(found)
        if rate is None:
            raise ConfigurationError(f"there is no task of '{domain}' to try")
        return Row(domain, mode, rate, exe(found), spl(found))


def _attempt(finished: FinishedEpisode) -> Attempt:
    return Attempt(
        success=finished.success,
        conditions_met=finished.conditions_met,
        conditions=finished.conditions,
        emitted=len(finished.decisions),
        accepted=sum(decision.accepted for decision in finished.decisions),
    )


def _progress_line(progress: JointProgress, steps: int) -> str:
    rate = progress.step / max(progress.seconds, 1e-9)
    left = (steps - progress.step) / max(rate, 1e-9)
    exact = " ".join(f"{name[:6]} {share:.2f}" for name, share in progress.exact.items())
    return (
        f"step {progress.step}/{steps}, loss {progress.loss:.4f}, codes {progress.codes_used}, "
        f"perplexity {progress.perplexity:.0f}, {rate:.2f} steps/s, {left / 60:.1f} min left; "
        f"right: {exact}"
    )


def usable_processes() -> int:
    """The cores that this program may use."""
    return len(os.sched_getaffinity(0))
