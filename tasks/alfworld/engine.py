"""Plays ALFWorld's games (`game.tw-pddl`): commands in, the world's own English out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import TaskError
from tasks.task import Atom


class GameEngine:
    """Plays one game at a time; texts are byte for byte those of textworld under alfworld.

    `load` a game, `reset`, then `step` with commands. One engine a process is enough: it may load
    any number of games after one another. Not safe to share between threads.
    """

    def __init__(self) -> None:
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs.pddl import PddlEnv

        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        self._env: Any = AlfredDemangler(PddlEnv(infos))
        self._state: Any = None

    def load(self, game: str | Path | Mapping[str, object]) -> None:
        """Load a game: the path of a `game.tw-pddl`, its text, or what its JSON holds."""
        if isinstance(game, Path):
            game = game.read_text(encoding="utf-8")
        data = json.loads(game) if isinstance(game, str) else game
        self._env.load(dict(data))
        self._state = None

    def reset(self) -> str:
        """Begin the loaded game; returns the first observation with the task's statement."""
        self._state = self._env.reset()
        return str(self._state.feedback)

    def step(self, command: str) -> tuple[str, bool]:
        """Give a command; returns (what the world says, whether the game is won now)."""
        if self._state is None:
            raise TaskError("The ALFWorld engine plays no game: call load() and reset() first.")
        self._state, _, _ = self._env.step(command)
        return str(self._state.feedback), self.won

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """The commands that do something now, sorted."""
        return tuple(self._state["admissible_commands"])

    @property
    def won(self) -> bool:
        """Whether the game's goal holds now."""
        return bool(self._state["won"])

    @property
    def walkthrough(self) -> tuple[str, ...]:
        """The commands that win the game, as its file gives them; empty where it gives none."""
        return tuple(self._env.unwrapped.walkthrough or ())

    def hidden_facts(self) -> frozenset[Atom]:
        """For teachers only: the full state, e.g. ("inreceptacle", "apple 1", "fridge 1").

        Predicates and arguments are lower case; a thing has the name that the texts give it, a
        location, a type or the agent its identifier in the problem.
        """
        names = {k: info.name.strip() for k, info in self._env.unwrapped._entity_infos.items()}
        return frozenset(
            (fact.name, *(names.get(v.name, v.name) for v in fact.arguments))
            for fact in self._env.unwrapped._pddl_state.facts
        )
