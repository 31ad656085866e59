"""What an agent knows in an ALFWorld episode, from what it was told so far, as atoms (ours).

    knowledge = Knowledge(first_observation)
    knowledge.observe("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed.")
    knowledge.atoms     # {("place", "fridge", "1", "closed", "here", "tool"), ...}

It is a function of the episode's text alone: the first observation, the commands with what the
world said to them, and what the world told to stand at hand (`stand_before`). Each receptacle and
each object that matters is one atom, so that a small LM sees it at one position:

    place TYPE NUMBER LOOK WHERE USE   LOOK: unseen; closed: so, never looked into; opened; shut:
                                       closed again; seen: it has no door. WHERE: here or there.
                                       USE: target, tool (gives the treatment), both or plain.
    thing TYPE NUMBER TYPE NUMBER ROLE an object and its receptacle. ROLE: wanted (not yet treated),
                                       ready, placed (in a target), lamp or lit (turned on)
    held TYPE NUMBER ROLE              ROLE as above, or other
    clutter TYPE NUMBER TYPE NUMBER    any other object and its receptacle
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tasks.alfworld.statement import TREATED, Statement, read_statement
from tasks.alfworld.vocabulary import TOOLS, TYPES
from tasks.errors import TaskError
from tasks.task import Atom

LOOKS = ("unseen", "closed", "opened", "shut", "seen")
WHERES = ("here", "there")
USES = ("target", "tool", "both", "plain")
ROLES = ("wanted", "ready", "placed", "lamp", "lit", "other")

PREDICATES = {"place": 5, "thing": 5, "held": 3, "clutter": 4}
"""Each predicate of what is known, with the number of its arguments."""

_NAME = r"[a-z]+ \d+"
_LIST = rf"(?P<list>nothing|an? {_NAME}(?:, (?:and )?an? {_NAME})*)"
_ROOM = re.compile(
    rf"You are in the middle of a room\. Looking quickly around you, you see {_LIST}\."
)


class Knowledge:
    """Grows with every observation. Names are those of the text, e.g. "apple 1"."""

    def __init__(self, first: str) -> None:
        """Begin with a game's first observation; `TaskError` if it cannot be read."""
        self.statement: Statement = read_statement(first)
        room = _ROOM.search(first)
        if room is None:
            raise TaskError(f"the first ALFWorld observation names no receptacles: {first!r}")
        self.looks: dict[str, str] = dict.fromkeys(_names(room["list"]), "unseen")
        self.inside: dict[str, str] = {}
        """Object → the receptacle it was last seen in."""
        self.held = ""
        self.here: frozenset[str] = frozenset()
        self.treated: dict[str, frozenset[str]] = {}
        self.lit: frozenset[str] = frozenset()

    def observe(self, command: str, said: str) -> None:
        """Take in what the world said to a command; `TaskError` quotes what cannot be read."""
        text = " ".join(said.split())
        for pattern, learn in _SENTENCES:
            found = pattern.fullmatch(text)
            if found is not None:
                learn(self, found)
                return
        raise TaskError(f"what ALFWorld said to {command!r} cannot be read: {said!r}")

    def stand_before(self, receptacles: Iterable[str]) -> None:
        """Take in which receptacles are at hand: several may share the place of the one gone to."""
        self.here = frozenset(name for name in receptacles if name in self.looks)

    @property
    def atoms(self) -> frozenset[Atom]:
        """All that is known, as atoms."""
        found: set[Atom] = {
            ("place", *name.split(), look, "here" if name in self.here else "there", self.use(name))
            for name, look in self.looks.items()
        }
        for name, receptacle in self.inside.items():
            role = self.role(name)
            where = (*name.split(), *receptacle.split())
            found.add(("clutter", *where) if role == "other" else ("thing", *where, role))
        if self.held:
            found.add(("held", *self.held.split(), self.role(self.held)))
        return frozenset(found)

    def use(self, receptacle: str) -> str:
        """What a receptacle is for in this task."""
        kind = receptacle.split()[0]
        tool = any(
            kind == giver and TREATED[treatment] == self.statement.treatment
            for treatment, giver in TOOLS.items()
        )
        if kind == self.statement.target:
            return "both" if tool else "target"
        return "tool" if tool else "plain"

    def role(self, name: str) -> str:
        """What an object is in this task, as far as is known."""
        kind = name.split()[0]
        if kind == self.statement.lamp:
            return "lit" if name in self.lit else "lamp"
        if kind != self.statement.wanted:
            return "other"
        if self.statement.treatment and self.statement.treatment not in self.treated.get(name, ()):
            return "wanted"
        receptacle = self.inside.get(name, "none 0")
        return "placed" if receptacle.split()[0] == self.statement.target else "ready"

    def _arrive(self, found: re.Match[str]) -> None:
        self.here = frozenset({found["place"]})
        self.observe("", found["rest"])

    def _open(self, found: re.Match[str]) -> None:
        self.observe("", found["rest"])

    def _closed(self, found: re.Match[str]) -> None:
        never = self.looks[found["place"]] in ("unseen", "closed")
        self.looks[found["place"]] = "closed" if never else "shut"

    def _inside(self, found: re.Match[str]) -> None:
        self._look(found, "opened")

    def _upon(self, found: re.Match[str]) -> None:
        self._look(found, "seen")

    def _look(self, found: re.Match[str], look: str) -> None:
        place = found["place"]
        self.looks[place] = look
        for name in [name for name, where in self.inside.items() if where == place]:
            del self.inside[name]
        self.inside |= dict.fromkeys(_names(found["list"]), place)

    def _take(self, found: re.Match[str]) -> None:
        self.held = found["name"]
        self.inside.pop(self.held, None)

    def _put(self, found: re.Match[str]) -> None:
        self.inside[found["name"]] = found["place"]
        self.held = ""

    def _treat(self, found: re.Match[str]) -> None:
        before = self.treated.get(found["name"], frozenset())
        after = TREATED[found["treatment"]]
        undone = {"heated": {"cooled"}, "cooled": {"heated"}}.get(after, set())
        self.treated[found["name"]] = before - undone | {after}

    def _turn_on(self, found: re.Match[str]) -> None:
        self.lit |= {found["name"]}

    def _carry(self, found: re.Match[str]) -> None:
        self.held = found["name"]

    def _examine(self, found: re.Match[str]) -> None:
        words = {"hot": "heated", "cool": "cooled", "cold": "cooled", "clean": "cleaned"}
        states = frozenset(words[word] for word in found["states"].split() if word in words)
        self.treated[found["name"]] = self.treated.get(found["name"], frozenset()) | states

    def _face(self, found: re.Match[str]) -> None:
        self.stand_before(_names(found["places"]))

    def _nothing_new(self, found: re.Match[str]) -> None:
        """Said, but not needed."""


