"""What is known of an ALFWorld game follows from its texts, and agrees with the world."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from alfworld_archive import real_games

from tasks.alfworld.commands import action_of, command_of
from tasks.alfworld.domain import NAME, make_domain
from tasks.alfworld.household import mangled, text_names
from tasks.alfworld.knowledge import PREDICATES, Knowledge
from tasks.alfworld.problem import parse_problem
from tasks.alfworld.simulator import WORDS, AlfworldSimulator
from tasks.alfworld.statement import read_statement
from tasks.errors import TaskError
from tasks.task import Task

REAL_GAMES = 10
ROOM = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
    "around you, you see a drawer 2, a drawer 1, a fridge 1, and a shelf 1.\n\n"
    "Your task is to: cool some apple and put it in drawer."
)


def games(which: str) -> Iterator[Task]:
    """Some tasks of a kind; skips where there are no real games."""
    domain = make_domain()
    if which == "generated":
        yield from (domain.draw({}, seed) for seed in range(12))
    else:
        for path, text in real_games("train", REAL_GAMES, stride=350):
            yield domain.task(text, f"file:{NAME}:{path}")


def check(simulator: AlfworldSimulator) -> None:
    """All that is known is so in the full state; the actions are the admissible commands."""
    commands = simulator.engine.admissible_commands
    assert sorted(map(command_of, simulator.applicable_actions())) == sorted(commands)
    known, facts = simulator.knowledge, simulator.engine.hidden_facts()
    for name, receptacle in known.inside.items():
        assert ("inreceptacle", name, receptacle) in facts
    for name, look in known.looks.items():
        opened = ("opened", name) in facts
        assert look == "unseen" or opened == (look == "opened")
        assert (("openable", name) in facts) >= (look in ("opened", "closed", "shut"))
        if look in ("opened", "shut", "seen"):
            there = {fact[1] for fact in facts if fact[0] == "inreceptacle" and fact[2] == name}
            assert there == {thing for thing, where in known.inside.items() if where == name}
    assert {fact[2] for fact in facts if fact[0] == "holds"} == ({known.held} - {""})
    at = {fact[2] for fact in facts if fact[0] == "atlocation"}
    here = {fact[1] for fact in facts if fact[0] == "receptacleatlocation" and fact[2] in at}
    assert known.here == here
    states = {"isclean": "cleaned", "ishot": "heated", "iscool": "cooled"}
    for name, treated in known.treated.items():
        really = {states[fact[0]] for fact in facts if fact[0] in states and fact[1] == name}
        assert treated <= really
    assert known.lit == {fact[1] for fact in facts if fact[0] == "istoggled"}
    words = {name for name, _ in WORDS}
    for atom in known.atoms:
        assert PREDICATES[atom[0]] == len(atom) - 1 <= 6
        assert words.issuperset(atom[1:])


@pytest.mark.parametrize("which", ["generated", "real"])
def test_what_is_known_is_so(which: str) -> None:
    simulator = make_domain().make_simulator()
    types = set()
    for task in games(which):
        simulator.reset(task)
        types.add(tuple(atom[0] for atom in simulator.goal))
        check(simulator)
        for command in json.loads(task.problem)["walkthrough"]:
            assert not simulator.solved
            assert simulator.step(action_of(command))
            check(simulator)
        assert simulator.solved
        met, count = simulator.goal_conditions()
        assert met == count
        rng = random.Random(task.digest)
        for _ in range(8):  # into states that no walkthrough visits
            choices = [a for a in simulator.applicable_actions() if a[0] != "go"]
            wander = rng.random() < 0.3 or not choices
            action = rng.choice(simulator.applicable_actions() if wander else choices)
            assert simulator.step(action)
            check(simulator)
    assert len(types) >= 3


def test_two_games_that_differ_where_nobody_looked_give_equal_atoms() -> None:
    simulator = make_domain().make_simulator()
    for seed in range(6):
        task = make_domain().draw({}, seed)
        game = json.loads(task.problem)
        simulator.reset(task)
        visited = {tuple(c.split()[2:4]) for c in game["walkthrough"] if c.startswith("go to")}
        unseen = {" ".join(atom[1:3]) for atom in simulator.atoms if atom[0] == "place"}
        unseen -= {" ".join(name) for name in visited}
        facts = simulator.engine.hidden_facts()
        hidden = [f for f in facts if f[0] == "inreceptacle" and f[2] in unseen]
        if not hidden:
            continue
        told = [simulator.atoms, *_play(simulator, game["walkthrough"])]
        emptier = AlfworldSimulator()
        text = game["pddl_problem"]
        game["pddl_problem"] = _without(text, [fact[1] for fact in hidden])
        assert game["pddl_problem"] != text
        emptier.reset(Task(NAME, json.dumps(game), "", ""))
        assert [emptier.atoms, *_play(emptier, game["walkthrough"])] == told
        return
    pytest.fail("no game of the first six has anything where nobody looks")


def _play(simulator: AlfworldSimulator, commands: list[str]) -> list[frozenset[tuple[str, ...]]]:
    found = []
    for command in commands:
        assert simulator.step(action_of(command))
        found.append(simulator.atoms)
    return found


def _without(problem: str, names: list[str]) -> str:
    """The problem with the named things in no receptacle; all keep their names."""
    household, _ = parse_problem(problem)
    identifiers = [receptacle.identifier for receptacle in household.receptacles]
    called = text_names([*identifiers, *(item.identifier for item in household.items)])
    gone = [mangled(identifier) for identifier, name in called.items() if name in names]
    places = ("(inReceptacle {} ", "(objectAtLocation {} ")
    return "".join(
        line
        for line in problem.splitlines(keepends=True)
        if not any(place.format(name) in line for name in gone for place in places)
    )


def test_a_search_step_by_step() -> None:
    known = Knowledge(ROOM)
    assert known.statement.conditions == (
        ("wanted", "apple"),
        ("treated", "cooled"),
        ("target", "drawer"),
    )
    assert ("place", "fridge", "1", "unseen", "there", "tool") in known.atoms
    known.observe("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a apple 2.")
    assert ("place", "shelf", "1", "seen", "here", "plain") in known.atoms
    assert ("thing", "apple", "2", "shelf", "1", "wanted") in known.atoms
    known.observe("take apple 2 from shelf 1", "You pick up the apple 2 from the shelf 1.")
    assert ("held", "apple", "2", "wanted") in known.atoms
    known.observe("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed.")
    assert ("place", "fridge", "1", "closed", "here", "tool") in known.atoms
    known.observe("cool apple 2 with fridge 1", "You cool the apple 2 using the fridge 1.")
    assert ("held", "apple", "2", "ready") in known.atoms
    known.observe("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed.")
    known.stand_before(["drawer 1", "drawer 2", "apple 2"])
    assert ("place", "drawer", "2", "unseen", "here", "target") in known.atoms
    known.observe(
        "open drawer 1", "You open the drawer 1. The drawer 1 is open. In it, you see nothing."
    )
    known.observe("move apple 2 to drawer 1", "You move the apple 2 to the drawer 1.")
    assert ("thing", "apple", "2", "drawer", "1", "placed") in known.atoms
    known.observe("close drawer 1", "You close the drawer 1.")
    assert ("place", "drawer", "1", "shut", "here", "target") in known.atoms
    assert not [atom for atom in known.atoms if atom[0] == "held"]


@pytest.mark.parametrize(
    ("said", "conditions"),
    [
        ("put some mug on desk", (("wanted", "mug"), ("target", "desk"))),
        (
            "put a hot egg in fridge",
            (("wanted", "egg"), ("treated", "heated"), ("target", "fridge")),
        ),
        (
            "find two pen and put them in safe",
            (("wanted", "pen"), ("number", "2"), ("target", "safe")),
        ),
        ("examine the book with the desklamp", (("wanted", "book"), ("light", "desklamp"))),
    ],
)
def test_statements(said: str, conditions: tuple[tuple[str, ...], ...]) -> None:
    assert read_statement(f"...\n\nYour task is to: {said}.").conditions == conditions


def test_what_cannot_be_read_is_quoted() -> None:
    with pytest.raises(TaskError, match="'juggle some apple'"):
        read_statement("Your task is to: juggle some apple.")
    with pytest.raises(TaskError, match="states no task"):
        Knowledge("You are in the middle of a room.")
    with pytest.raises(TaskError, match=r"'You fall asleep\.'"):
        Knowledge(ROOM).observe("sleep", "You fall asleep.")
    with pytest.raises(TaskError, match="'wizard 1'"):
        Knowledge(ROOM).observe("", "On the shelf 1, you see a wizard 1.")


def test_commands_that_are_none() -> None:
    assert command_of(("move", "apple", "1", "fridge", "1")) == "move apple 1 to fridge 1"
    for command in ("put apple 1 in fridge 1", "take apple 1 to fridge 1", "go fridge 1", ""):
        with pytest.raises(TaskError, match="none of ALFWorld's commands"):
            action_of(command)
    with pytest.raises(TaskError, match="no command for the action 'go fridge'"):
        command_of(("go", "fridge"))


def test_a_refused_action_leaves_the_world_alone() -> None:
    simulator = make_domain().make_simulator()
    simulator.reset(make_domain().draw({}, 3))
    before = (simulator.atoms, simulator.applicable_actions())
    assert not simulator.step(("open", "fridge", "9"))
    assert simulator.text == simulator.engine.step("open fridge 9")[0]
    assert (simulator.atoms, simulator.applicable_actions()) == before
