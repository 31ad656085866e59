"""From a plan to a trace: the text of every decision that the teacher would have taken.

The plan is run in the simulator first: a plan with an action that it refuses, or that misses the
goal, is an error of the planner and never becomes a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from learner.planners import PlanLimits, Planner, PlanOutcome
from shared_memory.records import PlanRequest, Trace
from tasks.naming import Naming
from tasks.rendering import Rendering
from tasks.task import Action, Simulator, Task


def task_of(request: PlanRequest) -> Task:
    """The task that a plan is asked for."""
    return Task(
        domain=request.domain,
        problem=request.problem,
        digest=request.task_digest,
        origin=request.origin,
        phase=request.phase,
        index=request.task_index,
    )


def naming_seed(digest: str) -> int:
    """The seed of a trace's names: the first 8 hex digits of the task's digest."""
    return int(digest[:8], 16)


def teach(
    task: Task,
    planner: Planner,
    simulator: Simulator,
    rendering: Rendering,
    limits: PlanLimits,
) -> tuple[PlanOutcome, Trace | None]:
    """Plan for the task, validate the plan in the simulator and render it.

    The trace is None unless the planner solved the task, and where the initial state meets the
    goal already (there is no decision to learn). A plan that the simulator refuses comes back
    as "error" with the reason.
    """
    simulator.reset(task)
    naming = rendering.naming(simulator, naming_seed(task.digest))
    prompt = rendering.prompt(simulator, naming)
    order = objects_in_order(simulator, naming, prompt)
    anew = rendering.config.observation == "prompt"

    done: list[Action] = []

    def present_order(actions: Sequence[Action]) -> Sequence[str]:
        """The order in the text that the next action is chosen from."""
        if not anew:
            return order
        if list(actions[: len(done)]) != done:  # a planner that took an action back
            simulator.reset(task)
            done.clear()
        for action in actions[len(done) :]:
            simulator.step(action)
            done.append(action)
        return objects_in_order(simulator, naming, rendering.prompt(simulator, naming))

    outcome = planner.plan(task, limits, present_order)
    if anew:
        simulator.reset(task)
    if outcome.status != "solved":
        return outcome, None
    observations = [""]
    actions: list[str] = []
    for number, action in enumerate(outcome.plan):
        before = simulator.atoms
        if not simulator.step(action):
            return _refuted(outcome, f"action {number} ({' '.join(action)}) is refused", task), None
        actions.append(rendering.action(action, naming))
        observations.append(rendering.observation(before, simulator, naming))
    if not simulator.solved:
        return _refuted(outcome, "the goal does not hold at the plan's end", task), None
    if not actions:
        return outcome, None
    trace = Trace(
        task_index=task.index,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        teacher=planner.name,
        prompt=prompt,
        observations=tuple(observations[:-1]),
        actions=tuple(actions),
    )
    return outcome, trace


def objects_in_order(simulator: Simulator, naming: Naming, prompt: str) -> Sequence[str]:
    """The simulator's object names in the order in which the prompt first shows them.

    Objects that the prompt does not show come last, in the problem's order.
    """
    words = prompt.split()
    place: dict[str, int] = {}
    for position, word in enumerate(words):
        place.setdefault(word, position)
    names = [name for name, _ in simulator.objects]
    return sorted(names, key=lambda name: place.get(naming.word[name], len(words)))


def _refuted(outcome: PlanOutcome, what: str, task: Task) -> PlanOutcome:
    reason = f"the simulator refutes the plan for task {task.digest} ({task.domain}): {what}"
    return replace(outcome, status="error", plan=(), optimal=False, reason=reason)
