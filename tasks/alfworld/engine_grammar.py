"""ALFWorld's grammar: how a game's file says what the world answers.

A grammar document (`alfred.twl2`) gives each action the template of its command and of its answer,
and blocks of JSON with rules: name → alternatives, each with a condition and a template. In a
template, `#name#` is replaced by a rule, `{expression | query}` by the expression for every match
of the query, and `[...]` around it makes that an English list. This reads the language as
textworld's parsers read it, oddities included: a template silently ends where it cannot be read
on, and white space at its beginning is dropped. Expressions are names, attributes, strings, `+`
and `or`; anything else, which textworld would hand to `eval`, is refused.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, TypeAlias

from tasks.errors import TaskError


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing as texts may speak of it."""

    id: str
    type: str
    name: str
    definite: str = "the"
    indefinite: str = "a"

    def __str__(self) -> str:
        return self.name


Variables: TypeAlias = Mapping[str, Entity]
_Value: TypeAlias = str | Entity


@dataclass(frozen=True, slots=True)
class Condition:
    """One predicate of a query with its (name, type) placeholders."""

    predicate: str
    placeholders: tuple[tuple[str, str], ...]


Query: TypeAlias = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`#name#`: to be replaced by the first rule of that name whose condition holds."""

    name: str


@dataclass(frozen=True, slots=True)
class Expression:
    """To be replaced by its value."""

    text: str
    evaluate: Callable[[Variables], _Value]


@dataclass(frozen=True, slots=True)
class ForEach:
    """The expression once for every match of the query (once, if there is no query)."""

    expression: Rule | Expression
    query: Query | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The same as an English list."""

    items: ForEach


Symbol: TypeAlias = str | Rule | ForEach | Listing
Template: TypeAlias = tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A rule's right-hand side, used if its condition holds (or there is none)."""

    condition: Query | None
    template: Template


@dataclass(frozen=True, slots=True)
class Grammar:
    """Action (lower case) → (template of the command, template of the answer); and the rules."""

    actions: Mapping[str, tuple[Template, Template]]
    rules: Mapping[str, tuple[Alternative, ...]]


_TOKEN = re.compile(
    r'\s+|\#[^\n]*|(?P<block>"""(?:.|\n)*?""")|(?P<string>"[^"]*")|(?P<sign>::|[{};])'
    r"|(?P<word>[\w/-]+)"
)
_MARGIN = re.compile(r"//[^\n]*\n?|\s*\n?")
_LITERAL = re.compile(r'[^;|"<>\[\]#{}]*')
_QUOTED = re.compile(r'"([^;|"<>\[\]#{}]*)"')
_RULE = re.compile(r"#([\w()/!<>\-\s,.]+)#")
_EACH = re.compile(
    r"\{(?:#(?P<rule>[\w()/!<>\-\s,.]+)#|(?P<expression>[^|\[\]{}\n<>]+))"
    r"(?:\s*\|\s*(?P<query>[^;|{}\n\[\]#]+))?\}"
)
_CONDITION = re.compile(r"\s*(!?[\w/]+)\s*\(([^()]*)\)\s*")
_PLACEHOLDER = re.compile(r"\s*([\w']+)\s*(?::\s*([\w/-]+)\s*)?")
_ATTRIBUTES = ("id", "type", "name", "definite", "indefinite")


def read_grammar(text: str, source: str) -> Grammar:
    """Read a grammar document; `TaskError "SOURCE:LINE: ..."` where it cannot be played."""
    return _DocumentReader(text, source).read()


@lru_cache(maxsize=4096)
def read_template(text: str) -> Template:
    """Read a template; `TaskError` for an expression or a query that cannot be played."""
    symbols: list[Symbol] = []
    position = 0
    while True:
        while text.startswith("\t", position):
            position += 1
        if position == 0 or text[position - 1] == "\n":
            margin = _MARGIN.match(text, position)
            if margin is not None and margin.end() > position:
                position = margin.end()
                continue
        symbol, end = _symbol(text, position)
        if symbol is None or end == position:
            return tuple(symbols)
        symbols.append(symbol)
        position = end


def _symbol(text: str, position: int) -> tuple[Symbol | None, int]:
    first = text[position : position + 1]
    if first == "[":
        each = _EACH.match(text, position + 1)
        if each is not None and text.startswith("]", each.end()):
            return Listing(_for_each(each)), each.end() + 1
    elif first == "{":
        each = _EACH.match(text, position)
        if each is not None:
            return _for_each(each), each.end()
    elif first == "#":
        rule = _RULE.match(text, position)
        if rule is not None:
            return Rule(rule[1]), rule.end()
    elif first == '"':
        quoted = _QUOTED.match(text, position)
        if quoted is not None:
            return quoted[1], quoted.end()
    else:
        literal = _LITERAL.match(text, position)
        if literal is not None:
            return literal[0], literal.end()
    return None, position


def _for_each(match: re.Match[str]) -> ForEach:
    given = match["query"]
    query = None if given is None else read_query(given)
    if match["rule"] is not None:
        return ForEach(Rule(match["rule"]), query)
    return ForEach(_expression(match["expression"]), query)


