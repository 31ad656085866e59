"""Simulators: ours against those that the domains come with, same tasks, same actions.

PDDL, for each domain that runs: the simulator that `auto` takes against PDDLGym's own environment,
untouched. Both walk the same random way through the domain's train problem of middle size; a step
is to ask for the actions that are applicable now, and to take one. For PDDLGym that is
`env.action_space.all_ground_literals(state)` of its dynamic action space and `env.step`; for ours
`applicable_actions`, `step`, and the atoms and `solved` after it, which `env.step` returns too. A
reset includes the first question for actions. PDDLGym's environment is made with that one problem
(it would parse the whole folder) and outside the time; our resets parse their problem. All times
are CPU seconds, and what both show is compared at every step. Domains for which PDDLGym starts
SWI-Prolog are left out: it would only be slower.

PDDLGym is given a few seconds a domain; where it does not come through one step by then, its steps
per second are given as that bound, and the ratio is a lower bound: nothing is compared there, and
`domains_uncompared` says how many these are. Domains in which PDDLGym raises something are left
out. ALFWorld's part is in `cluster.bench_alfworld`.
"""

from __future__ import annotations

import contextlib
import io
import random
import signal
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.errors import NesyprError
from tasks.errors import TaskError
from tasks.pddl_domain import PddlDomain, load_pddlgym_domain, pddlgym_names
from tasks.pddlgym_simulator import PDDLEnv, own_temporary_folder
from tasks.simulators import NEEDS_PROLOG, choose_simulator, make_simulator, why_not_pddlgym
from tasks.task import Action, Atom, Task

STEPS = 40
"""Most steps of a walk."""
_DIFFER = "PDDLGym and our simulator of domain '{}' differ in {}"

_Step = tuple[tuple[Action, ...], frozenset[Atom], Action]
"""(applicable actions, atoms after the action, the action taken)"""

ENOUGH_S = 0.2
"""CPU seconds of steps after which a walk is not repeated."""
MOST_REPEATS = 200
PDDLGYM_SECONDS = 1.5
"""CPU seconds that PDDLGym gets for a domain's reset, and again for its steps."""


@dataclass(frozen=True, slots=True)
class SimulatorRow:
    """A domain: steps and resets a CPU second of our simulator and of PDDLGym.

    `ratio` is ours ÷ PDDLGym's; `steps` is how many PDDLGym came through. Where that is 0 its
    figures are upper bounds.
    """

    domain: str
    simulator: str
    objects: int
    steps: int
    steps_per_s: float
    pddlgym_steps_per_s: float
    ratio: float
    resets_per_s: float
    pddlgym_resets_per_s: float
    resets_ratio: float


def bench_simulators(names: Sequence[str] | None = None) -> dict[str, Any]:
    """A row for each domain named (default: all of PDDLGym's) that both run, and their median."""
    rows: list[SimulatorRow] = []
    left_out: dict[str, str] = {}
    for name in pddlgym_names() if names is None else names:
        try:
            domain = load_pddlgym_domain(name)
            simulator = choose_simulator(domain)
            reason = why_not_pddlgym(domain)
            if domain.definition.features & NEEDS_PROLOG:
                reason = "it starts SWI-Prolog for every action, which takes seconds a state"
            if reason:
                left_out[name] = f"PDDLGym: {reason}"
            else:
                rows.append(_row(domain, simulator))
        except TaskError as error:
            left_out[name] = " ".join(str(error).split())
    if not rows:
        raise TaskError(f"none of these domains runs on both simulators: {left_out}")
    ratios = [row.ratio for row in rows]
    resets = [row.resets_ratio for row in rows]
    return {
        "domains": len(rows),
        "median_ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "domains_at_10_times": sum(ratio >= 10 for ratio in ratios),
        "median_resets_ratio": statistics.median(resets),
        "least_resets_ratio": min(resets),
        "steps_compared": sum(row.steps for row in rows),
        "domains_uncompared": sum(row.steps == 0 for row in rows),
        "rows": [asdict(row) for row in rows],
        "left_out": left_out,
        "alfworld": _alfworld() if names is None else "left out: only some domains were asked for",
    }


def _alfworld() -> list[dict[str, Any]] | str:
    """ALFWorld's rows; a sentence where it cannot be had."""
    try:
        from cluster.bench_alfworld import bench_alfworld

        return bench_alfworld()
    except (ImportError, TaskError) as error:
        return f"left out: {error}"


