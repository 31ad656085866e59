"""What studies of the policy are made of: plan once, distil a model, try it on held-out tasks.

Nothing of a held-out task is ever planned or distilled; the stream keeps them apart by what is
visible.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from actors.policy import Policy
from actors.records import Assignment, Shuffle
from actors.rollout import FinishedEpisode, Rollout
from cluster.book_watch import BookWatch
from cluster.studies import StudySize, Tell
from configs.errors import ConfigurationError
from configs.schema import DomainShare, PhaseConfig, RunConfig, StreamConfig, TeacherConfig
from learner.joint_distillation import JointProgress, JointSetting, distil_together
from learner.planners import PlanLimits
from learner.teacher import TeacherPool
from learner.teachers import make_reference_planner
from learner.trace_file import read_traces, write_traces
from model.saving import from_bytes
from shared_memory.records import PlanRequest, Trace
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
LARGER_DRAWS = 4

PLAN_BATCH = 200
"""Requests given to the teacher at once; progress is told after each."""

Banks = Literal["both", "success", "failure", "none"]


@dataclass(frozen=True, slots=True)
class Planned:
    """The stream of a study, a phase a domain, and the traces of all its tasks that have a plan."""

    stream: TaskStream
    shares: tuple[DomainShare, ...]
    traces: tuple[Trace, ...]
    seed: int
    seconds: float
    teacher: TeacherConfig

    @property
    def domains(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(domain.name for domain in self.stream.domains)

    def lengths(self) -> dict[str, list[int]]:
        """How long the plans of each domain are."""
        return {
            name: [len(trace.actions) for trace in self.traces if trace.domain == name]
            for name in self.domains
        }


@dataclass(frozen=True, slots=True)
class Distilled:
    """A model, its averaged weights as bytes, and how it came to be."""

    payload: bytes
    curve: tuple[JointProgress, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One domain in one mode."""

    domain: str
    mode: Mode
    csr: Estimate
    exe: Estimate | None
    spl: Estimate | None


def plan(config: RunConfig, size: StudySize, tell: Tell, kept: Path | None = None) -> Planned:
    """The study's stream and traces; in the file `kept` they are found again by the next call."""
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
    digest = digest_of(
        {
            "seed": config.seed,
            "traces": size.traces,
            "tasks": size.tasks,
            "shares": [share.model_dump(mode="json") for share in shares],
            "rendering": config.rendering.model_dump(mode="json"),
            "teacher": config.teacher.model_dump(mode="json", exclude={"processes"}),
        }
    )
    path = None if kept is None else kept.with_name(f"{kept.stem}-{digest}{kept.suffix}")
    if path is not None and path.is_file():
        traces = read_traces(path)
        tell(f"{len(traces)} plans were made before: {path}")
    else:
        traces = teach(stream, config, size.processes * size.parallel, tell)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_traces(path.with_suffix(".partial"), traces)
            path.with_suffix(".partial").replace(path)
    seconds = time.monotonic() - began
    return Planned(stream, tuple(shares), tuple(traces), config.seed, seconds, config.teacher)


def distil(
    planned: Planned, config: RunConfig, processes: int, folder: Path, tell: Tell
) -> Distilled:
    """Distil all steps, with the seed of `config`; the model is left in `folder`."""
    curve: list[JointProgress] = []
    watch = BookWatch(config.model.book, config.distillation.learning_rate)

    def on_progress(progress: JointProgress) -> None:
        curve.append(progress)
        tell(_progress_line(progress, config.distillation.total_steps))
        broken = watch.take(progress.step, progress)
        if broken is not None:
            tell(f"warning: {broken}")

    began = time.monotonic()
    payload = distil_together(
        planned.traces,
        JointSetting(
            domains=planned.domains,
            rendering=config.rendering,
            model=config.model,
            distillation=config.distillation,
            seed=config.seed,
            processes=processes,
            folder=str(folder),
        ),
        on_progress,
    )
    return Distilled(payload, tuple(curve), time.monotonic() - began)


