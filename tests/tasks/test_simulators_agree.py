"""Mimir against PDDLGym, step by step on random walks: atoms, goals, actions, solved."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pddlgym
import pytest

from tasks.catalogue import list_tasks
from tasks.domains import get_pddl_domain
from tasks.errors import TaskError
from tasks.generators import GENERATORS
from tasks.mimir_simulator import MimirSimulator
from tasks.pddl_domain import PddlDomain, pddlgym_names
from tasks.pddlgym_simulator import PddlGymSimulator
from tasks.simulators import NEEDS_PROLOG, why_not_mimir, why_not_pddlgym
from tasks.task import Action, Atom, Simulator, Task

Answer = TypeVar("Answer")
ONE_WAY = frozenset({"spannerlearning", "trapnewspapers"})
"""Domains in which a random walk soon ends where nothing can be done."""


def cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for: SWI-Prolog's."""
    return sum(os.times()[:4])


class ReferenceBrokenError(Exception):
    """PDDLGym broke, where it has to ask SWI-Prolog: it cannot judge this state."""


def ask(domain: PddlDomain, question: Callable[[], Answer]) -> Answer:
    """PDDLGym's answer. What it raises itself counts as such in domains that need Prolog only."""
    try:
        return question()
    except (AssertionError, KeyError, NotImplementedError) as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        own = raised_in.is_relative_to(Path(pddlgym.__file__).parent)
        if own and domain.definition.features & NEEDS_PROLOG:
            raise ReferenceBrokenError(f"{type(error).__name__}: {error}") from error
        raise


def above(atoms: frozenset[Atom]) -> frozenset[Atom]:
    """What derivedblocks derives: the transitive closure of `on`, and who is busy with what."""
    pairs = {atom[1:] for atom in atoms if atom[0] == "on"}
    while more := {(x, w) for x, y in pairs for z, w in pairs if y == z} - pairs:
        pairs |= more
    full = [atom[1] for atom in atoms if atom[0] == "handfull"]
    held = [atom[1] for atom in atoms if atom[0] == "holding"]
    busy = {("busy", robot, block) for robot in full for block in held}
    return frozenset({("above", *pair) for pair in pairs} | busy)


DERIVED = {"derivedblocks": (frozenset({"above", "busy"}), above)}
"""Names of derived predicates, and what they mean: PDDLGym has blocks above themselves."""


def compare(domain: PddlDomain, fast: Simulator, reference: Simulator) -> tuple[Action, ...]:
    """Assert that both show the same, and return the applicable actions."""
    actions = fast.applicable_actions()
    assert actions == ask(domain, reference.applicable_actions)
    assert fast.goal == reference.goal
    if domain.name in DERIVED:
        names, derive = DERIVED[domain.name]
        given = frozenset(atom for atom in fast.atoms if atom[0] not in names)
        assert given == {atom for atom in reference.atoms if atom[0] not in names}
        assert fast.atoms - given == derive(given)
        return actions
    assert fast.atoms == reference.atoms
    assert fast.goal_conditions() == reference.goal_conditions()
    assert fast.solved == reference.solved
    return actions


def walk(
    domain: PddlDomain,
    tasks: list[Task],
    steps: int,
    deadline: float = float("inf"),
    seed: int = 0,
) -> int:
    """Random walks with refused actions between; returns the number of states compared.

    `deadline`: CPU seconds by which it ends. Where PDDLGym breaks, the walk goes
    on with the next task; it raises ReferenceBrokenError if nothing could be compared at all.
    """
    fast, reference = MimirSimulator(domain), PddlGymSimulator(domain)
    compared = 0
    broken: ReferenceBrokenError | None = None
    for number, task in enumerate(tasks):
        rng = random.Random(1000 * seed + number)
        fast.reset(task)
        reference.reset(task)
        assert fast.objects == reference.objects
        names = [name for name, _ in fast.objects]
        try:
            for _ in range(steps):
                actions = compare(domain, fast, reference)
                compared += 1
                if not actions or cpu_seconds() > deadline:
                    break
                name, arity = rng.choice(list(domain.actions.items()))
                guess = (name, *(rng.choice(names) for _ in range(arity)))
                accepted = guess in actions
                before = fast.atoms
                assert fast.step(guess) is accepted
                assert ask(domain, partial(reference.step, guess)) is accepted
                if accepted:
                    actions = compare(domain, fast, reference)
                elif domain.name not in DERIVED:
                    assert fast.atoms == reference.atoms == before
                if actions:
                    chosen = rng.choice(actions)
                    assert fast.step(chosen)
                    assert ask(domain, partial(reference.step, chosen))
        except ReferenceBrokenError as error:
            broken = error
    if broken is not None and not compared:
        raise broken
    return compared