@lru_cache(maxsize=4096)
def read_query(text: str) -> Query:
    """Read `openable(r:receptacle) & opened(r:receptacle)`; `TaskError` if it is something else."""
    conditions: list[Condition] = []
    for part in text.split("&"):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise TaskError(f"The game's grammar has a query that cannot be read: '{text}'.")
        name = match[1]
        if name.startswith("!"):
            name = name[1:]
            name = name.removeprefix("not_") if name.startswith("not_") else f"not_{name}"
        placeholders: list[tuple[str, str]] = []
        for given in match[2].split(",") if match[2].strip() else []:
            placeholder = _PLACEHOLDER.fullmatch(given)
            if placeholder is None:
                raise TaskError(f"The game's grammar has a query that cannot be read: '{text}'.")
            placeholders.append((placeholder[1], placeholder[2] or placeholder[1].rstrip("'")))
        conditions.append(Condition(name, tuple(placeholders)))
    return tuple(conditions)


def _expression(text: str) -> Expression:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise TaskError(
            f"The game's grammar has an expression that cannot be read: '{text}' ({error})."
        ) from error
    return Expression(text, _evaluator(tree.body, text))


def _evaluator(node: ast.expr, text: str) -> Callable[[Variables], _Value]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        constant = node.value
        return lambda variables: constant
    if isinstance(node, ast.Name):
        name = node.id
        return lambda variables: variables[name]
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in _ATTRIBUTES
    ):
        owner, attribute = node.value.id, node.attr
        return lambda variables: str(getattr(variables[owner], attribute))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _evaluator(node.left, text), _evaluator(node.right, text)
        return lambda variables: str(left(variables)) + str(right(variables))
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        values = [_evaluator(value, text) for value in node.values]

        def first_true(variables: Variables) -> _Value:
            for value in values[:-1]:
                found = value(variables)
                if found:
                    return found
            return values[-1](variables)

        return first_true
    raise TaskError(
        f"The game's grammar has the expression '{text}'; only names, attributes "
        f"({', '.join(_ATTRIBUTES)}), strings, '+' and 'or' are evaluated."
    )


class _DocumentReader:
    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.tokens: list[tuple[str, str, int]] = []
        self.position = 0

    def fail(self, offset: int, message: str) -> NoReturn:
        line = self.text.count("\n", 0, offset) + 1
        raise TaskError(f"{self.source}:{line}: {message}")

    def read(self) -> Grammar:
        offset = 0
        while offset < len(self.text):
            match = _TOKEN.match(self.text, offset)
            if match is None:
                self.fail(offset, f"unexpected {self.text[offset]!r} in the grammar")
            if match.lastgroup is not None:
                self.tokens.append((match.lastgroup, match[0], offset))
            offset = match.end()
        actions: dict[str, tuple[Template, Template]] = {}
        rules: dict[str, tuple[Alternative, ...]] = {}
        while self.position < len(self.tokens):
            if self.peek() == "grammar":
                rules.update(self.rules(self.part("grammar", "block"), commented=False))
            else:
                self.take("action")
                name = self.take(kind="word").lower()
                self.take("{")
                parts = {"template": "", "feedback": ""}
                while self.peek() != "}":
                    key = self.peek()
                    if key in parts:
                        parts[key] = self.part(key, "string")[1][1:-1]
                    elif key == "grammar":
                        rules.update(self.rules(self.part(key, "block"), commented=True))
                    else:
                        self.part("pddl", "block")
                self.take("}")
                actions[name] = (
                    read_template(parts["template"]),
                    read_template(parts["feedback"]),
                )
        return Grammar(actions, rules)

    def peek(self) -> str:
        if self.position == len(self.tokens):
            self.fail(len(self.text), "the grammar ends in the middle of something")
        return self.tokens[self.position][1]

    def take(self, wanted: str = "", kind: str = "") -> str:
        found = self.peek()
        if (wanted and found != wanted) or (kind and self.tokens[self.position][0] != kind):
            offset = self.tokens[self.position][2]
            self.fail(offset, f"expected '{wanted or kind}' in the grammar but found '{found}'")
        self.position += 1
        return found

    def part(self, key: str, kind: str) -> tuple[int, str]:
        self.take(key)
        self.take("::")
        offset = self.tokens[self.position][2] if self.position < len(self.tokens) else 0
        value = self.take(kind=kind)
        self.take(";")
        return offset, value

    def rules(self, block: tuple[int, str], commented: bool) -> dict[str, tuple[Alternative, ...]]:
        offset, text = block[0], block[1][3:-3]
        if commented:
            lines = text.split("\n")
            text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.fail(offset, f"this block of the grammar is not JSON: {error}")
        rules: dict[str, tuple[Alternative, ...]] = {}
        if not isinstance(data, dict):
            self.fail(offset, "this block of the grammar is not a JSON object")
        for name, alternatives in data.items():
            if not isinstance(alternatives, list):
                self.fail(offset, f"the grammar's rule '{name}' is not a list")
            found: list[Alternative] = []
            for given in alternatives:
                if not isinstance(given, dict) or not isinstance(given.get("rhs"), str):
                    self.fail(offset, f"the grammar's rule '{name}' has no text 'rhs'")
                condition = given.get("condition", "")
                if not isinstance(condition, str):
                    self.fail(offset, f"the grammar's rule '{name}' has a condition of no text")
                found.append(
                    Alternative(
                        read_query(condition) if condition else None,
                        read_template(given["rhs"]),
                    )
                )
            rules[name] = tuple(found)
        return rules
