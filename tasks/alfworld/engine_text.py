"""Saying what a grammar says about the facts of a game.

Equal, text for text, to textworld's own generator, which parses each template again whenever it
is used and copies its whole context for each match of a query. The matches of a query stand in
the order of textworld's logic: predicate by predicate, facts by the types of their arguments
(breadth first below the types asked for) and then by their names; and different placeholders
always stand for different things.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tasks.alfworld.engine_facts import Facts, Row
from tasks.alfworld.engine_grammar import (
    Condition,
    Entity,
    Expression,
    ForEach,
    Grammar,
    Listing,
    Query,
    Rule,
    Template,
)
from tasks.alfworld.engine_pddl import GameDomain
from tasks.errors import TaskError

_DEEPEST = 50

Mapped: TypeAlias = dict[tuple[str, str], str]
"""What each placeholder (name, type) stands for."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a template may speak of."""

    mapping: Mapped
    variables: dict[str, Entity]


class Narrator:
    """Fills a grammar's templates from the facts of one game."""

    def __init__(
        self,
        grammar: Grammar,
        facts: Facts,
        entities: Mapping[str, Entity],
        domain: GameDomain,
    ) -> None:
        self._grammar = grammar
        self._facts = facts
        self._entities = entities
        self._children: dict[str, list[str]] = {}
        for child in sorted(domain.types):
            for parent in domain.supertypes(child)[1:]:
                self._children.setdefault(parent, []).append(child)
        self._orders: dict[Condition, dict[Row, int]] = {}

    def context(self, mapping: Mapped) -> Context:
        """The context in which an action with these arguments is spoken of."""
        variables: dict[str, Entity] = {}
        for (name, kind), value in mapping.items():
            if value not in self._entities or self._facts.types[value] != kind:
                raise TaskError(
                    f"The game's problem has an action on '{value}', of which it tells no fact "
                    f"or which is not simply of type '{kind}'."
                )
            variables[name] = self._entities[value]
        return Context(mapping, variables)

    def say(self, template: Template, context: Context, depth: int = 0) -> str:
        """The text of the template."""
        if depth > _DEEPEST:
            raise TaskError(f"The game's grammar has rules nested more than {_DEEPEST} deep.")
        said: list[str] = []
        for symbol in template:
            if isinstance(symbol, str):
                said.append(symbol)
            elif isinstance(symbol, Rule):
                said.append(self._rule(symbol, context, depth))
            elif isinstance(symbol, ForEach):
                said.extend(self._for_each(symbol, context, depth))
            else:
                said.append(self._listing(symbol, context, depth))
        return "".join(said)

    def reads(self, template: Template, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        """The predicates on which the template's text can depend."""
        found: set[str] = set()
        for symbol in template:
            each = symbol.items if isinstance(symbol, Listing) else symbol
            rules = ["list_empty", "list_separator", "list_last_separator"]
            if not isinstance(symbol, Listing):
                rules = []
            if isinstance(each, ForEach):
                found.update(condition.predicate for condition in each.query or ())
                each = each.expression if isinstance(each.expression, Rule) else ""
            if isinstance(each, Rule):
                rules.append(each.name)
            for name in rules:
                if name not in seen:
                    for alternative in self._grammar.rules.get(name, ()):
                        found.update(x.predicate for x in alternative.condition or ())
                        found |= self.reads(alternative.template, seen | {name})
        return frozenset(found)

    def _rule(self, rule: Rule, context: Context, depth: int) -> str:
        for alternative in self._grammar.rules.get(rule.name, ()):
            if alternative.condition is None or self._matches(
                alternative.condition, context.mapping
            ):
                return self.say(alternative.template, context, depth + 1)
        raise TaskError(f"The game's grammar has no rule '#{rule.name}#' that applies here.")

    def _for_each(self, symbol: ForEach, context: Context, depth: int) -> list[str]:
        contexts = [context]
        if symbol.query is not None:
            contexts = [
                Context(
                    mapping,
                    context.variables
                    | {name: self._entities[value] for (name, _), value in mapping.items()},
                )
                for mapping in self._matches(symbol.query, context.mapping)
            ]
        expression = symbol.expression
        if isinstance(expression, Rule):
            return [self._rule(expression, each, depth) for each in contexts]
        return [self._value(expression, each) for each in contexts]

    def _value(self, expression: Expression, context: Context) -> str:
        try:
            return str(expression.evaluate(context.variables))
        except KeyError as error:
            raise TaskError(
                f"The game's grammar speaks of {error} in '{expression.text}', "
                "but nothing of that name is at hand there."
            ) from error

    def _listing(self, symbol: Listing, context: Context, depth: int) -> str:
        items = self._for_each(symbol.items, context, depth)
        if not items:
            return self._rule(Rule("list_empty"), context, depth)
        if len(items) == 1:
            return items[0]
        separator = self._rule(Rule("list_separator"), context, depth)
        last = self._rule(Rule("list_last_separator"), context, depth)
        return separator.join(items[:-1]) + last + items[-1]

    def _matches(self, query: Query, mapping: Mapped) -> list[Mapped]:
        """The mapping extended in every way in which the query holds, in textworld's order."""
        mappings = [mapping]
        for condition in query:
            mappings = [
                extended for each in mappings for extended in self._extended(condition, each)
            ]
        return mappings

    def _extended(self, condition: Condition, mapping: Mapped) -> list[Mapped]:
        placeholders = condition.placeholders
        known = tuple(place for place, x in enumerate(placeholders) if x in mapping)
        key = tuple([mapping[placeholders[place]] for place in known])
        found = self._facts.index(condition.predicate, known).get(key)
        if not found:
            return []
        ranks = self._ranks(condition)
        ranked: list[tuple[int, Row]] = []
        for row in found:
            rank = ranks.get(tuple([self._facts.types[name] for name in row]))
            if rank is not None:
                ranked.append((rank, row))
        ranked.sort()
        if len(known) == len(placeholders):
            return [mapping for _ in ranked]
        used = set(mapping.values())
        result: list[Mapped] = []
        for _, row in ranked:
            added: Mapped = {}
            for placeholder, value in zip(placeholders, row):
                if placeholder in mapping:
                    continue
                if placeholder in added:
                    if added[placeholder] != value:
                        break
                elif value in used or value in added.values():
                    break
                else:
                    added[placeholder] = value
            else:
                result.append(mapping | added)
        return result

    def _ranks(self, condition: Condition) -> dict[Row, int]:
        """Types of arguments that fit the condition → their place in textworld's order."""
        ranks = self._orders.get(condition)
        if ranks is None:
            first = tuple(kind for _, kind in condition.placeholders)
            order = [first]
            seen = {first}
            queue = deque([first])
            while queue:
                kinds = queue.popleft()
                for place, kind in enumerate(kinds):
                    for child in self._children.get(kind, ()):
                        below = (*kinds[:place], child, *kinds[place + 1 :])
                        if below not in seen:
                            seen.add(below)
                            order.append(below)
                            queue.append(below)
            ranks = self._orders[condition] = {kinds: rank for rank, kinds in enumerate(order)}
        return ranks
