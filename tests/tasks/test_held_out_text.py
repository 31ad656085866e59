"""Held out as the small LM sees it: no probe's prompt is a stream's, whatever names are drawn.

The check knows nothing of the digests: it renders every prompt, and brings it to the least of its
forms over all permutations of interchangeable names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import pytest

from cluster.settings import load_settings
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Task


class Texts:
    """Prompts of a stream's tasks, with the names drawn away."""

    def __init__(self, stream: TaskStream, rendering: Rendering) -> None:
        self.rendering = rendering
        self.simulators = {domain.name: make_simulator(domain) for domain in stream.domains}
        self.arities = {domain.word: domain.predicates for domain in stream.domains}
        self.group = {w: group for group in rendering.interchangeable for w in group}
        self.least = cache(self._least)

    def of(self, tasks: Iterable[Task], seed: int) -> set[str]:
        return {self.least(self.prompt(task, seed)) for task in tasks}

    def prompt(self, task: Task, seed: int) -> str:
        simulator = self.simulators[task.domain]
        simulator.reset(task)
        return self.rendering.prompt(simulator, self.rendering.naming(simulator, seed))

    def _least(self, prompt: str) -> str:
        words = prompt.split()
        assert (words[0], words[2]) == ("<domain>", "<goal>")
        middle = words.index("<state>")
        arities = self.arities[words[1]]
        goal = list(_atoms(words[3:middle], arities))
        state = list(_atoms(words[middle + 1 :], arities))
        names = dict.fromkeys(word for atom in goal + state for word in atom if word in self.group)
        members: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            members.setdefault(self.group[name], []).append(name)
        forms = []
        for orders in itertools.product(*map(itertools.permutations, members.values())):
            new = {
                name: group[rank]
                for group, order in zip(members, orders)
                for rank, name in enumerate(order)
            }
            parts = (
                sorted(tuple(new.get(w, w) for w in a) for a in part) for part in (goal, state)
            )
            forms.append(repr((words[1], *parts)))
        return min(forms)


def _atoms(words: list[str], arities: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    start = 0
    while start < len(words):
        head = 2 if words[start] == "not" else 1
        stop = start + head + arities[words[start + head - 1]]
        yield tuple(words[start:stop])
        start = stop


@pytest.mark.parametrize("name", ["quickstart", "smoke"])
def test_no_probe_task_reads_like_one_of_the_stream(name: str) -> None:
    config = load_settings(name).config
    stream = TaskStream(config.stream, seed=config.seed)
    texts = Texts(stream, Rendering(stream.domains, config.rendering))
    probes = [task for phase in stream.phases for task in stream.probe(phase.number)]
    held_out = texts.of(probes, 1)
    assert held_out == texts.of(probes, 2)  # the names drawn do not matter to this check
    assert len(held_out) == len(probes)
    assert not held_out & texts.of(stream, 0)
