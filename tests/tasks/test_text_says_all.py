"""What the small LM reads fixes what it can do, and what the canonical teacher does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from configs.schema import RenderingConfig
from learner.planners import MimirPlanner, PlanLimits
from learner.traces import objects_in_order
from tasks.domains import Domain, get_domain
from tasks.generators import GENERATORS
from tasks.mimir_simulator import MimirSimulator
from tasks.naming import natural_key
from tasks.pddl import Problem
from tasks.rendering import Rendering
from tasks.task import Action, Atom, Simulator, Task

RENDERING = Rendering([get_domain(name) for name in GENERATORS], RenderingConfig())


def visible(domain: Domain, atoms: frozenset[Atom]) -> frozenset[Atom]:
    return frozenset(atom for atom in atoms if atom[0] in domain.shown_predicates)


def test_rules_speak_of_what_there_is() -> None:
    ordered: dict[str, bool] = {}
    for name, generator in GENERATORS.items():
        domain, rules = get_domain(name), generator.naming
        assert rules.shown <= domain.static_predicates
        assert rules.implied <= domain.fluent_predicates
        for pool in rules.pools:  # or a pool that is ordered in one domain would be so in all
            assert ordered.setdefault(pool.name, pool.ordered) == pool.ordered
        files = sorted((*domain.train_files, *domain.test_files), key=lambda f: f.stat().st_size)
        tasks = [domain.draw({}, seed) for seed in range(5)] + [domain.task_from_file(files[0])]
        for task in tasks:
            problem = domain.read_problem(task.problem, task.origin)
            pool_of = rules.classify(problem.objects, problem.initial)
            others = {pool_of[item] for item, _ in problem.objects if item not in rules.own_names}
            assert others <= {pool.name for pool in rules.pools}


@pytest.mark.parametrize("name", GENERATORS)
def test_what_is_shown_fixes_the_state(name: str) -> None:
    domain = get_domain(name)
    simulator = MimirSimulator(domain)
    for seed in range(12):
        task, rng = domain.draw({}, seed), random.Random(seed)
        states: dict[frozenset[Atom], frozenset[Atom]] = {}
        for _ in range(6):
            simulator.reset(task)
            for _ in range(25):
                atoms = simulator.atoms
                assert states.setdefault(visible(domain, atoms), atoms) == atoms
                actions = simulator.applicable_actions()
                if not actions:
                    break
                simulator.step(rng.choice(actions))


@pytest.mark.parametrize("name", GENERATORS)
def test_tasks_that_look_alike_are_alike(name: str) -> None:
    """Nothing that matters is hidden: neither atoms nor objects."""
    domain = get_domain(name)
    planner, simulator = MimirPlanner(domain), MimirSimulator(domain)
    alike: dict[str, list[Task]] = {}
    for seed in range(400):
        task = domain.draw({}, seed)
        alike.setdefault(task.visible, []).append(task)
    groups = [tasks for tasks in alike.values() if len({task.digest for task in tasks}) > 1]
    for tasks in groups[:12]:
        plans = [planner.plan(task, PlanLimits()) for task in tasks[:4]]
        assert len({plan.cost for plan in plans if plan.optimal}) <= 1
    for tasks in groups:
        assert len({possible(domain, simulator, task) for task in tasks}) == 1


def possible(domain: Domain, simulator: Simulator, task: Task) -> tuple[tuple[str, int], ...]:
    """How many actions of each name apply at the start to objects that are shown."""
    simulator.reset(task)
    atoms = (*visible(domain, simulator.atoms), *simulator.goal)
    shown = {name for atom in atoms for name in atom[1:]} | domain.naming_rules.own_names
    names = [action[0] for action in simulator.applicable_actions() if shown.issuperset(action[1:])]
    return tuple(sorted(Counter(names).items()))


@pytest.mark.parametrize("name", GENERATORS)
def test_the_canonical_plan_follows_from_the_text(name: str) -> None:
    """Renamed and reordered where names say nothing, the plan is the same but for the names."""
    domain = get_domain(name)
    simulator, planner = MimirSimulator(domain), MimirPlanner(domain)
    fixed = [pool.name for pool in domain.naming_rules.pools if pool.ordered]
    optimal = 0
    for seed in range(15):
        task, rng = domain.draw({}, 100 + seed), random.Random(seed)
        simulator.reset(task)
        naming = RENDERING.naming(simulator, seed)
        prompt = RENDERING.prompt(simulator, naming)
        order = objects_in_order(simulator, naming, prompt)
        other = RENDERING.naming(simulator, seed + 1)
        assert order == objects_in_order(simulator, other, RENDERING.prompt(simulator, other))
        outcome = planner.plan(task, PlanLimits(), lambda _, order=order: order)
        assert outcome.status == "solved"
        if not outcome.optimal:
            continue
        optimal += 1
        problem = domain.read_problem(task.problem, "drawn")
        new = permutation(domain, problem, rng)
        mentioned = set(prompt.split())
        shown = [new[name] for name in order if naming.word[name] in mentioned]
        renamed = domain.task(rename(domain, problem, new, rng), "renamed")
        again = planner.plan(renamed, PlanLimits(), lambda _, shown=shown: shown)
        assert again.plan == tuple(renamed_atom(action, new) for action in outcome.plan)
        said = {naming.word[name] for action in outcome.plan for name in action[1:]}
        known = mentioned | domain.naming_rules.own_names
        assert all(word.rstrip("0123456789") in fixed for word in said - known)
    assert optimal >= 12


def permutation(domain: Domain, problem: Problem, rng: random.Random) -> dict[str, str]:
    """New names for the objects: exchanged within each pool whose names say nothing."""
    rules = domain.naming_rules
    free = {pool.name for pool in rules.pools if not pool.ordered}
    pool_of = rules.classify(problem.objects, problem.initial)
    members: dict[str, list[str]] = {}
    for name, _ in problem.objects:
        if name not in rules.own_names and pool_of[name] in free:
            members.setdefault(pool_of[name], []).append(name)
    new = {name: name for name, _ in problem.objects}
    for names in members.values():
        new |= dict(zip(names, rng.sample(names, len(names))))
    return new


def rename(domain: Domain, problem: Problem, new: Mapping[str, str], rng: random.Random) -> Problem:
    """The problem with new names; objects in another order, but for those of ordered pools."""
    pool_of = domain.naming_rules.classify(problem.objects, problem.initial)
    ordered = {pool.name for pool in domain.naming_rules.pools if pool.ordered}
    objects = [(new[name], kind) for name, kind in problem.objects]
    rng.shuffle(objects)
    places = [i for i, (name, _) in enumerate(objects) if pool_of[name] in ordered]
    kept = sorted((objects[i] for i in places), key=lambda pair: natural_key(pair[0]))
    for place, pair in zip(places, kept):
        objects[place] = pair
    return Problem(
        problem.name,
        tuple(objects),
        frozenset(renamed_atom(atom, new) for atom in problem.initial),
        tuple(renamed_atom(atom, new) for atom in problem.goal),
    )


def renamed_atom(atom: Sequence[str] | Action, new: Mapping[str, str]) -> Atom:
    head = 2 if atom[0] == "not" else 1
    return (*atom[:head], *(new[name] for name in atom[head:]))
