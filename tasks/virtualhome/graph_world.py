"""VirtualHome's evolving graph: one scene, changed by one action after another.

The transitions are `virtualhome-eval`'s own. At this edge its clocks are emptied, which would keep
every measurement for ever, and a refused action leaves the state as it was **(ours)**.

Of some 290 nodes only those are kept that can bear on the task's own **(ours)**: its objects, all
rooms, the body, what stands in any relation to an object of the task, and what these are inside of.
No rule of the world looks further, so that every outcome is that of the whole scene.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tasks.virtualhome.programs import CHARACTER, Step, graph_file, read_program

_PACKAGE = "virtualhome_eval.simulation.evolving_graph"
_KEPT_GRAPHS = 512
"""Scenes that a process keeps; states are differences from them and never change them."""

_ASKED_BY_DOING = frozenset({"putobjback"})
"""Steps for which the package answers wrongly when it is only asked."""


class GraphWorld:
    """A program's scene. Nodes are known by their numbers; `ImportError` without the package.

    `state` is the present one; a step puts another in its place. `whole` keeps the whole scene,
    for comparison.
    """

    def __init__(self, program: str, whole: bool = False) -> None:
        self._environment = importlib.import_module(f"{_PACKAGE}.environment")
        self._execution = importlib.import_module(f"{_PACKAGE}.execution")
        self._scripts = importlib.import_module(f"{_PACKAGE}.scripts")
        importlib.import_module(f"{_PACKAGE}.common").TimeMeasurement.reset_all()
        self._graph = _graph(program, whole)
        self.state = self._environment.EnvironmentState(self._graph, {}, instance_selection=True)

    def step(self, step: Step) -> bool:
        """Take a step; False if the world refuses it."""
        result = self._outcome(step, modify=True)
        if result is None:
            return False
        self.state = result
        return True

    def accepts(self, step: Step) -> bool:
        """Whether the world would take the step now."""
        return self._outcome(step, modify=step[0] in _ASKED_BY_DOING) is not None

    def class_of(self, node: int) -> str:
        """What kind of thing the node is, e.g. `washing_machine`."""
        return str(self._graph.get_node(node).class_name)

    def is_room(self, node: int) -> bool:
        """Whether the node is a room."""
        return bool(self._graph.get_node(node).category == "Rooms")

    def properties(self, node: int) -> frozenset[str]:
        """What can be done with it, e.g. GRABBABLE."""
        return frozenset(prop.name for prop in self._graph.get_node(node).properties)

    def states(self, node: int) -> frozenset[str]:
        """How it is now, e.g. CLOSED."""
        return frozenset(state.name for state in self.state.get_node(node).states)

    def related(self, node: int, relation: str) -> frozenset[int]:
        """The nodes to which it stands in the relation now."""
        kind = self._environment.Relation[relation]
        return frozenset(self.state.get_node_ids_from(node, kind))

    def room_of(self, node: int) -> int | None:
        """The room in which a node is now."""
        room = self._execution._get_room_node(self.state, self.state.get_node(node))
        return None if room is None else int(room.id)

    def within_reach(self, nodes: Iterable[int]) -> frozenset[int]:
        """Those of the nodes that the world takes for close to the character now."""
        return frozenset(
            node
            for node in nodes
            if self._execution._is_character_close_to(self.state, self.state.get_node(node), 0)
        )

    def _outcome(self, step: Step, modify: bool) -> Any:
        word, nodes = step
        action = self._scripts.Action.__members__.get(word.upper())
        if action is None or action.value[1] != len(nodes):
            return None
        objects = [self._scripts.ScriptObject(self.class_of(node), node) for node in nodes]
        script = self._scripts.Script([self._scripts.ScriptLine(action, objects, 0)])
        outcomes = self._execution.ScriptExecutor.call_action_method(
            script, self.state, self._execution.ExecutionInfo(), 0, modify
        )
        return None if outcomes is None else next(iter(outcomes), None)


@lru_cache(maxsize=_KEPT_GRAPHS)
def _graph(program: str, whole: bool) -> Any:
    """The scene at a program's start."""
    module = importlib.import_module(f"{_PACKAGE}.environment")
    graph = json.loads(graph_file(program).read_text(encoding="utf-8"))["init_graph"]
    return module.EnvironmentGraph(graph if whole else _around(graph, read_program(program).nodes))


def _around(graph: dict[str, Any], own: frozenset[int]) -> dict[str, Any]:
    """The part of a scene that can bear on the task's own nodes."""
    rooms = {node["id"] for node in graph["nodes"] if node["category"] == "Rooms"}
    body = {node["id"] for node in graph["nodes"] if "BODY_PART" in node["properties"]}
    centres = (own | {CHARACTER}) - rooms
    kept = own | {CHARACTER} | rooms | body
    inside: dict[int, set[int]] = {}
    for edge in graph["edges"]:
        start, end = edge["from_id"], edge["to_id"]
        if start in centres or end in centres:
            kept |= {start, end}
        if edge["relation_type"] == "INSIDE":
            inside.setdefault(start, set()).add(end)
    waiting = list(kept)
    while waiting:
        around = inside.get(waiting.pop(), set()) - kept
        kept |= around
        waiting += around
    return {
        "nodes": [node for node in graph["nodes"] if node["id"] in kept],
        "edges": [e for e in graph["edges"] if e["from_id"] in kept and e["to_id"] in kept],
    }
