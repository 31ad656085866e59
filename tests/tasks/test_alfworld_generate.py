"""ALFWorld games that are generated: all task types, as asked for, won by their walkthroughs."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from functools import lru_cache

import pytest
from alfworld_archive import real_games

from tasks.alfworld.engine import GameEngine
from tasks.alfworld.generate import PARAMETERS, TASK_TYPES, draw_game, game_text, sizes
from tasks.alfworld.problem import parse_problem
from tasks.alfworld.vocabulary import OBJECTS, RECEPTACLES
from tasks.alfworld.walkthrough import walkthrough
from tasks.errors import TaskError


def draw(seed: int, **given: int) -> dict[str, object]:
    return draw_game(random.Random(seed), sizes(**given))


def only(task_type: str) -> dict[str, int]:
    return {name: int(name == task_type) for name in TASK_TYPES}


@lru_cache(maxsize=1)
def of_each_type() -> tuple[dict[str, str], ...]:
    """The first real games, until each task type was met."""
    games: dict[str, list[dict[str, str]]] = {name: [] for name in TASK_TYPES}
    for path, text in real_games("train"):
        name = path.split("/")[-3].split("-")[0]
        if len(games[name]) < 3:
            games[name].append(json.loads(text))
        if all(games.values()):
            break
    return tuple(game for found in games.values() for game in found)


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_a_walkthrough_wins_each_generated_game(task_type: str) -> None:
    engine = GameEngine()
    for seed in range(5):
        game = draw(seed, **only(task_type))
        engine.load(game)
        engine.reset()
        assert not engine.won
        said = [engine.step(command)[0] for command in engine.walkthrough]
        assert engine.won
        assert "Nothing happens." not in said
        household, goal = parse_problem(str(game["pddl_problem"]))
        assert goal.task_type == task_type
        assert walkthrough(household, goal) == engine.walkthrough


def test_task_types_come_in_the_given_shares() -> None:
    weights = dict(zip(TASK_TYPES, (4, 0, 1, 1, 2, 2)))
    drawn = Counter(
        parse_problem(str(draw(seed, **weights)["pddl_problem"]))[1].task_type
        for seed in range(600)
    )
    for name, weight in weights.items():
        assert drawn[name] / 600 == pytest.approx(weight / 10, abs=0.07)


def test_sizes_are_kept() -> None:
    for seed in range(30):
        game = draw(seed, receptacles=8, wanted=3, distractors=0)
        household, goal = parse_problem(str(game["pddl_problem"]))
        lamps = 1 if goal.task_type == "look_at_obj_in_light" else 0
        assert len(household.receptacles) <= 8
        assert [item.type for item in household.items].count(goal.wanted) == 3
        assert len(household.items) == 3 + lamps
        full = parse_problem(str(draw(seed, receptacles=99, distractors=30)["pddl_problem"]))[0]
        assert len(full.receptacles) > 5
        assert len(full.items) > 20


def test_the_same_seed_gives_the_same_game_and_others_differ() -> None:
    texts = [game_text(draw(seed)) for seed in range(200)]
    assert texts == [game_text(draw(seed)) for seed in range(200)]
    assert len(set(texts)) > 195


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(TaskError, match="weight 0 for every task type"):
        draw(0, **dict.fromkeys(TASK_TYPES, 0))


def test_parameters_have_values_by_default() -> None:
    assert set(sizes()) == {parameter.name for parameter in PARAMETERS}
    assert sizes(wanted=4)["wanted"] == 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_walkthrough_wins_a_thousand_generated_games() -> None:
    engine = GameEngine()
    for seed in range(1000):
        engine.load(draw(seed, receptacles=3 + seed % 40, wanted=1 + seed % 4))
        engine.reset()
        assert not engine.won
        for command in engine.walkthrough:
            engine.step(command)
        assert engine.won, seed


def test_textworld_itself_plays_a_generated_game() -> None:
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    game = draw(5)
    engine = GameEngine()
    engine.load(game)
    env = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))
    env.load(game)
    state = env.reset()
    assert state.feedback == engine.reset()
    for command in engine.walkthrough:
        assert tuple(state["admissible_commands"]) == engine.admissible_commands
        state, _, _ = env.step(command)
        assert (state.feedback, state["won"]) == engine.step(command)
    assert state["won"]


def test_names_are_those_of_real_games() -> None:
    known = {
        kind: set(re.findall(rf"(\w+)Type - {kind}", of_each_type()[0]["pddl_problem"]))
        for kind in ("otype", "rtype")
    }
    for seed in range(40):
        problem = str(draw(seed, receptacles=40, distractors=30)["pddl_problem"])
        for kind, names in known.items():
            found = set(re.findall(rf"(\w+)Type - {kind}", problem))
            assert found <= names | {"TeddyBear", "PaperTowelRoll"}
            assert {name.lower() for name in found} <= {*OBJECTS, *RECEPTACLES}


def test_domain_phrases_and_goals_are_those_of_real_games() -> None:
    ours: dict[str, set[str]] = {name: set() for name in TASK_TYPES}
    goals: dict[str, str] = {}
    for seed in range(200):
        game = {name: str(text) for name, text in draw(seed).items()}
        _, goal = parse_problem(game["pddl_problem"])
        ours[goal.task_type].add(phrase(game))
        goals[goal.task_type] = goal_text(game)
    for game in of_each_type():
        _, goal = parse_problem(game["pddl_problem"])
        assert phrase(game) in ours[goal.task_type]
        assert goal_text(game) == goals[goal.task_type]
        # Older games clean in a "SinkType", too, of which there is no receptacle.
        pddl = game["pddl_domain"].replace("(receptacleType ?r SinkType)", "")
        theirs = str(draw(0)["pddl_domain"]).replace(";(receptacleType ?r SinkType)", "")
        assert pddl.split() == theirs.split()


def phrase(game: dict[str, str]) -> str:
    """The task's statement with words in place of the types."""
    _, goal = parse_problem(game["pddl_problem"])
    stated = re.findall(r"Your task is to: ([^\"]*)\"", game["grammar"])[0]
    replaced = stated.replace(goal.target.lower(), "TARGET")
    return str(re.sub(rf"\b{goal.wanted.lower()}\b", "WANTED", replaced))


def goal_text(game: dict[str, str]) -> str:
    """The goal in PDDL with words in place of the types."""
    _, goal = parse_problem(game["pddl_problem"])
    text = " ".join(game["pddl_problem"].split("(:goal")[1].split())
    text = text.replace(f"{goal.target}Type", "TARGET")
    return text.replace(f"{goal.wanted}Type", "WANTED")


def test_sentences_are_those_of_real_games() -> None:
    real = {shape for game in of_each_type() for shape in shapes(game)}
    for seed in range(40):
        assert shapes(draw(seed)) <= real | shapes_by_chance()


def shapes(game: dict[str, object] | dict[str, str]) -> set[str]:
    """Every sentence that the world says along the walkthrough, things replaced by dots."""
    engine = GameEngine()
    engine.load(dict(game))
    said = [engine.reset().split("Your task")[0]]
    for command in ("help", "look", "inventory", *engine.walkthrough, "look", "inventory"):
        said.append(engine.step(command)[0])
    things = re.compile(r"(a )?[a-z]+ \d+(,( and)? (a )?[a-z]+ \d+)*")
    return {things.sub("...", text) for text in said}


def shapes_by_chance() -> set[str]:
    """Sentences of the same grammar that so few real games need not contain."""
    return {
        "You arrive at .... On the ..., you see nothing.",
        "You open the .... The ... is open. In it, you see nothing.",
    }
