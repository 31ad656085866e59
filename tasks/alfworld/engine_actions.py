"""The actions of a game: when they apply, what they change, what the player calls them.

As in Fast Downward's translation, an action that its own precondition shows to change nothing
(going to where one is) does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.alfworld.engine_facts import Facts, Plan, Row
from tasks.alfworld.engine_grammar import Template
from tasks.alfworld.engine_pddl import Conjunction, Literal, Schema
from tasks.alfworld.engine_text import Mapped, Narrator


@dataclass(frozen=True, slots=True)
class _Atom:
    """An atom whose arguments stand in a row (place ≥ 0) or are given (place -1)."""

    predicate: str
    sources: tuple[tuple[int, str], ...]

    def ground(self, row: Row) -> tuple[str, Row]:
        return self.predicate, tuple(
            [row[place] if place >= 0 else name for place, name in self.sources]
        )


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way in which the action applies; `guards`: what its precondition says, if it may idle."""

    plan: Plan
    columns: tuple[int, ...]
    guards: tuple[tuple[_Atom, bool], ...] | None


class GameAction:
    """One of the domain's actions in one game."""

    def __init__(
        self, schema: Schema, facts: Facts, command: Template, answer: Template, constant: bool
    ) -> None:
        """`constant`: the command's text does not depend on what can change."""
        self.answer = answer
        self._facts = facts
        self._command = command
        self._known: dict[Row, str] | None = {} if constant else None
        self._placeholders = [(name.strip("?"), kind) for name, kind in schema.parameters]
        places = {name: place for place, (name, _) in enumerate(schema.parameters)}
        self._effects = [
            (
                _atom(effect.literal, places),
                effect.literal.positive,
                [Plan(facts, each, schema.parameters) for each in effect.conditions]
                if effect.conditions != (Conjunction(),)
                else None,
            )
            for effect in schema.effects
        ]
        self._variants = [self._variant(schema, variant) for variant in schema.variants]

    def applicable(self) -> list[Row]:
        """The values of the parameters for which the action applies now, each once."""
        found: dict[Row, None] = {}
        for variant in self._variants:
            for row in variant.plan.search():
                values = tuple([row[column] for column in variant.columns])
                if variant.guards is None or not self._idle(values, row, variant.guards):
                    found[values] = None
        return sorted(found)

    def mapping(self, values: Row) -> Mapped:
        """The values by placeholder, for the narrator."""
        return dict(zip(self._placeholders, values))

    def command(self, values: Row, narrator: Narrator) -> str:
        """What the player types to take the action."""
        if self._known is None:
            return narrator.say(self._command, narrator.context(self.mapping(values)))
        command = self._known.get(values)
        if command is None:
            command = narrator.say(self._command, narrator.context(self.mapping(values)))
            self._known[values] = command
        return command

    def apply(self, values: Row) -> None:
        """Take the action. An atom made false leaves "not_..." behind, as in textworld's facts."""
        added: list[tuple[str, Row]] = []
        removed: list[tuple[str, Row]] = []
        for atom, positive, conditions in self._effects:
            if conditions is None or any(plan.search(values) for plan in conditions):
                (added if positive else removed).append(atom.ground(values))
        for predicate, arguments in removed:
            self._facts.remove(predicate, arguments)
            self._facts.add(f"not_{predicate}", arguments)
        for predicate, arguments in added:
            self._facts.add(predicate, arguments)
            self._facts.remove(f"not_{predicate}", arguments)

    def _variant(self, schema: Schema, variant: Conjunction) -> _Variant:
        plan = Plan(
            self._facts,
            Conjunction((*schema.parameters, *variant.variables), variant.literals),
        )
        columns = tuple(plan.slots[name] for name, _ in schema.parameters)
        required = {literal.predicate for literal in variant.literals if literal.positive}
        may_idle = all(
            conditions is None and (not positive or atom.predicate in required)
            for atom, positive, conditions in self._effects
        )
        guards = None
        if may_idle:
            guards = tuple((_atom(x, plan.slots), x.positive) for x in variant.literals)
        return _Variant(plan, columns, guards)

    def _idle(self, values: Row, row: Row, guards: tuple[tuple[_Atom, bool], ...]) -> bool:
        added = {atom.ground(values) for atom, positive, _ in self._effects if positive}
        removed = {atom.ground(values) for atom, positive, _ in self._effects if not positive}
        true = {atom.ground(row) for atom, positive in guards if positive}
        false = {atom.ground(row) for atom, positive in guards if not positive}
        return added <= true and removed - added <= false


def _atom(literal: Literal, places: dict[str, int]) -> _Atom:
    return _Atom(literal.predicate, tuple((places.get(x, -1), x) for x in literal.arguments))
