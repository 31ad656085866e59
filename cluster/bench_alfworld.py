"""ALFWorld's part of `nesypr bench simulators`: our engine against textworld's own environment.

Both play the same games by the same commands: the game's walkthrough, then random admissible
commands from a seed, each step with its answer, its admissible commands and whether the game is
won; every text is compared on the way. The rival is what alfworld plays with: textworld's
`PddlEnv`, one for all games, wrapped in `AlfredDemangler` and `AlfredInfos`, asked for the won
flag and the admissible commands alone. Times are CPU seconds of this process, taken in turn on each
game; a row's ratio is the median over rounds of (rival's time ÷ ours).
A reset begins the game that is loaded; a new game is read from its file, loaded and begun.

Games are real ones where `$ALFWORLD_DATA` is set, else generated ones.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tasks.alfworld.engine import GameEngine
from tasks.alfworld.games import GAME_FILE, VARIABLE, game_index
from tasks.alfworld.generate import draw_game, game_text, sizes
from tasks.errors import TaskError

ROUNDS = 3
GAMES = 6
RANDOM_STEPS = 8
"""Random commands after each walkthrough."""


class TextworldGame:
    """Plays games as alfworld does, by textworld's own environment.

    It leaks about a megabyte a new game, as textworld does: for comparisons only.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings(), _kept_environment():
            warnings.simplefilter("ignore")
            textworld = import_module("textworld")
            wrappers = import_module("alfworld.agents.environment.alfred_tw_env")
            pddl = import_module("textworld.envs.pddl")
        infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
        self._env: Any = wrappers.AlfredInfos(wrappers.AlfredDemangler(pddl.PddlEnv(infos)))
        self._state: Any = None

    def load(self, game: Path) -> None:
        """Load the `game.tw-pddl` at the path."""
        data = json.loads(game.read_text(encoding="utf-8"))  # textworld would leave it open
        with _kept_environment():
            self._env.load(data)

    def reset(self) -> str:
        """Begin the loaded game."""
        with _kept_environment():
            self._state = self._env.reset()
        return str(self._state["feedback"])

    def step(self, command: str) -> tuple[str, bool]:
        """Give a command; returns (text, won)."""
        self._state, _, _ = self._env.step(command)
        return str(self._state["feedback"]), bool(self._state["won"])

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """The admissible commands as the environment gives them."""
        return tuple(self._state["admissible_commands"])


@contextmanager
def _kept_environment() -> Iterator[None]:
    """alfworld sets variables when imported, and textworld's translator sets `sys.argv`."""
    variables, arguments = dict(os.environ), sys.argv
    try:
        yield
    finally:
        sys.argv = arguments
        for name in set(os.environ) - set(variables):
            del os.environ[name]


class _Plays(Protocol):
    def load(self, game: Path) -> None: ...
    def reset(self) -> str: ...
    def step(self, command: str) -> tuple[str, bool]: ...
    @property
    def admissible_commands(self) -> tuple[str, ...]: ...


def bench_alfworld(rounds: int = ROUNDS, games: int = GAMES, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with `name`, `ours` and `rival` (per CPU second), and `ratio`.

    Raises `TaskError` if the two ever say different things.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _compare(_choose_games(games, seed, Path(folder)), rounds, seed)


def _choose_games(count: int, seed: int, folder: Path) -> list[Path]:
    """Real games if there are any, else generated ones, written to the folder."""
    rng = random.Random(f"bench alfworld {seed}")
    if os.environ.get(VARIABLE):
        index = game_index()
        return [index.file(game) for game in rng.sample(index.games, min(count, len(index.games)))]
    files: list[Path] = []
    for number in range(count):
        file = folder / str(number) / GAME_FILE
        file.parent.mkdir()
        file.write_text(game_text(draw_game(rng, sizes())), encoding="utf-8")
        files.append(file)
    return files


def _compare(games: Sequence[Path], rounds: int, seed: int) -> list[dict[str, Any]]:
    ours, rival = GameEngine(), TextworldGame()
    seconds: dict[str, list[tuple[float, float]]] = {"steps": [], "resets": [], "new games": []}
    counts = {"steps": 0, "resets": 0, "new games": 0}
    for number in range(rounds):
        total = {key: [0.0, 0.0] for key in seconds}
        for game in games:
            commands: list[str] | None = None
            said: list[list[Any]] = []
            players: tuple[_Plays, _Plays] = (ours, rival)
            for player, plays in enumerate(players):
                spent, heard, commands = _play(plays, game, commands, f"{seed} {number}")
                said.append(heard)
                for key, value in spent.items():
                    total[key][player] += value
            if said[0] != said[1]:
                raise TaskError(f"Our engine and textworld differ on {game} by {commands}.")
            counts["steps"] += len(commands or ())
            counts["resets"] += 1
            counts["new games"] += 1
        for key, (mine, theirs) in total.items():
            seconds[key].append((mine, theirs))
    rows: list[dict[str, Any]] = []
    for key, pairs in seconds.items():
        rows.append(
            {
                "name": f"ALFWorld {key}/s",
                "ours": counts[key] / sum(mine for mine, _ in pairs),
                "rival": counts[key] / sum(theirs for _, theirs in pairs),
                "ratio": statistics.median(theirs / mine for mine, theirs in pairs),
            }
        )
    return rows


def _play(
    plays: _Plays, game: Path, commands: list[str] | None, seed: str
) -> tuple[dict[str, float], list[Any], list[str]]:
    """Play a game by the commands; without any, choose and return them."""
    before = time.process_time()
    plays.load(game)
    plays.reset()
    first = time.process_time()
    heard: list[Any] = [plays.reset(), plays.admissible_commands]
    begun = time.process_time()
    if commands is None:
        commands = _choose(plays, game, seed)
        heard = [plays.reset(), plays.admissible_commands]
    start = time.process_time()
    for command in commands:
        heard += [plays.step(command), plays.admissible_commands]
    end = time.process_time()
    spent = {"steps": end - start, "resets": begun - first, "new games": first - before}
    return spent, heard, commands


def _choose(plays: _Plays, game: Path, seed: str) -> list[str]:
    commands = list(plays.walkthrough) if isinstance(plays, GameEngine) else []
    for command in commands:
        plays.step(command)
    rng = random.Random(f"{seed} {game.parent.name}")
    for _ in range(RANDOM_STEPS):
        commands.append(rng.choice(plays.admissible_commands))
        plays.step(commands[-1])
    return commands
