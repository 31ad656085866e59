"""ALFWorld's commands as actions and back: "take apple 1 from fridge 1" is `("take", "apple", "1",
"fridge", "1")`."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.errors import TaskError
from tasks.task import Action

_TEMPLATES = {
    "go": "go to {} {}",
    "open": "open {} {}",
    "close": "close {} {}",
    "take": "take {} {} from {} {}",
    "move": "move {} {} to {} {}",
    "clean": "clean {} {} with {} {}",
    "heat": "heat {} {} with {} {}",
    "cool": "cool {} {} with {} {}",
    "use": "use {} {}",
    "slice": "slice {} {} with {} {}",
    "examine": "examine {} {}",
    "look": "look",
    "inventory": "inventory",
    "help": "help",
}

ACTIONS: Mapping[str, int] = {name: text.count("{}") for name, text in _TEMPLATES.items()}
"""Each verb with the number of words that follow it in an action."""

_BETWEEN = frozenset({"to", "from", "with"})


def command_of(action: Action) -> str:
    """The command that an action stands for; `TaskError` if it stands for none."""
    if not action or ACTIONS.get(action[0]) != len(action) - 1:
        raise TaskError(f"ALFWorld has no command for the action '{' '.join(action)}'")
    return _TEMPLATES[action[0]].format(*action[1:])


def action_of(command: str) -> Action:
    """The action that a command spells; `TaskError` if it spells none."""
    verb, *rest = command.split() or [""]
    action = (verb, *(word for word in rest if word not in _BETWEEN))
    if ACTIONS.get(verb) != len(action) - 1 or command_of(action) != " ".join([verb, *rest]):
        raise TaskError(f"'{command}' is none of ALFWorld's commands")
    return action
