"""`nesypr study banks`: what banks that acting filled change where tasks are attempted again.

Weights stay as they are. All arms share a first attempt, free and with empty banks, whose episodes
go to the banks of each arm on a server of the study's own; then the same tasks are attempted twice
more, each attempt's episodes going to the arm's banks before the next. FR and RR tell what became
of tasks that were solved or failed once; other tasks, attempted once with the banks as they are
then, tell what the banks do to what they have never seen. The model is that of a policy study's
folder, or of a run's.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import redis

from actors.outcomes import bank_episode
from actors.policy import Policy
from actors.records import Assignment
from actors.rollout import FinishedEpisode, Rollout
from cluster.studies import StudyOrder, StudyPage, Tell
from cluster.study_steps import larger
from configs.errors import ConfigurationError
from configs.schema import ActingConfig, DomainShare, PhaseConfig, RunConfig, StreamConfig
from learner.checkpoint import CheckpointFolder
from learner.joint_distillation import MODEL_FILE
from model.saving import from_bytes
from model.small_lm import SmallLM
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from tasks.errors import TaskError
from tasks.metrics import Attempt, Estimate, exe, forgotten, recovered, share
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Task

ATTEMPTS = 3
EPISODES = 64


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to act on the second attempt and after."""

    name: str
    changes: Mapping[str, Any]  # to the acting section
    new_names: bool = False  # objects are called differently in every attempt


ARMS = (
    Arm("no banks", {"banks": "none"}),
    Arm("procedures (the paper's contrast), υ = .95", {"threshold": 0.95}),
    Arm("procedures, υ = .99", {"threshold": 0.99}),
    Arm("outcomes", {"contrast_by": "outcomes"}),
    Arm(
        "outcomes, episodes remembered",
        {"contrast_by": "outcomes", "remember_episode": True},
    ),
    Arm(
        "no banks, episodes remembered",
        {"banks": "none", "contrast_by": "outcomes", "remember_episode": True},
    ),
    Arm("no banks, names drawn anew", {"banks": "none"}, new_names=True),
    Arm("outcomes, names drawn anew", {"contrast_by": "outcomes"}, new_names=True),
)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What became of one arm's attempts."""

    arm: str
    csr: tuple[Estimate, ...]  # of each attempt
    forgotten: Estimate | None  # FR over all attempts; None where nothing was solved before
    recovered: Estimate | None  # RR
    recovered_at_once: Estimate | None  # of what the first attempt failed, solved by the second
    unseen: Estimate  # CSR on other tasks, with the banks as they are then
    exe: Estimate | None  # on these
    hits_success: float  # share of these tasks' decisions for which M+ had something
    hits_failure: float
    endings: tuple[Mapping[str, int], ...]  # of each attempt: how episodes ended
    decisions: int  # in the attempts after the first
    seconds: float  # of these and of what is unseen


@dataclass(frozen=True, slots=True)
class BanksResult:
    """What the study found, for each kind of tasks."""

    arms: Mapping[str, tuple[ArmResult, ...]]
    tasks: Mapping[str, int]  # attempted again
    unseen: Mapping[str, int]
    version: int
    seed: int
    config: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def run_study(order: StudyOrder) -> StudyPage:
    """`nesypr study banks`: of the model in the folder that the files go to."""
    if order.size.seeds not in (None, 1) or order.size.parallel != 1:
        raise ConfigurationError(
            "study banks tries one model, that of the folder: leave out --seeds and --parallel"
        )
    result = study_banks(find_model(order.folder), order.config, order.size.tasks, order.tell, ARMS)
    return StudyPage(write_result(result, order.folder), result.as_dict())


def find_model(folder: Path) -> bytes:
    """The model that a policy study or a run has left in its folder."""
    if (folder / MODEL_FILE).is_file():
        return (folder / MODEL_FILE).read_bytes()
    stored = CheckpointFolder(folder / "checkpoints" / "learner").latest(lambda _: None)
    if stored is None:
        raise ConfigurationError(
            f"there is no model in {folder}: --out must name the folder of a policy study or of a "
            "run, and CONFIG its configuration"
        )
    return stored.files[MODEL_FILE]


