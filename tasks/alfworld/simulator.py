"""ALFWorld as a simulator: what the agent knows as atoms, the admissible commands as actions.

The world itself is `tasks.alfworld.engine`; `atoms` follow from its texts alone
(`tasks.alfworld.knowledge`) **(ours)**, `solved` and the conditions met from the world.
"""

from __future__ import annotations

from tasks.alfworld.commands import action_of, command_of
from tasks.alfworld.conditions import condition_count, conditions_met
from tasks.alfworld.engine import GameEngine
from tasks.alfworld.knowledge import LOOKS, ROLES, USES, WHERES, Knowledge
from tasks.alfworld.statement import TREATED
from tasks.alfworld.vocabulary import NUMBERS, OBJECTS, RECEPTACLES
from tasks.errors import TaskError
from tasks.task import Action, Atom, Task

WORDS: tuple[tuple[str, str], ...] = (
    *((name, "receptacle") for name in RECEPTACLES),
    *((name, "object") for name in OBJECTS),
    *((number, "number") for number in NUMBERS),
    *(
        (word, "value")
        for word in dict.fromkeys((*LOOKS, *WHERES, *USES, *ROLES, *TREATED.values()))
    ),
)
"""What atoms and actions may name; a thing is named by two of these words, its type and number."""

REFUSED = "Nothing happens."
"""What the world says to a command that it does not accept."""


class AlfworldSimulator:
    """One game at a time; an action is a command, accepted if it is admissible."""

    def __init__(self) -> None:
        self._engine = GameEngine()
        self._knowledge: Knowledge | None = None
        self._actions: tuple[Action, ...] = ()
        self._text = ""

    def reset(self, task: Task) -> None:
        """Begin the task's game; `TaskError` if it cannot be played or its text not be read."""
        self._knowledge = None
        self._engine.load(task.problem)
        self._text = self._engine.reset()
        self._knowledge = Knowledge(self._text)
        self._look_up()

    @property
    def domain(self) -> str:
        """The domain's name."""
        return "alfworld"

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        """All words that can name something, with their kinds: the same in every task."""
        return WORDS

    @property
    def knowledge(self) -> Knowledge:
        """What the agent knows."""
        if self._knowledge is None:
            raise TaskError("the ALFWorld simulator plays no task: call reset first")
        return self._knowledge

    @property
    def atoms(self) -> frozenset[Atom]:
        """What the agent knows, as atoms."""
        return self.knowledge.atoms

    @property
    def goal(self) -> tuple[Atom, ...]:
        """The task's statement as atoms."""
        return self.knowledge.statement.conditions

    @property
    def text(self) -> str:
        """What the world said last; at first the room and the task's statement."""
        return self._text

    @property
    def statement(self) -> str:
        """The task in the world's English, e.g. "put a cool apple in microwave"."""
        return self.knowledge.statement.text

    @property
    def engine(self) -> GameEngine:
        """The world itself, for teachers and tests: it knows what no agent may see."""
        return self._engine

    def applicable_actions(self) -> tuple[Action, ...]:
        """The admissible commands as actions, sorted."""
        return self._actions

    def step(self, action: Action) -> bool:
        """Give the command; False if it is not admissible (the world is left alone then)."""
        if action not in self._actions:
            self._text = REFUSED
            return False
        command = command_of(action)
        self._text, _ = self._engine.step(command)
        self.knowledge.observe(command, self._text)
        self._look_up()
        return True

    def goal_conditions(self) -> tuple[int, int]:
        """(conditions met, conditions), counted as ALFRED does, in the world's own state."""
        statement = self.knowledge.statement
        count = condition_count(statement)
        if self._engine.won:
            return count, count
        return conditions_met(statement, self._engine.hidden_facts()), count

    @property
    def solved(self) -> bool:
        """Whether the world says that the game is won."""
        return self._engine.won

    def _look_up(self) -> None:
        """Take the admissible commands in.

        The world offers them with every observation; that a receptacle can be examined tells that
        it is at hand, as `look` would.
        """
        self._actions = tuple(sorted(map(action_of, self._engine.admissible_commands)))
        self.knowledge.stand_before(
            " ".join(action[1:]) for action in self._actions if action[0] == "examine"
        )
