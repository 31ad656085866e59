"""What an ALFWorld game asks for: its task statement, read into conditions.

The six task types have two sentences each (`alfworld.gen.goal_library`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.alfworld.vocabulary import LAMPS, OBJECTS, RECEPTACLES
from tasks.errors import TaskError
from tasks.task import Atom

_STATEMENT = re.compile(r"Your task is to: (?P<what>[^\n]*?)\.?\s*$")

_SENTENCES = tuple(
    re.compile(sentence)
    for sentence in (
        r"put (?:a|some) (?P<wanted>\w+) (?:in|on) (?P<target>\w+)",
        r"put a (?P<treatment>clean|hot|cool) (?P<wanted>\w+) in (?P<target>\w+)",
        r"(?P<treatment>clean|heat|cool) some (?P<wanted>\w+) and put it in (?P<target>\w+)",
        r"put (?P<two>two) (?P<wanted>\w+) in (?P<target>\w+)",
        r"find (?P<two>two) (?P<wanted>\w+) and put them in (?P<target>\w+)",
        r"look at (?P<wanted>\w+) under the (?P<lamp>\w+)",
        r"examine the (?P<wanted>\w+) with the (?P<lamp>\w+)",
    )
)

TREATED = {"clean": "cleaned", "heat": "heated", "hot": "heated", "cool": "cooled"}
"""Word of a statement or command → what the object is afterwards."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Types of what is wanted, and what is to become of it.

    Either `lamp` is the type of a lamp to look at it under, or `target` is the type of a
    receptacle that shall hold `count` of it, `treatment` ("cleaned", "heated", "cooled" or "")
    before.
    """

    text: str
    wanted: str
    target: str = ""
    treatment: str = ""
    lamp: str = ""
    count: int = 1

    @property
    def conditions(self) -> tuple[Atom, ...]:
        """The statement as atoms."""
        atoms: list[Atom] = [("wanted", self.wanted)]
        if self.count > 1:
            atoms.append(("number", str(self.count)))
        if self.treatment:
            atoms.append(("treated", self.treatment))
        atoms.append(("light", self.lamp) if self.lamp else ("target", self.target))
        return tuple(atoms)


def read_statement(observation: str) -> Statement:
    """The task that a first observation states; `TaskError` quotes one that cannot be read."""
    found = _STATEMENT.search(observation)
    if found is None:
        raise TaskError(f"the ALFWorld game states no task in: {observation!r}")
    what = found["what"]
    for sentence in _SENTENCES:
        match = sentence.fullmatch(what)
        if match is None:
            continue
        said = {name: value for name, value in match.groupdict().items() if value}
        wanted, target, lamp = said["wanted"], said.get("target", ""), said.get("lamp", "")
        if wanted not in OBJECTS or (target not in RECEPTACLES if target else lamp not in LAMPS):
            continue
        treatment = TREATED[said["treatment"]] if "treatment" in said else ""
        return Statement(what, wanted, target, treatment, lamp, 2 if "two" in said else 1)
    raise TaskError(
        f"the ALFWorld task {what!r} cannot be read: it is none of the sentences of the six task "
        "types about known types (games with human annotations are not supported)"
    )
