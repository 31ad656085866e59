"""Worlds that are not PDDL: made lazily, with a sentence for what is missing, and rendered."""

from __future__ import annotations

import pytest

from configs.schema import RenderingConfig
from tasks.domains import domain_names, get_domain, get_pddl_domain
from tasks.errors import TaskError
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl_domain import PddlDomain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.task import Action, Atom, Simulator, Task
from tasks.worlds import WORLDS, World, make_world


def test_worlds_follow_the_domains_in_pddl() -> None:
    assert domain_names()[-len(WORLDS) :] == tuple(WORLDS)
    assert isinstance(get_domain("blocks"), PddlDomain)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORLDS, "moon", World("tasks.no_such_world", "lunar"))
    with pytest.raises(TaskError, match=r"'moon' needs a package .* run pip install '\.\[lunar\]'"):
        make_world("moon")


class Rooms:
    """A world seen in part: the second room is known only after the door was opened."""

    domain = "rooms"
    goal = (("in", "cup"),)

    def __init__(self) -> None:
        self._open = False

    def reset(self, task: Task) -> None:
        del task
        self._open = False

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        known = (("cup", "kind"), ("hall 1", "hall"), ("room 7", "room"))
        return (*known, ("room 3", "room"), ("room 9", "room")) if self._open else known

    @property
    def atoms(self) -> frozenset[Atom]:
        rooms = [name for name, kind in self.objects if kind == "room"]
        return frozenset(("leads", "hall 1", room) for room in rooms)

    def applicable_actions(self) -> tuple[Action, ...]:
        return (("open", "hall 1"),)

    def step(self, action: Action) -> bool:
        self._open = action == ("open", "hall 1")
        return self._open

    def goal_conditions(self) -> tuple[int, int]:
        return 0, 1

    @property
    def solved(self) -> bool:
        return False


class RoomsDomain:
    name = word = "rooms"
    actions = {"open": 1}  # noqa: RUF012
    predicates = {"leads": 2, "in": 1}  # noqa: RUF012
    static_predicates: frozenset[str] = frozenset()
    shown_predicates = frozenset({"leads"})
    constants = (("cup", "kind"),)
    naming_rules = NamingRules((Pool("hall"), Pool("room"), Pool("kind")), by_type())
    generator = None
    train_files = test_files = ()
    simulator_name = "rooms"

    def make_simulator(self) -> Simulator:
        return Rooms()


@pytest.mark.parametrize("observation", ["prompt", "state", "changes"])
def test_objects_get_names_as_they_become_known(observation: str) -> None:
    domain = RoomsDomain()
    simulator = make_simulator(domain)  # type: ignore[arg-type]
    text = Rendering([domain], RenderingConfig(observation=observation, random_names=False))  # type: ignore[list-item]
    simulator.reset(Task("rooms", "", "", ""))
    naming = text.naming(simulator, seed=5)
    assert text.prompt(simulator, naming) == (
        "<domain> rooms <goal> in cup <state> leads hall1 room1"
    )
    before = simulator.atoms
    assert simulator.step(("open", "hall 1"))
    seen = text.observation(before, simulator, naming)
    assert {"room2", "room3"} <= set(seen.split())
    assert naming.object["room2"] == "room 3"
    assert text.parse_action("open room3", naming) == ("open", "room 9")


def test_names_drawn_at_random_stay_apart_and_repeat() -> None:
    domain = RoomsDomain()
    text = Rendering([domain], RenderingConfig(random_names=True))  # type: ignore[list-item]
    drawn = []
    for _ in range(2):
        simulator = make_simulator(domain)  # type: ignore[arg-type]
        naming = text.naming(simulator, seed=3)
        simulator.step(("open", "hall 1"))
        text.prompt(simulator, naming)
        assert len(set(naming.word.values())) == len(simulator.objects) == len(naming.object)
        drawn.append(naming)
    assert drawn[0] == drawn[1]


def test_planners_are_told_what_is_not_pddl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.domains.get_domain", lambda name: RoomsDomain())
    with pytest.raises(TaskError, match="not written in PDDL"):
        get_pddl_domain("rooms")