def domain_for_both(name: str) -> PddlDomain:
    """The domain; skips the test where PDDLGym asks SWI-Prolog, which takes seconds a state."""
    domain = get_pddl_domain(name)
    if domain.definition.features & NEEDS_PROLOG:
        pytest.skip("only the slow test below asks SWI-Prolog")
    return domain


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_tasks(name: str) -> None:
    domain = domain_for_both(name)
    tasks = [domain.draw({}, seed) for seed in range(12)]
    enough = 12 * (2 if name in ONE_WAY else 8)
    assert walk(domain, tasks, steps=12) >= enough


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_generated_tasks_that_need_prolog() -> None:
    domain = get_pddl_domain("fridge")
    if reason := why_not_pddlgym(domain):
        pytest.skip(reason)
    tasks = [domain.draw({"fridges": (1, 1), "screws": (2, 2)}, seed) for seed in range(4)]
    assert walk(domain, tasks, steps=5) >= 4 * 4


@pytest.mark.parametrize("name", GENERATORS)
def test_files_of_domains_with_generators(name: str) -> None:
    domain = domain_for_both(name)
    files = sorted((*domain.train_files, *domain.test_files), key=lambda file: file.stat().st_size)
    assert walk(domain, [domain.task_from_file(file) for file in files[:4]], steps=8) > 0


@pytest.mark.parametrize(
    "name",
    ["meetpass", "elevator", "slidetile", "casino", "tsp_operator_actions", "depot", "travel"],
)
def test_a_few_other_domains(name: str) -> None:
    domain = get_pddl_domain(name)
    assert walk(domain, [domain.task_from_file(domain.train_files[0])], steps=6) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in pddlgym_names() if name not in GENERATORS])
def test_every_other_domain(name: str) -> None:
    """Where both run: small problems, for at most 30 s a domain."""
    (row,) = list_tasks([name])
    if row.reason:
        pytest.skip(row.reason)
    domain = get_pddl_domain(name)
    if why_not_mimir(name) or why_not_pddlgym(domain):
        pytest.skip(why_not_mimir(name) or why_not_pddlgym(domain))
    files = sorted((*domain.train_files, *domain.test_files), key=lambda file: file.stat().st_size)
    tasks = [domain.task_from_file(file) for file in files[:3]]
    try:
        assert walk(domain, tasks, steps=12, deadline=cpu_seconds() + 30) > 0
    except ReferenceBrokenError as error:
        pytest.skip(f"PDDLGym cannot judge a single state: {error}")


STEPS_IN_ALL = 100_000
FIRST_TURN_S = 20.0
"""CPU seconds that each domain gets first; those that are fast fill up what is missing."""
MOST_BROKEN = 3
"""Domains in which PDDLGym, with SWI-Prolog, breaks at the first state."""


def both_run(name: str) -> bool:
    """Whether the domain is one of PDDLGym's, deterministic, and runs on both simulators."""
    (row,) = list_tasks([name])
    if row.simulator not in ("mimir", "pddlgym"):
        return False
    return not why_not_mimir(name) and not why_not_pddlgym(get_pddl_domain(name))


