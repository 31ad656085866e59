"""A domain's text for planners that must name every object of an action once only.

In PDDLGym's action spaces an action that names an object twice does not exist (`move rooma
rooma`), but nothing in the PDDL forbids it; a planner must be told.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from tasks.expressions import Form, Item, Word
from tasks.pddl import DomainDefinition, Operator
from tasks.standard_pddl import standard_domain


def planning_text(domain: DomainDefinition) -> str:
    """The domain as standard PDDL in which the arguments of every action differ."""
    operators = tuple(_with_distinct_arguments(operator, domain) for operator in domain.operators)
    if operators == domain.operators:
        return standard_domain(domain)
    features = domain.features | {"=", "not"}
    return standard_domain(replace(domain, operators=operators, features=features))


def _with_distinct_arguments(operator: Operator, domain: DomainDefinition) -> Operator:
    arguments = [operator.parameters[place] for place in operator.arguments]
    distinct: list[Item] = [
        _form(_form(first, second, head="="), head="not")
        for (first, one), (second, other) in itertools.combinations(arguments, 2)
        if first != second and _overlap(one, other, domain)
    ]
    if not distinct:
        return operator
    given = operator.precondition
    conditions: list[Item] = []
    if given is not None and len(given):
        conditions = given.rest if given.head == "and" else [given]
    return replace(operator, precondition=_form(*conditions, *distinct, head="and"))


def _overlap(one: str, other: str, domain: DomainDefinition) -> bool:
    """Whether an object can be of both types."""
    return any(
        domain.fits(first, second) or domain.fits(second, first)
        for first in one.split("|")
        for second in other.split("|")
    )


def _form(*items: Item | str, head: str) -> Form:
    words = [item if isinstance(item, Form) else _word(item) for item in (head, *items)]
    return Form(words, 0)


def _word(text: str) -> Word:
    word = Word(text)
    word.offset = 0
    return word