def _row(domain: PddlDomain, simulator: str) -> SimulatorRow:
    files = sorted(domain.train_files, key=lambda file: (file.stat().st_size, file.name))
    task = domain.task_from_file(files[len(files) // 2])
    ours = make_simulator(domain)
    walk = _walk(domain, task)
    stepping = resetting = 0.0
    repeats = 0
    while stepping < ENOUGH_S and repeats < MOST_REPEATS:
        began = time.process_time()
        ours.reset(task)
        ours.applicable_actions()
        middle = time.process_time()
        for _, _, action in walk:
            ours.applicable_actions()
            ours.step(action)
            _ = ours.atoms, ours.solved
        resetting += middle - began
        stepping += time.process_time() - middle
        repeats += 1
    steps_per_s = repeats * len(walk) / stepping
    resets_per_s = repeats / resetting
    steps, rival_steps, rival_resets = _pddlgym(domain, task, walk)
    return SimulatorRow(
        domain=domain.name,
        simulator=simulator,
        objects=len(ours.objects),
        steps=steps,
        steps_per_s=steps_per_s,
        pddlgym_steps_per_s=rival_steps,
        ratio=steps_per_s / rival_steps,
        resets_per_s=resets_per_s,
        pddlgym_resets_per_s=rival_resets,
        resets_ratio=resets_per_s / rival_resets,
    )


def _walk(domain: PddlDomain, task: Task) -> list[_Step]:
    """A random walk."""
    simulator = make_simulator(domain)
    simulator.reset(task)
    rng = random.Random(0)
    walk: list[_Step] = []
    while len(walk) < STEPS and (actions := simulator.applicable_actions()):
        action = rng.choice(actions)
        simulator.step(action)
        walk.append((actions, simulator.atoms, action))
    if not walk:
        raise TaskError(f"nothing can be done in {task.origin}")
    return walk


def _pddlgym(
    domain: PddlDomain,
    task: Task,
    walk: Sequence[_Step],
) -> tuple[int, float, float]:
    """(steps, steps per second, resets per second) of PDDLGym's environment on the walk.

    `TaskError` for what PDDLGym raises; `NesyprError` where it shows something else than ours.
    """
    with tempfile.TemporaryDirectory() as folder, own_temporary_folder(), _quiet():
        Path(folder, "problem.pddl").write_text(task.problem, encoding="utf-8")
        stepping, resetting = _Clock(), _Clock()
        resets = steps = 0
        try:
            env = _environment(domain, folder)
            while stepping.seconds < ENOUGH_S and resets < MOST_REPEATS:
                with resetting:
                    state, _ = env.reset()
                    env.action_space.all_ground_literals(state)
                resets += 1
                for actions, atoms, action in walk:
                    with stepping:
                        literals = env.action_space.all_ground_literals(state)
                    by_words = {_words(each): each for each in literals}
                    if sorted(by_words) != list(actions):
                        raise NesyprError(_DIFFER.format(domain.name, "actions"))
                    with stepping:
                        state, *_ = env.step(by_words[action])
                    steps += 1
                    if {_words(each) for each in state.literals} != atoms:
                        raise NesyprError(_DIFFER.format(domain.name, "atoms"))
        except _LateError:
            pass  # what it came through by then counts
        except NesyprError:
            raise
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise TaskError(f"PDDLGym raises {words}") from error
    steps_per_s = max(steps, 1) / (stepping.seconds or PDDLGYM_SECONDS)
    return steps, steps_per_s, max(resets, 1) / (resetting.seconds or PDDLGYM_SECONDS)


def _environment(domain: PddlDomain, folder: str) -> Any:
    return PDDLEnv(
        str(domain.file),
        folder,
        operators_as_actions=not domain.definition.action_predicates,
        dynamic_action_space=True,
    )


def _words(literal: Any) -> Atom:
    return (literal.predicate.name, *(variable.name for variable in literal.variables))


class _LateError(BaseException):
    """PDDLGym has used up its time; not an `Exception`, so that PDDLGym does not catch it."""


class _Clock:
    """Adds up CPU seconds; inside, `_LateError` is raised once it has counted `PDDLGYM_SECONDS`.

    In the main thread only.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        signal.signal(signal.SIGPROF, _late)
        self._began = time.process_time()
        left = max(PDDLGYM_SECONDS - self.seconds, 0.001)
        signal.setitimer(signal.ITIMER_PROF, left, 0.05)  # again: Python drops it in a destructor

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # by default one that comes late would kill
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds += time.process_time() - self._began


def _late(number: int, frame: object) -> None:
    raise _LateError


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PDDLGym warns of its dependencies and of files that it leaves open; interrupted, it leaves
    `sys.stdout` turned off."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
