"""What ALFWorld calls its things: `apple_bar__plus_00_dot_12_...` becomes "apple 2".

The same names as `AlfredDemangler` of alfworld (without shuffling): the things of a kind are
numbered from the last to the first in the order of their identifiers. Where an identifier says
"basin" somewhere, that word joins the kind's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tasks.alfworld.engine_grammar import Entity
from tasks.task import Atom

_BAR = "_bar_"
_SIGNS = (
    (_BAR, "|"),
    ("_minus_", "-"),
    ("_plus_", "+"),
    ("_dot_", "."),
    ("_comma_", ","),
)


def name_entities(initial: Iterable[Atom], types: Mapping[str, str]) -> dict[str, Entity]:
    """Each thing that some initial atom mentions; what has no number is called "NAME " (sic)."""
    identifiers = sorted({name for atom in initial for name in atom[1:]})
    left = Counter(_kind(name) for name in identifiers if _BAR in name)
    entities: dict[str, Entity] = {}
    for identifier in identifiers:
        if _BAR in identifier:
            kind = _kind(identifier)
            name = f"{kind} {left[kind]}"
            left[kind] -= 1
        else:
            name = f"{_readable(identifier)} "
        entities[identifier] = Entity(identifier, types[identifier], name)
    return entities


def _kind(identifier: str) -> str:
    kind = _readable(identifier).split("|", 1)[0]
    return kind + "basin" if "basin" in identifier else kind


def _readable(identifier: str) -> str:
    for sign, plain in _SIGNS:
        identifier = identifier.replace(sign, plain)
    return identifier
