"""Our engine against textworld's own environment, byte for byte, and what it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from alfworld_archive import real_games, unpack

from cluster.bench_alfworld import TextworldGame
from tasks.alfworld.engine import GameEngine
from tasks.alfworld.generate import draw_game, game_text, sizes
from tasks.errors import TaskError

REFUSED = ("fly", "go to nowhere 1", "examine fridge 1", "", "  look ", "Look", "help me")


@pytest.fixture(scope="module")
def rival() -> TextworldGame:
    return TextworldGame()


def play_both(game: Path, rival: TextworldGame, seed: int, random_steps: int) -> None:
    """Walkthrough, then random admissible commands and some that are none; all must be equal."""
    ours = GameEngine()
    ours.load(game)
    rival.load(game)
    rng = random.Random(seed)
    assert ours.reset() == rival.reset()
    commands = list(ours.walkthrough)
    for number in range(len(commands) + random_steps):
        admissible = ours.admissible_commands
        assert admissible == rival.admissible_commands
        if number < len(commands):
            command = commands[number]
        else:
            handled = [x for x in admissible if x.split()[0] not in ("go", "look", "inventory")]
            command = rng.choice(handled if handled and rng.random() < 0.6 else admissible)
            if rng.random() < 0.1:
                command = rng.choice(REFUSED)
        assert ours.step(command) == rival.step(command), (game, command)
        if number == len(commands) - 1:
            assert ours.won
    assert ours.admissible_commands == rival.admissible_commands


def test_real_games_are_told_as_by_textworld(tmp_path: Path, rival: TextworldGame) -> None:
    for seed, game in enumerate(unpack("train", 3, tmp_path, stride=11)):
        play_both(game, rival, seed, random_steps=6)


def test_a_generated_game_is_told_as_by_textworld(tmp_path: Path, rival: TextworldGame) -> None:
    game = tmp_path / "game.tw-pddl"
    game.write_text(game_text(draw_game(random.Random(1), sizes())))
    play_both(game, rival, seed=1, random_steps=8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_real_games_are_told_as_by_textworld(tmp_path: Path, rival: TextworldGame) -> None:
    games = unpack("valid_seen", 20, tmp_path, 7) + unpack("train", 100, tmp_path, 35)
    assert len(games) == 120
    for seed, game in enumerate(games):
        play_both(game, rival, seed, random_steps=12)


def test_the_walkthroughs_of_all_games_seen_in_training_win() -> None:
    engine = GameEngine()
    lost: list[str] = []
    number = 0
    for name, text in real_games("valid_seen", 1000):
        engine.load(text)
        engine.reset()
        assert not engine.won
        for command in engine.walkthrough:
            assert command in engine.admissible_commands
            engine.step(command)
        lost += [] if engine.won else [name]
        number += 1
    assert (number, lost) == (140, [])


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_games() -> None:
    engine = GameEngine()
    rng = random.Random(0)
    before = 0
    for number, (_, text) in enumerate(real_games("train", 1100, stride=3)):
        if number == 100:
            before = resident()
        engine.load(text)
        engine.reset()
        for _ in range(10):
            engine.step(rng.choice(engine.admissible_commands))
    assert resident() - before < 20 * 2**20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_reset_forgets_the_episode_before(capfd: pytest.CaptureFixture[str]) -> None:
    engine = GameEngine()
    engine.load(draw_game(random.Random(2), sizes()))
    first = (engine.reset(), engine.admissible_commands, engine.hidden_facts())
    told = [engine.step(command) for command in engine.walkthrough]
    assert engine.won
    assert engine.hidden_facts() != first[2]
    assert (engine.reset(), engine.admissible_commands, engine.hidden_facts()) == first
    assert [engine.step(command) for command in engine.walkthrough] == told
    assert capfd.readouterr() == ("", "")


def test_a_command_that_is_not_admissible_changes_nothing() -> None:
    engine = GameEngine()
    engine.load(draw_game(random.Random(3), sizes()))
    engine.reset()
    before = engine.hidden_facts()
    assert engine.step("go to the moon 1") == ("Nothing happens.", False)
    assert engine.hidden_facts() == before


def test_the_full_state_names_things_as_the_texts_do() -> None:
    engine = GameEngine()
    engine.load(draw_game(random.Random(4), sizes()))
    engine.reset()
    taking = next(x for x in engine.walkthrough if x.startswith("take "))
    for command in engine.walkthrough:
        engine.step(command)
        if command == taking:
            break
    thing = taking.removeprefix("take ").split(" from ")[0]
    held = [fact for fact in engine.hidden_facts() if fact[0] == "holds"]
    assert held == [("holds", "agent1", thing)]
    assert engine.hidden_types()[thing] == "object"


def without(game: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in game.items() if name != key}


def replaced(game: dict[str, object], key: str, old: str, new: str) -> dict[str, object]:
    text = str(game[key])
    assert old in text
    return game | {key: text.replace(old, new)}


def test_broken_games_are_refused_in_a_sentence(tmp_path: Path) -> None:
    game = draw_game(random.Random(5), sizes())
    engine = GameEngine()
    cases: list[tuple[object, str]] = [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        (tmp_path / "none.tw-pddl", "cannot be read"),
        (without(game, "grammar"), "has no text 'grammar'"),
        (game | {"walkthrough": 3}, "not a list of commands"),
        (replaced(game, "pddl_problem", "(:goal", "(:gaol"), "has no"),
        (replaced(game, "pddl_problem", "(inReceptacle ", "(inRoom "), "fits no predicate"),
        (replaced(game, "pddl_domain", "(exists (?l", "(forall (?l"), "cannot be played"),
        (replaced(game, "grammar", "action look {", "action gaze {"), "no action 'look'"),
        (replaced(game, "grammar", "{o.name}", "{o.name.upper()}"), "are evaluated"),
        (replaced(game, "grammar", "{o.name}", "{__import__('os')}"), "are evaluated"),
        (replaced(game, "grammar", "holdsany(a:agent)", "holdsany(a:"), "cannot be read"),
        (replaced(game, "grammar", "template ::", "template :"), "grammar"),
    ]
    for broken, words in cases:
        with pytest.raises(TaskError, match=words):
            engine.load(broken)  # type: ignore[arg-type]
        with pytest.raises(TaskError, match="call load"):
            engine.reset()
    engine.load(json.dumps(game))
    with pytest.raises(TaskError, match="call load"):
        engine.step("look")
    assert "Your task is to" in engine.reset()


def test_a_grammar_that_never_ends_is_refused() -> None:
    game = draw_game(random.Random(6), sizes())
    engine = GameEngine()
    engine.load(replaced(game, "grammar", "#look.feedback#\\n", "#intro#\\n"))
    with pytest.raises(TaskError, match="nested more than"):
        engine.reset()
