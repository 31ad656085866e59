"""Plays ALFWorld's games (`game.tw-pddl`): commands in, the world's own English out.

    engine = GameEngine()
    engine.load(Path("game.tw-pddl"))
    print(engine.reset())
    text, won = engine.step("go to fridge 1")

Observations, admissible commands and the won flag are byte for byte those of textworld's `PddlEnv`
under alfworld's `AlfredDemangler`, without either library: the PDDL and the grammar that each game
carries are read once and then played by a small evaluator of our own (`engine_pddl`,
`engine_facts`, `engine_grammar`, `engine_text`, `engine_names`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from tasks.alfworld.engine_actions import GameAction
from tasks.alfworld.engine_facts import Facts, Plan, Row
from tasks.alfworld.engine_grammar import read_grammar, read_template
from tasks.alfworld.engine_names import name_entities
from tasks.alfworld.engine_pddl import read_game_domain, read_game_problem
from tasks.alfworld.engine_text import Narrator
from tasks.errors import TaskError
from tasks.task import Atom

NOTHING_HAPPENS = "Nothing happens."
LARGEST_GAME = 8 * 2**20
"""Bytes that a game's file may have; real ones have about 0.1 MB."""

_INTRODUCTION = read_template("#intro#")
_Choice: TypeAlias = tuple[GameAction, Row]
"""An action and the values of its parameters."""


class GameEngine:
    """Plays one game at a time, any number after one another.

    Deterministic. Not safe to share between threads. Nothing is written to standard output.
    """

    def __init__(self) -> None:
        self._game: _Game | None = None
        self._playing = False
        self._choices: dict[str, _Choice] | None = None
        self._won: bool | None = None
        self._walkthrough: tuple[str, ...] = ()

    def load(self, game: str | Path | Mapping[str, object]) -> None:
        """Load a game: the path of a `game.tw-pddl`, its text, or what its JSON holds.

        A `str` is the text, not a path. `TaskError` says what is wrong with a game.
        """
        self._game = None
        self._playing = False
        self._walkthrough = ()
        source = str(game) if isinstance(game, Path) else "game"
        data = _read_game(game, source)
        domain, grammar, problem = (
            _text_member(data, key, source) for key in ("pddl_domain", "grammar", "pddl_problem")
        )
        walkthrough = data.get("walkthrough") or []
        if not isinstance(walkthrough, list) or not all(isinstance(x, str) for x in walkthrough):
            raise TaskError(f"{source}: its 'walkthrough' is not a list of commands.")
        try:
            self._game = _Game(domain, grammar, problem)
        except TaskError as error:
            raise TaskError(f"{source}: {error}") from error
        self._walkthrough = tuple(walkthrough)

    def reset(self) -> str:
        """Begin the loaded game; returns the first observation with the task's statement."""
        if self._game is None:
            raise TaskError("The ALFWorld engine has no game: call load() first.")
        self._playing = True
        self._changed()
        return self._game.begin()

    def step(self, command: str) -> tuple[str, bool]:
        """Give a command; returns (what the world says, whether the game is won now).

        A command that is not admissible changes nothing: "Nothing happens."
        """
        game = self._in_play()
        choice = self._commands().get(command.strip())
        if choice is None:
            return NOTHING_HAPPENS, self.won
        action, values = choice
        action.apply(values)
        self._changed()
        context = game.narrator.context(action.mapping(values))
        return game.narrator.say(action.answer, context), self.won

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """The commands that the world would accept now, sorted."""
        return tuple(self._commands())

    @property
    def won(self) -> bool:
        """Whether the game's goal holds now."""
        game = self._in_play()
        if self._won is None:
            self._won = any(plan.search() for plan in game.goal)
        return self._won

    @property
    def walkthrough(self) -> tuple[str, ...]:
        """The commands that win the game, as its file gives them; empty where it gives none."""
        return self._walkthrough

    def hidden_facts(self) -> frozenset[Atom]:
        """For teachers only: the full state, e.g. ("inreceptacle", "apple 1", "fridge 1").

        Predicates are lower case, without negations. A thing, and a location ("loc 5"), has the
        name that texts give it; types and the agent have their identifiers ("appletype", "agent1").
        """
        game = self._in_play()
        names = game.names
        return frozenset(
            (atom[0], *[names.get(name, name) for name in atom[1:]])
            for atom in game.facts.atoms()
            if not atom[0].startswith("not_")
        )

    def hidden_types(self) -> dict[str, str]:
        """For teachers only: name → PDDL type of all things that the facts can mention."""
        game = self._in_play()
        return {game.names[x.id]: x.type for x in game.entities.values()}

    def _in_play(self) -> _Game:
        if self._game is None or not self._playing:
            raise TaskError("The ALFWorld engine plays no game: call load() and reset() first.")
        return self._game

    def _changed(self) -> None:
        self._choices = None
        self._won = None

    def _commands(self) -> dict[str, _Choice]:
        game = self._in_play()
        if self._choices is None:
            found: dict[str, _Choice] = {}
            for action in game.actions:
                for values in action.applicable():
                    found.setdefault(action.command(values, game.narrator), (action, values))
            self._choices = dict(sorted(found.items(), key=lambda item: item[0]))
        return self._choices


class _Game:
    """A game as it was loaded, with the facts of the present episode."""

    def __init__(self, domain_text: str, grammar_text: str, problem_text: str) -> None:
        domain = read_game_domain(domain_text, "pddl_domain")
        grammar = read_grammar(grammar_text, "grammar")
        problem = read_game_problem(problem_text, "pddl_problem", domain)
        self.facts = Facts(domain, problem.objects, problem.initial)
        self.entities = name_entities(problem.initial, problem.objects)
        self.names = {identifier: x.name.strip() for identifier, x in self.entities.items()}
        self.narrator = Narrator(grammar, self.facts, self.entities, domain)
        self.actions: list[GameAction] = []
        for schema in domain.schemas:
            if schema.name not in grammar.actions:
                raise TaskError(f"the game's grammar has no action '{schema.name}'")
            command, answer = grammar.actions[schema.name]
            constant = not self.narrator.reads(command) & self.facts.fluents
            self.actions.append(GameAction(schema, self.facts, command, answer, constant))
        self.goal = [Plan(self.facts, conjunction) for conjunction in problem.goal]

    def begin(self) -> str:
        self.facts.restart()
        return self.narrator.say(_INTRODUCTION, self.narrator.context({}))


def _read_game(game: str | Path | Mapping[str, object], source: str) -> Mapping[str, object]:
    if isinstance(game, Mapping):
        return game
    if isinstance(game, Path):
        try:
            if game.stat().st_size > LARGEST_GAME:
                raise TaskError(f"{source}: a game's file has at most {LARGEST_GAME} bytes.")
            game = game.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"{source}: the game cannot be read ({error}).") from error
    try:
        data = json.loads(game)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{source}: the game is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise TaskError(f"{source}: the game is not a JSON object.")
    return data


def _text_member(data: Mapping[str, object], key: str, source: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise TaskError(f"{source}: the game has no text '{key}'; a game.tw-pddl has one.")
    return value
