"""Reading PDDL: what is accepted, and that errors name file and line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.pddl import problem_text, read_domain, read_problem
from tasks.standard_pddl import standard_domain

DOMAIN = """(define (domain toy)
  (:requirements :typing)
  (:types thing - object place)
  (:constants home - place)
  (:predicates (at ?x - thing ?p - place) (near ?p - place ?q - place) (go ?x - thing ?p - place))
  ; (:actions go)
  (:action go-there
    :parameters (?x - thing ?p - place ?q - place)
    :precondition (and (go ?x ?q) (at ?x ?p) (near ?p ?q))
    :effect (and (not (at ?x ?p)) (at ?x ?q)))
)
"""
PROBLEM = """(define (problem p)
  (:domain toy)
  (:goal (and (at a home) (not (at b there))))
  (:init (at a there) ; a comment
         (near there home) (go a home)
         (at b there))
  (:objects a b - thing there - place)
)
"""


def test_a_domain_with_action_predicates() -> None:
    domain = read_domain(DOMAIN, "toy.pddl")
    assert domain.actions == {"go": 2}
    assert domain.action_types == {"go": ("thing", "place")}
    assert set(domain.predicates) == {"at", "near"}
    assert domain.fluents == {"at"}
    assert domain.operators[0].action_of(["a", "there", "home"]) == ("go", "a", "home")


def test_sections_may_stand_in_any_order() -> None:
    problem = read_problem(PROBLEM, "p.pddl", read_domain(DOMAIN, "toy.pddl"))
    assert problem.objects == (
        ("a", "thing"),
        ("b", "thing"),
        ("there", "place"),
        ("home", "place"),
    )
    assert problem.initial == {
        ("at", "a", "there"),
        ("near", "there", "home"),
        ("at", "b", "there"),
    }
    assert problem.goal == (("at", "a", "home"), ("not", "at", "b", "there"))


def test_the_written_problem_reads_the_same() -> None:
    domain = read_domain(DOMAIN, "toy.pddl")
    problem = read_problem(PROBLEM, "p.pddl", domain)
    assert read_problem(problem_text(problem, domain), "again", domain) == problem


def test_a_goal_for_all_is_a_conjunction() -> None:
    domain = read_domain(DOMAIN, "toy.pddl")
    text = PROBLEM.replace("(at a home)", "(forall (?x - thing ?p - place) (at ?x ?p))")
    goal = read_problem(text, "p.pddl", domain).goal
    every = [("at", x, p) for x in ("a", "b") for p in ("there", "home")]
    assert goal[: len(every)] == tuple(every)


def test_a_blank_may_be_missing_before_a_type() -> None:
    domain = read_domain(DOMAIN, "toy.pddl")
    mended = read_problem(PROBLEM.replace("b - thing", "b -thing"), "p.pddl", domain)
    assert mended == read_problem(PROBLEM, "p.pddl", domain)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("(at a home)", "(at a hom)", 3, "'hom' is not an object"),
        ("(at a home)", "(at a)", 3, "'at' takes 2 arguments but got 1"),
        ("(at a home)", "(at home a)", 3, "'home' has type 'place' but 'at' takes 'thing'"),
        ("(at a home)", "(or (at a home))", 3, "goals with 'or' are not supported"),
        ("(at b there))", "(beside b there))", 6, "'beside' is not a predicate of domain 'toy'"),
        ("(:domain toy)", "(:domain toys)", 2, "for domain 'toys', not for 'toy'"),
        ("there - place)", "there - place", 1, "never closed"),
        ("(problem p)", "(problem p))", 2, "after the end"),
        ("thing there", "thing a there", 1, "unknown"),
        ("(at a home)", "(exists (?p - place) (at a ?p))", 3, "goals with 'exists' are not"),
    ],
)
def test_errors_in_a_problem_name_file_and_line(
    old: str, new: str, line: int, message: str
) -> None:
    domain = read_domain(DOMAIN, "toy.pddl")
    if message == "unknown":
        message, new = "declared twice", "thing a - thing there"
    with pytest.raises(TaskError) as caught:
        read_problem(PROBLEM.replace(old, new), "folder/p.pddl", domain)
    assert str(caught.value).startswith(f"folder/p.pddl:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("(near ?p ?q))", "(nearby ?p ?q))", 9, "'nearby' is not a predicate"),
        ("(at ?x ?q)))", "(at ?x ?z)))", 10, "'?z' is neither a parameter nor a constant"),
        ("(not (at ?x ?p))", "(not (at ?x))", 10, "'at' takes 2 arguments but got 1"),
        ("(go ?x ?q)", "(go ?x home)", 9, "arguments must be parameters, not 'home'"),
        (":actions go)", ":actions fly)", 1, "action 'fly' of (:actions ...) is not a predicate"),
        ("(go ?x ?q) ", "", 7, "must have exactly one action"),
        ("(:types", "(:kinds", 3, "unknown section ':kinds'"),
        ("home - place)\n", "home - city)\n", 1, "'home' has unknown type 'city'"),
    ],
)
def test_errors_in_a_domain_name_file_and_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        read_domain(DOMAIN.replace(old, new), "toy.pddl")
    assert str(caught.value).startswith(f"toy.pddl:{line}: ")
    assert message in str(caught.value)


TOKEN = re.compile(r"[()]|[^\s();]+")


@settings(deadline=None, max_examples=400)
@given(
    st.booleans(),
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["drop", "double", "swap", "word"])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["(", ")", "-", "?", "and", "not", "-x", ":init", "either", "=", "object"]),
)
def test_a_damaged_text_reads_or_fails_with_its_line(
    damage_domain: bool, damages: list[tuple[int, str]], word: str
) -> None:
    text = DOMAIN if damage_domain else PROBLEM
    tokens = TOKEN.findall("\n".join(line.partition(";")[0] for line in text.splitlines()))
    for place, kind in damages:
        at = place % len(tokens)
        if kind == "drop":
            del tokens[at]
        elif kind == "double":
            tokens.insert(at, tokens[at])
        elif kind == "swap":
            tokens[at], tokens[at - 1] = tokens[at - 1], tokens[at]
        else:
            tokens[at] = word
    damaged = "; (:actions go)\n" * damage_domain + "\n".join(tokens)
    try:
        if damage_domain:
            standard_domain(read_domain(damaged, "f.pddl"))
        else:
            domain = read_domain(DOMAIN, "toy.pddl")
            problem_text(read_problem(damaged, "f.pddl", domain), domain)
    except TaskError as error:
        assert re.match(r"f\.pddl:\d+: \S", str(error))  # noqa: PT017


def test_brackets_without_end() -> None:
    with pytest.raises(TaskError, match=r"deep\.pddl:1: brackets are nested more than 100 deep"):
        read_domain("(" * 100_000, "deep.pddl")


def test_an_empty_text_is_an_error() -> None:
    with pytest.raises(TaskError, match=r"none\.pddl:1: the file is empty"):
        read_domain("; nothing\n", "none.pddl")


def test_the_standard_text_reads_back_without_action_predicates() -> None:
    for name in ("blocks", "ferry", "hanoi", "gripper"):
        domain = get_domain(name)
        again = read_domain(domain.standard_text, "standard")
        assert again.action_predicates == {}
        assert again.predicates == domain.definition.predicates
        assert again.fluents == domain.definition.fluents
