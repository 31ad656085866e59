"""How much of a goal is met, counted as ALFRED does (`alfworld.env.tasks`), in the full state."""

from __future__ import annotations

from collections import Counter

from tasks.alfworld.statement import Statement
from tasks.task import Atom

_FACT = {"cleaned": "isclean", "heated": "ishot", "cooled": "iscool"}


def condition_count(statement: Statement) -> int:
    """How many conditions the task has: ALFRED counts part of a treatment's as one of its own."""
    return 3 if statement.treatment else 2 if statement.lamp else statement.count


def conditions_met(statement: Statement, facts: frozenset[Atom]) -> int:
    """How many of them hold in a state given as facts (`GameEngine.hidden_facts`)."""
    if statement.lamp:
        return _lamp_conditions(statement, facts)
    placed = [
        (fact[1], fact[2])
        for fact in facts
        if fact[0] == "inreceptacle"
        and _is(fact[1], statement.wanted)
        and _is(fact[2], statement.target)
    ]
    if statement.count > 1:
        fullest = max(Counter(receptacle for _, receptacle in placed).values(), default=0)
        return min(fullest, statement.count)
    if not statement.treatment:
        return int(bool(placed))
    treated = {
        fact[1]
        for fact in facts
        if fact[0] == _FACT[statement.treatment] and _is(fact[1], statement.wanted)
    }
    return bool(placed) + bool(treated) + any(name in treated for name, _ in placed)


def _lamp_conditions(statement: Statement, facts: frozenset[Atom]) -> int:
    """The object is held; a lamp that is on stands where the agent is."""
    held = any(fact[0] == "holds" and _is(fact[2], statement.wanted) for fact in facts)
    here = {fact[2] for fact in facts if fact[0] == "atlocation"}
    at_hand = {f[1] for f in facts if f[0] == "receptacleatlocation" and f[2] in here}
    near = {fact[1] for fact in facts if fact[0] == "inreceptacle" and fact[2] in at_hand}
    lit = {fact[1] for fact in facts if fact[0] == "istoggled" and _is(fact[1], statement.lamp)}
    return held + bool(lit & near)


def _is(name: str, kind: str) -> bool:
    """Whether a thing's name ("apple 1") is of a type."""
    return name.split()[0] == kind
