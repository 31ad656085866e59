"""Reading PDDL's bracketed expressions, so that every error can name its line.

`read_expression(text, source)` gives one `Form`; its items are `Word`s (lower case, as PDDL does
not tell cases apart) and further `Form`s. `Place.fail` raises a `TaskError "FILE:LINE: ..."`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from tasks.errors import TaskError

DEEPEST = 100
"""Brackets inside brackets that a text may have."""

_TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")


class Word(str):
    """A word with its place in the text."""

    __slots__ = ("offset",)
    offset: int


class Form:
    """A bracketed list of words and forms with its place in the text."""

    __slots__ = ("items", "offset")

    def __init__(self, items: list[Item], offset: int) -> None:
        self.items = items
        self.offset = offset

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @property
    def head(self) -> str:
        """The first word, or "" if the form is empty or starts with a form."""
        return self.items[0] if self.items and isinstance(self.items[0], str) else ""

    @property
    def rest(self) -> list[Item]:
        """Everything after the first item."""
        return self.items[1:]

    def __str__(self) -> str:
        return f"({' '.join(map(str, self.items))})"


Item: TypeAlias = Form | Word


@dataclass(frozen=True, slots=True)
class Place:
    """A text with the name that errors give it."""

    text: str
    source: str

    def fail(self, item: Item | int, message: str) -> NoReturn:
        """Raise `TaskError` with the line at which the item starts."""
        offset = item if isinstance(item, int) else item.offset
        line = self.text.count("\n", 0, offset) + 1
        raise TaskError(f"{self.source}:{line}: {message}")

    def forms(self, items: list[Item], what: str) -> list[Form]:
        """The items, all of which must be bracketed."""
        for item in items:
            if not isinstance(item, Form):
                self.fail(item, f"expected a bracketed {what} but found '{item}'")
        return [item for item in items if isinstance(item, Form)]

    def words(self, items: list[Item], what: str) -> list[Word]:
        """The items, none of which may be bracketed."""
        for item in items:
            if isinstance(item, Form):
                self.fail(item, f"expected {what} but found '{item}'")
        return [item for item in items if isinstance(item, Word)]


def read_expression(text: str, source: str) -> tuple[Place, Form]:
    """Read the one expression of a PDDL text; `TaskError` names file and line of what is wrong."""
    place = Place(text, source)
    stack: list[Form] = []
    whole: Form | None = None
    for match in _TOKEN.finditer(text):
        token = match.group()
        offset = match.start()
        if token[0] == ";":
            continue
        if whole is not None:
            place.fail(offset, f"found '{token}' after the end of the definition")
        if token == "(":
            if len(stack) == DEEPEST:
                place.fail(offset, f"brackets are nested more than {DEEPEST} deep")
            stack.append(Form([], offset))
        elif token == ")":
            if not stack:
                place.fail(offset, "found ')' that closes nothing")
            form = stack.pop()
            if stack:
                stack[-1].items.append(form)
            else:
                whole = form
        else:
            if not stack:
                place.fail(offset, f"expected '(define ...' but found '{token}'")
            word = Word(token.lower())
            word.offset = offset
            stack[-1].items.append(word)
    if stack:
        place.fail(stack[-1], "this '(' is never closed")
    if whole is None:
        place.fail(0, "the file is empty: expected '(define ...'")
    return place, whole
