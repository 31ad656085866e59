"""Templates and queries read as textworld reads them, and conditions of PDDL as they are meant."""

from __future__ import annotations

import pytest
from textworld.envs.pddl.textgen import _parse_and_convert as textworld_template

from tasks.alfworld.engine_facts import Facts, Plan
from tasks.alfworld.engine_grammar import (
    Condition,
    ForEach,
    Listing,
    Rule,
    read_query,
    read_template,
)
from tasks.alfworld.engine_names import name_entities
from tasks.alfworld.engine_pddl import read_game_domain, read_game_problem

TEMPLATES = [
    "a b #x.y# c",
    "\nAvail\n  b",
    "  lead",
    "a\n\n#t#\n b",
    "#t#  b",
    "#t#\n\n  b",
    "a; b",
    'say "hi" now',
    "{o.name})} x",
    "x [foo] y",
    "a < b",
    "{o.name | p(o:object)}",
    "[{#over(o)# | p(o:object) & q(o:object)}]",
    "{o.name|p(o:object)} and",
    "a\\nb",
    "//x\nb",
    "a\n//x\nb",
    "a\tb",
    "[ {o} ]",
    "{o}\tx",
    "#a##b#",
    "It's {o.name}.",
    "a|b",
    "",
    "#unclosed",
    '"unclosed',
    "{#x# | p()}",
    "é ü {o.name}",
    "[{o.name}]x",
    "{}",
    "\t\ta",
    "a\r\nb",
    "{a}\n{b}",
    '"a""b"',
    '#a#" b "',
    '\n"x"',
]


def plain(symbols: object) -> list[str]:
    """Symbols of ours or of textworld's as text."""
    found: list[str] = []
    for symbol in symbols:  # type: ignore[attr-defined]
        kind = type(symbol).__name__
        if isinstance(symbol, str) or kind == "TerminalSymbol":
            found.append(f"say {symbol}")
        elif kind in ("Rule", "NonterminalSymbol"):
            name = symbol.name if isinstance(symbol, Rule) else str(symbol).strip("#")
            found.append(f"rule {name}")
        elif isinstance(symbol, ForEach):
            found.append(f"each {of_ours(symbol)}")
        elif isinstance(symbol, Listing):
            found.append(f"list {of_ours(symbol.items)}")
        elif kind == "ListSymbol":
            found.append(f"list {of_textworld(symbol.symbol)}")
        else:
            found.append(f"each {of_textworld(symbol)}")
    return [text for text in found if text != "say "]


def of_ours(each: ForEach) -> str:
    inner = each.expression
    text = inner.name if isinstance(inner, Rule) else inner.text
    return f"{text.strip()} given {each.query is not None}"


def of_textworld(symbol: object) -> str:
    expression = str(symbol.expression).strip("#").strip()  # type: ignore[attr-defined]
    return f"{expression} given {bool(symbol.given)}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", TEMPLATES)
def test_templates_are_read_as_by_textworld(text: str) -> None:
    assert plain(read_template(text)) == plain(textworld_template(text, rule_name="symbols"))


def test_queries() -> None:
    assert read_query("p(a:agent, o) & not_q() & !r(o')") == (
        Condition("p", (("a", "agent"), ("o", "o"))),
        Condition("not_q", ()),
        Condition("not_r", (("o'", "o"),)),
    )


DOMAIN = """(define (domain toy)
 (:types place object tool - object)
 (:predicates (at ?o - object ?p - place) (sharp ?t - tool) (clean ?o - object) (far ?p - place))
 (:action wash :parameters (?o - object)
  :precondition (and (not (clean ?o)) (exists (?p - place) (and (at ?o ?p) (not (far ?p)))))
  :effect (and (clean ?o) (when (sharp ?o) (not (sharp ?o))) (increase (total-cost) 1))))"""

PROBLEM = """(define (problem p) (:domain toy)
 (:objects a b - object k - tool here there - place)
 (:init (at a here) (at b there) (at k here) (far there) (sharp k))
 (:goal {goal}))"""


def found(goal: str) -> bool:
    domain = read_game_domain(DOMAIN, "toy")
    problem = read_game_problem(PROBLEM.format(goal=goal), "p", domain)
    facts = Facts(domain, problem.objects, problem.initial)
    return any(Plan(facts, conjunction).search() for conjunction in problem.goal)


@pytest.mark.parametrize(
    ("goal", "holds"),
    [
        ("(at a here)", True),
        ("(and (at a here) (at a there))", False),
        ("(or (at a there) (at b there))", True),
        ("(not (or (at a there) (at b here)))", True),
        ("(not (and (at a here) (at b there)))", False),
        ("(imply (far here) (at a there))", True),
        ("(imply (far there) (at a there))", False),
        ("(exists (?x - object) (and (at ?x here) (sharp ?x)))", True),
        ("(exists (?x - tool) (at ?x there))", False),
        ("(exists (?x - object) (not (at ?x here)))", True),
        ("(exists (?x - nothing) (at ?x here))", False),
        ("(exists (?x ?y - object) (and (at ?x here) (at ?y here) (not (= ?x ?y))))", True),
        ("(exists (?x ?y - object) (and (at ?x there) (at ?y there) (not (= ?x ?y))))", False),
        ("(exists (?x - object) (exists (?x - place) (and (at a ?x) (far ?x))))", False),
        ("(exists (?p - place) (and (far ?p) (exists (?x - object) (at ?x ?p))))", True),
        ("(= a a)", True),
        ("()", True),
    ],
)
def test_conditions(goal: str, holds: bool) -> None:
    assert found(goal) == holds


def test_things_are_numbered_from_the_last() -> None:
    names = ["sink_bar_1_bar_sinkbasin", "mug_bar__plus_1", "mug_bar__minus_2", "mugtype"]
    entities = name_entities([("p", name) for name in names], dict.fromkeys(names, "object"))
    assert {name: entities[name].name for name in names} == {
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
        "mug_bar__plus_1": "mug 1",
        "mug_bar__minus_2": "mug 2",
        "mugtype": "mugtype ",
    }