class Trial:
    """A learnt policy, without banks, on tasks.

    Names are drawn by the stream's own seed, so that all models of a study read the same texts.
    """

    def __init__(self, payload: bytes, planned: Planned, config: RunConfig) -> None:
        model, version = from_bytes(payload)
        self.parameters = model.parameter_count
        by_name = {domain.name: domain for domain in planned.stream.domains}
        acting = config.acting.model_copy(update={"banks": "none", "episodes": 64})
        self._policy = Policy(model.eval(), version, acting, None)
        self._rollout = Rollout(
            Rendering(planned.stream.domains, config.rendering),
            model.tokenizer,
            lambda domain: make_simulator(by_name[domain]),
            config.stream.step_limit,
            planned.seed,
        )
        self._planners = {
            domain.name: make_reference_planner(domain, planned.teacher)
            for domain in planned.stream.domains
        }
        self._limits = PlanLimits(planned.teacher.time_limit_s)
        self._lengths: dict[str, int | None] = {}  # by content: nothing of them was distilled

    def row(self, domain: str, mode: Mode, tasks: Sequence[Task]) -> Row:
        """Try the tasks."""
        shuffle: Shuffle = "domain" if mode == "exchanged" else "none"
        assignments = [Assignment(-1, task) for task in tasks]
        found = [
            _attempt(finished, self._length(finished.task))
            for finished in self._rollout.run(
                self._policy, assignments, mode == "restricted", shuffle, banks=False
            )
        ]
        rate = csr(found)
        if rate is None:
            raise ConfigurationError(f"there is no task of '{domain}' to try")
        return Row(domain, mode, rate, exe(found), spl(found))

    def _length(self, task: Task) -> int | None:
        """The length of the planner's plan for a task that was tried, for SPL."""
        if task.digest not in self._lengths:
            outcome = self._planners[task.domain].plan(task, self._limits)
            self._lengths[task.digest] = outcome.cost if outcome.status == "solved" else None
        return self._lengths[task.digest]


def larger(share: DomainShare, stream: TaskStream, count: int) -> list[Task]:
    """Distinct tasks whose first size is one more than the largest in training, as many as
    `count`, or as `LARGER_DRAWS` times as many draws give; none without a generator."""
    (domain,) = [domain for domain in stream.domains if domain.name == share.name]
    if domain.generator is None:
        return []
    sizes = {one.name: one.default for one in domain.generator.parameters} | dict(share.size)
    first = domain.generator.parameters[0].name
    sizes[first] = (sizes[first][1] + 1, sizes[first][1] + 1)
    found: dict[str, Task] = {}
    for seed in range(LARGER_DRAWS * count):
        task = domain.draw(sizes, seed)
        found.setdefault(task.digest, replace(task, index=-1))
        if len(found) == count:
            break
    return list(found.values())


def digest_of(values: Any) -> str:
    """12 hexadecimal digits that tell JSON values from others."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _shares(config: RunConfig) -> list[DomainShare]:
    """Each domain of the stream once."""
    found: dict[str, DomainShare] = {}
    for phase in config.stream.phases:
        for share in phase.domains:
            if found.setdefault(share.name, share).size != share.size:
                raise ConfigurationError(
                    f"the studies take one size of each domain, but stream.phases has two of "
                    f"'{share.name}'"
                )
    return list(found.values())


def teach(stream: TaskStream, config: RunConfig, processes: int, tell: Tell) -> list[Trace]:
    """The traces of all tasks of the stream that a planner solved, by so many planners."""
    domains = [domain.name for domain in stream.domains]
    teacher = config.teacher.model_copy(update={"processes": processes})
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


def _attempt(finished: FinishedEpisode, plan_length: int | None) -> Attempt:
    return Attempt(
        success=finished.success,
        conditions_met=finished.conditions_met,
        conditions=finished.conditions,
        emitted=len(finished.decisions),
        accepted=sum(decision.accepted for decision in finished.decisions),
        plan_length=plan_length,
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