_SENTENCES: tuple[tuple[re.Pattern[str], Callable[[Knowledge, re.Match[str]], None]], ...] = tuple(
    (re.compile(pattern), learn)
    for pattern, learn in (
        (rf"You arrive at (?P<place>{_NAME})\. (?P<rest>.+)", Knowledge._arrive),
        (rf"You open the {_NAME}\. (?P<rest>.+)", Knowledge._open),
        (rf"You close the (?P<place>{_NAME})\.", Knowledge._closed),
        (rf"The (?P<place>{_NAME}) is closed\.", Knowledge._closed),
        (rf"The (?P<place>{_NAME}) is open\. In it, you see {_LIST}\.", Knowledge._inside),
        (rf"On the (?P<place>{_NAME}), you see {_LIST}\.", Knowledge._upon),
        (rf"You pick up the (?P<name>{_NAME}) from the {_NAME}\.", Knowledge._take),
        (rf"You move the (?P<name>{_NAME}) to the (?P<place>{_NAME})\.", Knowledge._put),
        (
            rf"You (?P<treatment>clean|heat|cool) the (?P<name>{_NAME}) using the {_NAME}\.",
            Knowledge._treat,
        ),
        (rf"You turn on the (?P<name>{_NAME})\.", Knowledge._turn_on),
        (rf"This (?P<name>{_NAME}) is on\.", Knowledge._turn_on),
        (rf"This is a (?P<states>[a-z ]+) (?P<name>{_NAME})\.", Knowledge._examine),
        (rf"You are carrying: an? (?P<name>{_NAME})\.", Knowledge._carry),
        (
            rf"You are facing the (?P<places>{_NAME}(?:, (?:and )?{_NAME})*)\. "
            rf"Next to it, you see {_LIST}\.",
            Knowledge._face,
        ),
        (_ROOM.pattern, Knowledge._nothing_new),
        (rf"You turn off the {_NAME}\.", Knowledge._nothing_new),
        (rf"You don't see any switch on the {_NAME}\.", Knowledge._nothing_new),
        (rf"You sliced the {_NAME} with the {_NAME}\.", Knowledge._nothing_new),
        (rf"This {_NAME} is off\.", Knowledge._nothing_new),
        (rf"This is a normal {_NAME}\. In it, you see {_LIST}\.", Knowledge._nothing_new),
        (rf"There's nothing special about {_NAME}\.", Knowledge._nothing_new),
        (r"You are not carrying anything\.", Knowledge._nothing_new),
        (r"Available commands: .*", Knowledge._nothing_new),
        (r"Nothing happens\.", Knowledge._nothing_new),
    )
)


def _names(listed: str) -> list[str]:
    """The names in a list, as the text writes it; `TaskError` if one has an unknown type."""
    names: list[str] = re.findall(_NAME, listed)
    for name in names:
        if name.split()[0] not in TYPES:
            raise TaskError(f"ALFWorld names a thing of a type that is not known: '{name}'")
    return names