def study_banks(
    payload: bytes, config: RunConfig, tasks: int, tell: Tell, arms: Sequence[Arm] = ARMS
) -> BanksResult:
    """Attempt held-out tasks, `tasks` a domain, half of them again and half once; then larger
    ones."""
    shares = tuple(
        {share.name: share for phase in config.stream.phases for share in phase.domains}.values()
    )
    stream = _stream(config, shares, tasks)
    sets: dict[str, Sequence[Sequence[Task]]] = {
        "held-out tasks": [stream.probe(phase.number) for phase in stream.phases],
        "tasks one object larger": _larger(shares, stream, tasks, tell),
    }
    found: dict[str, tuple[ArmResult, ...]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-banks-") as folder,
        EmbeddedServer(folder, fsync="no") as server,
        closing(connect(config.shared_memory, server.url)) as client,
    ):
        world = _World(payload, config, stream, client)
        for kind, drawn_sets in sets.items():
            by_domain = [world.nameable(drawn, tell) for drawn in drawn_sets]
            again = [task for drawn in by_domain for task in drawn[: (len(drawn) + 1) // 2]]
            unseen = [task for drawn in by_domain for task in drawn[(len(drawn) + 1) // 2 :]]
            if not again or not unseen:
                continue
            sizes[kind] = (len(again), len(unseen))
            first = world.first(again)
            tell(f"{kind}: first attempt, CSR {_share(e.success for e in first).value:.1%}")
            rows = []
            for arm in arms:
                rows.append(world.attempts(kind, arm, first, unseen))
                tell(f"{kind}: {_line(rows[-1])}")
            found[kind] = tuple(rows)
    return BanksResult(
        arms=found,
        tasks={kind: size[0] for kind, size in sizes.items()},
        unseen={kind: size[1] for kind, size in sizes.items()},
        version=world.version,
        seed=config.seed,
        config=config.model_dump(mode="json"),
    )


class _World:
    """The model, simulators and server that all arms share."""

    def __init__(
        self, payload: bytes, config: RunConfig, stream: TaskStream, client: redis.Redis
    ) -> None:
        self._config = config
        self._client = client
        self._domains = {domain.name: domain for domain in stream.domains}
        self._rendering = Rendering(stream.domains, config.rendering)
        self._model: SmallLM
        self._model, self.version = from_bytes(payload)
        self._model.eval()

    def nameable(self, tasks: Sequence[Task], tell: Tell) -> list[Task]:
        """Those of the tasks that have no more objects than there are names."""
        rollout = self._rollout(self._policy({"banks": "none"}, None))
        found: list[Task] = []
        for task in tasks:
            try:
                rollout.begin(Assignment(-1, task))
            except TaskError as error:
                tell(f"left out: {error}")
                break  # tasks of a kind are of one size
            found.append(task)
        return found

    def first(self, tasks: Sequence[Task]) -> list[FinishedEpisode]:
        """The attempt that all arms share."""
        policy = self._policy({"banks": "none"}, None)
        return list(self._rollout(policy).run(policy, [Assignment(-1, task) for task in tasks]))

    def attempts(
        self, kind: str, arm: Arm, first: list[FinishedEpisode], unseen: Sequence[Task]
    ) -> ArmResult:
        """All attempts of an arm, with banks of its own."""
        run = f"{kind}/{arm.name}"
        shared = self._config.shared_memory.bank
        bank = Bank(self._client, run, shared)
        replica = BankReplica(self._client, run, tuple(self._domains), shared, actions=True)
        policy = self._policy(arm.changes, replica)
        rollout = self._rollout(policy)
        tasks = [finished.task for finished in first]
        attempts, number = [first], 0
        began = time.monotonic()
        while True:
            number = self._push(bank, attempts[-1], number)
            replica.refresh()
            if len(attempts) == ATTEMPTS:
                break
            names = [number + place if arm.new_names else -1 for place in range(len(tasks))]
            given = [Assignment(name, task) for name, task in zip(names, tasks, strict=True)]
            attempts.append(list(rollout.run(policy, given)))
        others = list(rollout.run(policy, [Assignment(-1, task) for task in unseen]))
        seconds = time.monotonic() - began
        decided = max(1, sum(len(each.decisions) for each in others))
        solved = [{each.task.digest: each.success for each in attempt} for attempt in attempts]
        return ArmResult(
            arm=arm.name,
            csr=tuple(_share(past.values()) for past in solved),
            forgotten=forgotten(solved),
            recovered=recovered(solved),
            recovered_at_once=recovered(solved[:2]),
            unseen=_share(each.success for each in others),
            exe=exe([_attempt(each) for each in others]),
            hits_success=sum(each.hits_success for each in others) / decided,
            hits_failure=sum(each.hits_failure for each in others) / decided,
            endings=tuple(_endings(attempt) for attempt in attempts),
            decisions=sum(len(each.decisions) for past in attempts[1:] for each in past),
            seconds=seconds,
        )

    def _push(self, bank: Bank, finished: Sequence[FinishedEpisode], number: int) -> int:
        """Give episodes to the banks under numbers of their own; the next free one."""
        bank.push(
            [
                bank_episode(replace(each, episode=number + place), self.version, "study")
                for place, each in enumerate(finished)
            ]
        )
        return number + len(finished)

    def _policy(self, changes: Mapping[str, Any], replica: BankReplica | None) -> Policy:
        acting = {**self._config.acting.model_dump(), "episodes": EPISODES, **changes}
        lag = self._config.shared_memory.bank.version_lag
        return Policy(self._model, self.version, ActingConfig.model_validate(acting), replica, lag)

    def _rollout(self, policy: Policy) -> Rollout:
        return Rollout(
            self._rendering,
            self._model.tokenizer,
            lambda domain: make_simulator(self._domains[domain]),
            self._config.stream.step_limit,
            self._config.seed,
            end_on_refusal=not policy.config.remember_episode,
        )


def table(result: BanksResult) -> str:
    """The result as Markdown tables."""
    lines: list[str] = []
    for kind, rows in result.arms.items():
        lines += [
            f"{result.tasks[kind]} {kind} attempted {ATTEMPTS} times, {result.unseen[kind]} others "
            "once (95 % intervals):",
            "",
            "| banks | CSR by attempt | FR | RR | RR of the second attempt | CSR, tasks unseen | "
            "Exe of these |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in rows:
            cells = [
                row.arm,
                ", ".join(f"{rate.value:.1%}" for rate in row.csr),
                _cell(row.forgotten),
                _cell(row.recovered),
                _cell(row.recovered_at_once),
                _cell(row.unseen),
                "–" if row.exe is None else f"{row.exe.value:.1%}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines.append(f"Weights of version {result.version}, seed {result.seed}.")
    return "\n".join(lines) + "\n"


def write_result(result: BanksResult, folder: Path) -> Path:
    """Write FOLDER/banks.json and FOLDER/banks.md; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "banks.json").write_text(json.dumps(result.as_dict(), indent=1), encoding="utf-8")
    page = folder / "banks.md"
    page.write_text(table(result), encoding="utf-8")
    return page


def _stream(config: RunConfig, shares: Sequence[DomainShare], tasks: int) -> TaskStream:
    """A phase a domain, with the held-out tasks of a policy study of the same size."""
    return TaskStream(
        StreamConfig(
            phases=tuple(
                PhaseConfig(name=share.name, tasks=1, domains=(share,)) for share in shares
            ),
            probe_tasks=tasks,
            step_limit=config.stream.step_limit,
        ),
        config.seed,
    )


def _larger(
    shares: Sequence[DomainShare], stream: TaskStream, tasks: int, tell: Tell
) -> list[list[Task]]:
    """Larger tasks of the domains that have them, of different content."""
    found: list[list[Task]] = []
    for each in shares:
        try:
            drawn = larger(each, stream, tasks)
        except TaskError as error:
            tell(f"{each.name}: no larger tasks, because {error}")
            continue
        found.append(list({task.digest: task for task in drawn}.values()))
    return found


def _share(solved: Iterable[bool]) -> Estimate:
    flags = list(solved)
    rate = share(sum(flags), len(flags))
    if rate is None:
        raise ConfigurationError("there is no task to attempt")
    return rate


def _attempt(finished: FinishedEpisode) -> Attempt:
    return Attempt(
        success=finished.success,
        conditions_met=finished.conditions_met,
        conditions=finished.conditions,
        emitted=len(finished.decisions),
        accepted=sum(decision.accepted for decision in finished.decisions),
    )


def _endings(attempt: Sequence[FinishedEpisode]) -> dict[str, int]:
    endings = [each.ending for each in attempt]
    return {ending: endings.count(ending) for ending in sorted(set(endings))}


def _cell(rate: Estimate | None) -> str:
    if rate is None:
        return "–"
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}) of {rate.count}"


def _line(row: ArmResult) -> str:
    return (
        f"{row.arm}: CSR {', '.join(f'{rate.value:.1%}' for rate in row.csr)}; FR "
        f"{_cell(row.forgotten)}; RR {_cell(row.recovered)}; unseen {row.unseen.value:.1%}; "
        f"{row.seconds:.0f} s"
    )
