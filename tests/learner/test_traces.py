from typing import Any

import pytest

from configs.schema import RenderingConfig
from learner.planners import MimirPlanner, PlanLimits, PlanOutcome
from learner.traces import objects_in_order, teach
from tasks.domains import Domain, get_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.task import Action, Simulator, Task


def parts(
    name: str = "blocks", **rendering: Any
) -> tuple[Domain, Simulator, Rendering, MimirPlanner]:
    domain = get_domain(name)
    return (
        domain,
        make_simulator(domain),
        Rendering([domain], RenderingConfig(**rendering)),
        MimirPlanner(domain),
    )


@pytest.mark.parametrize("observation", ["none", "changes", "state"])
def test_a_trace_replays_in_the_simulator(observation: str) -> None:
    domain, simulator, rendering, planner = parts(observation=observation)
    for seed in range(5):
        task = domain.draw({"blocks": (2, 4)}, seed)
        outcome, trace = teach(task, planner, simulator, rendering, PlanLimits())
        if outcome.cost == 0:
            assert trace is None
            continue
        assert trace is not None
        assert len(trace.actions) == len(trace.observations) == outcome.cost
        assert trace.observations[0] == ""
        words = set(rendering.vocabulary)
        text = " ".join((trace.prompt, *trace.observations, *trace.actions))
        assert set(text.split()) <= words
        simulator.reset(task)
        naming = rendering.naming(simulator, int(task.digest[:8], 16))
        for number, (seen, text) in enumerate(zip(trace.observations, trace.actions)):
            assert (seen != "") == (observation != "none" and number > 0)
            action = rendering.parse_action(text, naming)
            assert action is not None
            assert simulator.step(action)
        assert simulator.solved


class Graph:
    """All states of a task that can be reached, by its simulator: the plain reference."""

    def __init__(self, simulator: Simulator, task: Task) -> None:
        simulator.reset(task)
        self.start = simulator.atoms
        self.edges: dict[frozenset[Any], dict[Action, frozenset[Any]]] = {}
        solved = {self.start} if simulator.solved else set()
        ways: dict[frozenset[Any], tuple[Action, ...]] = {self.start: ()}
        waiting = [self.start]
        while waiting:
            state = waiting.pop()
            self.edges[state] = {}
            self._go(simulator, task, ways[state])
            for action in simulator.applicable_actions():
                self._go(simulator, task, (*ways[state], action))
                after = simulator.atoms
                self.edges[state][action] = after
                if after not in ways:
                    ways[after] = (*ways[state], action)
                    waiting.append(after)
                    if simulator.solved:
                        solved.add(after)
        self.distance = dict.fromkeys(solved, 0)
        layer = solved
        while layer:
            layer = {
                state
                for state, edges in self.edges.items()
                if state not in self.distance and layer & set(edges.values())
            }
            self.distance |= dict.fromkeys(layer, max(self.distance.values()) + 1)

    @staticmethod
    def _go(simulator: Simulator, task: Task, way: tuple[Action, ...]) -> None:
        simulator.reset(task)
        for action in way:
            simulator.step(action)

    def best(self, state: frozenset[Any]) -> list[Action]:
        """The actions of shortest plans."""
        wanted = self.distance[state] - 1
        return [a for a, after in self.edges[state].items() if self.distance.get(after) == wanted]


@pytest.mark.parametrize(
    ("name", "size"),
    [("blocks", {"blocks": (3, 3)}), ("gripper", {"balls": (2, 2), "rooms": (2, 2)})],
)
def test_with_prompts_each_decision_is_canonical_by_the_text_it_is_made_from(
    name: str, size: dict[str, tuple[int, int]]
) -> None:
    """Every observation is the prompt of its state, and says alone which of the best is right."""
    domain, simulator, rendering, planner = parts(name, observation="prompt")
    choices = 0
    for seed in range(3):
        task = domain.draw(size, seed)
        outcome, trace = teach(task, planner, simulator, rendering, PlanLimits())
        if trace is None:
            continue
        graph = Graph(make_simulator(domain), task)
        assert outcome.optimal
        assert len(trace.actions) == graph.distance[graph.start]
        simulator.reset(task)
        naming = rendering.naming(simulator, int(task.digest[:8], 16))
        assert trace.observations[0] == ""
        for number, spoken in enumerate(trace.actions):
            prompt = rendering.prompt(simulator, naming)
            assert (trace.observations[number] or trace.prompt) == prompt
            assert prompt.split().count("<domain>") == 1
            place = {word: at for at, word in reversed(list(enumerate(prompt.split())))}
            best = graph.best(simulator.atoms)
            choices += len(best) > 1
            action = rendering.parse_action(spoken, naming)
            assert action is not None
            places = {one: (one[0], [place[naming.word[x]] for x in one[1:]]) for one in best}
            assert places[action] == min(places.values())
            assert simulator.step(action)
        assert simulator.solved
    assert choices > 0  # there were ties to break


def test_the_same_task_gives_the_same_trace() -> None:
    domain, simulator, rendering, planner = parts("gripper")
    task = domain.draw({"balls": (3, 3)}, 3)
    first = teach(task, planner, simulator, rendering, PlanLimits())[1]
    second = teach(task, planner, simulator, rendering, PlanLimits())[1]
    assert first == second


def test_objects_come_in_the_order_of_the_prompt() -> None:
    domain, simulator, rendering, _ = parts("ferry")
    simulator.reset(domain.draw({"cars": (2, 2), "locations": (4, 4)}, 1))
    naming = rendering.naming(simulator, 1)
    prompt = rendering.prompt(simulator, naming)
    order = objects_in_order(simulator, naming, prompt)
    assert sorted(order) == sorted(name for name, _ in simulator.objects)
    words = prompt.split()
    shown = [words.index(naming.word[name]) for name in order if naming.word[name] in words]
    assert shown == sorted(shown)


class Liar:
    name = "liar"

    def __init__(self, plan: tuple[Action, ...]) -> None:
        self.given = plan

    def plan(self, task: Task, limits: Any, objects: Any = ()) -> PlanOutcome:
        return PlanOutcome("solved", self.given, optimal=True)


def test_a_plan_that_the_simulator_refutes_is_an_error() -> None:
    domain, simulator, rendering, planner = parts()
    task = next(
        t for t in (domain.draw({"blocks": (4, 4)}, s) for s in range(20))
        if planner.plan(t, PlanLimits()).cost > 2
    )  # fmt: skip
    good = planner.plan(task, PlanLimits()).plan
    for plan, what in (((("stack", "b1", "b1"),), "refused"), (good[:-1], "goal does not hold")):
        outcome, trace = teach(task, Liar(plan), simulator, rendering, PlanLimits())
        assert outcome.status == "error"
        assert what in outcome.reason
        assert trace is None
