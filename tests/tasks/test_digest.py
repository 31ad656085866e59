"""The digest: equal up to names and order, different for different contents."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.digest import content_digest, visible_digest
from tasks.domains import get_domain
from tasks.generators import GENERATORS
from tasks.pddl import Problem
from tasks.task import Atom

NODES = tuple("abcd")
EDGES = [("edge", a, b) for a in NODES for b in NODES if a != b]


def digest(problem: Problem) -> str:
    return content_digest("d", problem, frozenset())


def renamed(problem: Problem, rng: random.Random, fixed: frozenset[str] = frozenset()) -> Problem:
    names = [name for name, _ in problem.objects if name not in fixed]
    new = dict(zip(names, rng.sample([f"x{i}" for i in range(len(names))], len(names))))

    def rename(atom: Atom) -> Atom:
        head = 2 if atom[0] == "not" else 1
        return (*atom[:head], *(new.get(name, name) for name in atom[head:]))

    objects = [(new.get(name, name), kind) for name, kind in problem.objects]
    goal = [rename(atom) for atom in problem.goal]
    rng.shuffle(objects)
    rng.shuffle(goal)
    return Problem("other", tuple(objects), frozenset(map(rename, problem.initial)), tuple(goal))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(GENERATORS)), st.integers(0, 10**6), st.integers(0, 10**6))
def test_names_and_order_do_not_matter(name: str, seed: int, shuffle: int) -> None:
    domain = get_domain(name)
    generator = GENERATORS[name]
    size = {p.name: p.default[1] for p in generator.parameters}
    problem = generator.draw(random.Random(seed), size)
    other = renamed(problem, random.Random(shuffle))
    assert domain.task(problem, "").digest == domain.task(other, "").digest


def isomorphic(first: Problem, second: Problem) -> bool:
    for order in itertools.permutations(NODES):
        new = dict(zip(NODES, order))
        if {("edge", new[a], new[b]) for _, a, b in first.initial} == second.initial and {
            ("edge", new[a], new[b]) for _, a, b in first.goal
        } == set(second.goal):
            return True
    return False


@settings(deadline=None, max_examples=300)
@given(st.sets(st.sampled_from(EDGES)), st.integers(0, 10**6), st.sets(st.sampled_from(EDGES)))
def test_equal_exactly_where_a_renaming_exists(
    edges: set[Atom], seed: int, others: set[Atom]
) -> None:
    objects = tuple((name, "node") for name in NODES)
    first = Problem("p", objects, frozenset(edges), (("edge", "a", "b"),))
    for second in (
        Problem("q", objects, frozenset(others), (("edge", "c", "a"),)),
        _permuted(first, random.Random(seed)),
    ):
        assert (digest(first) == digest(second)) is isomorphic(first, second)


def _permuted(problem: Problem, rng: random.Random) -> Problem:
    new = dict(zip(NODES, rng.sample(NODES, 4)))
    initial = frozenset(("edge", new[a], new[b]) for _, a, b in problem.initial)
    return Problem("p", problem.objects, initial, (("edge", new["a"], new["b"]),))


def test_what_changes_the_content_changes_the_digest() -> None:
    base = Problem("p", (("a", "t"), ("b", "t")), frozenset({("p", "a")}), (("q", "a"),))
    others = [
        Problem("p", (("a", "t"), ("b", "t")), frozenset({("p", "a")}), (("q", "b"),)),
        Problem("p", (("a", "t"), ("b", "t")), frozenset({("p", "a")}), (("not", "q", "a"),)),
        Problem("p", (("a", "t"), ("b", "s")), frozenset({("p", "a")}), (("q", "a"),)),
        Problem("p", (("a", "t"),), frozenset({("p", "a")}), (("q", "a"),)),
        Problem("p", base.objects, frozenset({("p", "a"), ("q", "b")}), (("q", "a"),)),
    ]
    assert len({digest(problem) for problem in [base, *others]}) == 6
    assert content_digest("e", base, frozenset()) != digest(base)


def test_constants_are_not_renamed() -> None:
    objects = (("a", "t"), ("home", "t"), ("work", "t"))
    constants = frozenset({"home", "work"})
    goals = [(("at", "a", place),) for place in ("home", "work")]
    problems = [Problem("p", objects, frozenset(), goal) for goal in goals]
    assert len({content_digest("d", problem, constants) for problem in problems}) == 2
    assert len({content_digest("d", problem, frozenset()) for problem in problems}) == 1


def test_past_the_bound_names_count_but_contents_stay_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.digest.MOST_VISITS", 0)
    objects = tuple((name, "node") for name in NODES)
    problems = [Problem("p", objects, frozenset(), (edge,)) for edge in EDGES]
    assert len({digest(problem) for problem in problems}) == len(EDGES)


def looks(problem: Problem, labels: dict[str, str] | None = None) -> str:
    given = labels or dict(problem.objects)
    return visible_digest("d", problem, frozenset({"edge"}), given)


def test_what_is_not_shown_does_not_count() -> None:
    objects = tuple((name, "node") for name in NODES)
    goal = (("edge", "a", "b"),)
    base = Problem("p", objects, frozenset({("edge", "b", "c")}), goal)
    unused = Problem("p", objects[:3], base.initial, goal)
    static = Problem("p", objects, base.initial | {("far", "c", "d")}, goal)
    assert looks(base) == looks(unused) == looks(static)
    assert len({digest(base), digest(unused), digest(static)}) == 3
    assert looks(base) != looks(Problem("p", objects, frozenset({("edge", "c", "b")}), goal))


def test_words_that_tell_something_count() -> None:
    first, second = (Problem("p", (), frozenset(), (("edge", *pair),)) for pair in ("ab", "ba"))
    assert looks(first, {"a": "disc 1", "b": "disc 2"}) != looks(
        second, {"a": "disc 1", "b": "disc 2"}
    )
    assert looks(first, {"a": "disc", "b": "disc"}) == looks(second, {"a": "disc", "b": "disc"})


def test_past_the_bound_what_looks_alike_is_still_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.digest.MOST_VISITS", 0)
    labels = dict.fromkeys(NODES, "node")
    problems = [Problem("p", (), frozenset({edge}), (edge,)) for edge in EDGES]
    assert len({looks(problem, labels) for problem in problems}) == 1
    other = Problem("p", (), frozenset({("edge", "a", "b")}), (("edge", "b", "a"),))
    assert looks(other, labels) != looks(problems[0], labels)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["blocks", "gripper", "ferry"]), st.integers(0, 10**6), st.integers())
def test_the_visible_digest_does_not_depend_on_interchangeable_names(
    name: str, seed: int, shuffle: int
) -> None:
    domain = get_domain(name)
    size = {p.name: p.default[1] for p in GENERATORS[name].parameters}
    problem = GENERATORS[name].draw(random.Random(seed), size)
    kept = frozenset({"robot", "ferry", "left", "right"})
    other = renamed(problem, random.Random(shuffle), kept)
    assert domain.task(problem, "").visible == domain.task(other, "").visible
