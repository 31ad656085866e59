"""The worlds that are not written in PDDL: by name, made when they are asked for.

A world is a package of this folder whose module `domain` has a function `make_domain`, without
arguments, that gives its `tasks.domains.Domain`. What it needs may be missing: a package of an
extra, or data; then `make_domain` raises `TaskError`, or an import fails and the sentence is made
here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.errors import TaskError

if TYPE_CHECKING:
    from tasks.domains import Domain


@dataclass(frozen=True, slots=True)
class World:
    """Where a world is made, and the extra of this project that installs what it needs.

    `data` is the environment's variable that names the folder of its files ("": it needs none).
    """

    module: str
    extra: str
    data: str = ""


WORLDS = {
    "alfworld": World("tasks.alfworld.domain", "", "ALFWORLD_DATA"),
    "textcraft": World("tasks.textcraft.domain", "textcraft"),
    "virtualhome": World("tasks.virtualhome.domain", "virtualhome"),
}


def world_names() -> tuple[str, ...]:
    """The worlds' names, as `get_domain` takes them."""
    return tuple(WORLDS)


def make_world(name: str) -> Domain:
    """The domain of a world; `TaskError` says what to install or to set if it cannot be had."""
    world = WORLDS[name]
    try:
        domain: Domain = importlib.import_module(world.module).make_domain()
    except ImportError as error:
        what = f".[{world.extra}]" if world.extra else "."
        raise TaskError(
            f"domain '{name}' needs a package that is not installed ({error}): "
            f"run pip install '{what}' in this project's folder"
        ) from error
    return domain
