"""Sliding tiles: one tile at a time slides into the blank cell of a small board.

The goal is where tiles can be brought from the start: a random walk leads there, and every move
can be taken back. Columns x1, x2, ... go from left to right and rows y1, y2, ... from top to
bottom, as in PDDLGym's files with two sets of positions.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool
from tasks.pddl import ROOT_TYPE, Problem, TypedNames
from tasks.task import Atom

_WALK = 60
"""Moves from the start to the goal; the shortest way takes far fewer."""


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem on a board of `size["columns"]` and `size["rows"]`."""
    columns = [f"x{i}" for i in range(1, size["columns"] + 1)]
    rows = [f"y{i}" for i in range(1, size["rows"] + 1)]
    cells = [(x, y) for x in range(len(columns)) for y in range(len(rows))]
    tiles = [f"t{i}" for i in range(1, len(cells))]
    while True:
        blank, *places = rng.sample(cells, len(cells))
        start = dict(zip(places, tiles))
        initial = {("blank", columns[blank[0]], rows[blank[1]]), *_at(start, columns, rows)}
        end = dict(start)
        for _ in range(_WALK):
            x, y = blank
            beside = [c for c in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)) if c in end]
            chosen = rng.choice(beside)
            end[blank] = end.pop(chosen)
            blank = chosen
        goal = keep_goals(rng, sorted(_at(end, columns, rows)), size.get("goals", 0))
        if not initial.issuperset(goal):
            break
    for positions in (columns, rows):
        initial |= {("position", position) for position in positions}
        for before, after in pairwise(positions):
            initial |= {("inc", before, after), ("dec", after, before)}
    initial |= {("tile", tile) for tile in tiles}
    names = (*tiles, *columns, *rows)
    return Problem(
        f"slidetile-{len(columns)}-{len(rows)}",
        tuple((name, ROOT_TYPE) for name in names),
        frozenset(initial),
        goal,
    )


def _at(tiles: Mapping[tuple[int, int], str], columns: list[str], rows: list[str]) -> set[Atom]:
    return {("at", tile, columns[x], rows[y]) for (x, y), tile in tiles.items()}


def tiles_and_positions(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
    """The pool of each object, by where it stands in `at` and `blank`."""
    pools = {name: "tile" for name, _ in objects}
    for atom in atoms:
        if atom[0] in ("at", "blank"):
            pools[atom[-2]], pools[atom[-1]] = "column", "row"
    return pools


SLIDETILE = Generator(
    (
        Parameter("columns", 2, (3, 3), "columns"),
        Parameter("rows", 2, (2, 2), "rows"),
        goals(2, 3),
    ),
    draw,
    # `inc` and `dec` are what the order of the positions' names says.
    NamingRules(
        (Pool("tile"), Pool("column", ordered=True), Pool("row", ordered=True)),
        tiles_and_positions,
    ),
)