def some_tasks(domain: PddlDomain, turn: int) -> list[Task]:
    """Three tasks, others in each turn: drawn where there is a generator, else small files."""
    if domain.generator is not None and turn % 2 == 0:
        return [domain.draw({}, 100 * turn + number) for number in range(3)]
    files = sorted((*domain.train_files, *domain.test_files), key=lambda file: file.stat().st_size)
    few = files[: max(3, len(files) // 4)]
    return [domain.task_from_file(few[(3 * turn + number) % len(few)]) for number in range(3)]


@pytest.mark.slow
@pytest.mark.timeout(7200)
# PDDLGym leaves the file that it made for SWI-Prolog open where it breaks.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_hundred_thousand_random_steps_over_all_domains() -> None:
    compared: dict[str, int] = {}
    speed: dict[str, float] = {}
    broken: dict[str, str] = {}
    for name in (name for name in pddlgym_names() if both_run(name)):
        domain = get_pddl_domain(name)
        began = cpu_seconds()
        try:
            compared[name] = walk(domain, some_tasks(domain, 0), 600, began + FIRST_TURN_S)
        except ReferenceBrokenError as error:
            broken[name] = str(error)
            continue
        speed[name] = compared[name] / (cpu_seconds() - began)
    assert min(compared.values()) > 0
    assert len(broken) <= MOST_BROKEN
    fast = sorted(compared, key=speed.__getitem__, reverse=True)[: len(compared) // 2]
    turn = 0
    while sum(compared.values()) < STEPS_IN_ALL:
        turn += 1
        for name in fast:
            domain = get_pddl_domain(name)
            deadline = cpu_seconds() + FIRST_TURN_S
            compared[name] += walk(domain, some_tasks(domain, turn), 600, deadline, seed=turn)
    print(f"{sum(compared.values())} steps over {len(compared)} domains: {compared}")  # noqa: T201
    left_out = {row.domain: row.reason for row in list_tasks(pddlgym_names())}
    for name in sorted(set(left_out) - set(compared)):
        reason = left_out[name] or broken.get(name) or why_not_mimir(name)
        reason = reason or why_not_pddlgym(get_pddl_domain(name))
        print(f"not compared: {name} ({reason})")  # noqa: T201
    print(f"not judged, since PDDLGym breaks: {broken}")  # noqa: T201


@pytest.mark.parametrize("simulator_type", [MimirSimulator, PddlGymSimulator])
def test_an_action_that_names_an_object_twice_does_not_exist(
    simulator_type: type[MimirSimulator] | type[PddlGymSimulator],
) -> None:
    domain = get_pddl_domain("gripper")
    simulator = simulator_type(domain)
    simulator.reset(domain.draw({}, 0))
    room = next(atom[1] for atom in simulator.atoms if atom[0] == "at-robby")
    assert ("move", room, room) not in simulator.applicable_actions()
    assert not simulator.step(("move", room, room))


@pytest.mark.parametrize("simulator_type", [MimirSimulator, PddlGymSimulator])
def test_what_is_no_action_is_refused(
    simulator_type: type[MimirSimulator] | type[PddlGymSimulator],
) -> None:
    domain = get_pddl_domain("blocks")
    simulator = simulator_type(domain)
    with pytest.raises(TaskError, match="call reset first"):
        simulator.applicable_actions()
    simulator.reset(domain.draw({}, 0))
    before = simulator.atoms
    for action in [
        ("fly", "b1"),
        ("pickup",),
        ("pickup", "b9"),
        ("pickup", "robot"),
        ("stack", "b1"),
    ]:
        assert not simulator.step(action)
    assert simulator.atoms == before


@pytest.mark.parametrize("name", ["blocks", "hanoi", "tinyonearmedgripper"])
def test_what_pddlgym_is_spared_changes_nothing(name: str) -> None:
    """Our edge against an untouched PDDLGym environment on its own files."""
    from pddlgym.core import PDDLEnv

    domain = get_pddl_domain(name)
    ours = PddlGymSimulator(domain)
    operators_as_actions = not domain.definition.action_predicates
    untouched = PDDLEnv(
        str(domain.file),
        str(domain.train_files[0].parent),
        operators_as_actions=operators_as_actions,
    )
    for number, file in enumerate(domain.train_files[:3]):
        ours.reset(domain.task_from_file(file))
        untouched.fix_problem_index(number)
        state, _ = untouched.reset()
        rng = random.Random(number)
        for _ in range(6):
            atoms = {(x.predicate.name, *(v.name for v in x.variables)) for x in state.literals}
            assert ours.atoms == atoms
            chosen = rng.choice(ours.applicable_actions())
            assert ours.step(chosen)
            state, _, done, _, _ = untouched.step(ours._literal(chosen))
            assert ours.solved is done


@pytest.mark.parametrize("name", GENERATORS)
def test_pddlgym_reads_our_text_as_its_own_file(name: str) -> None:
    """A task's text means to PDDLGym what the file means, but for the actions' atoms."""
    from pddlgym.parser import PDDLProblemParser

    domain = domain_for_both(name)
    reference = PddlGymSimulator(domain)
    actions = domain.definition.action_predicates
    for file in [file for file in domain.test_files if file.stat().st_size < 6_000][:6]:
        reference.reset(domain.task_from_file(file))
        gym = reference._env.domain
        original = PDDLProblemParser(
            str(file), gym.domain_name, gym.types, gym.predicates, gym.actions, gym.constants
        )
        ours = reference._env.problems[0]
        assert ours.initial_state == {
            atom for atom in original.initial_state if atom.predicate.name not in actions
        }
        assert set(ours.objects) == set(original.objects)
        assert str(ours.goal) == str(original.goal)
