"""A student in several processes: RLlib's LearnerGroup computes, this one shares out and collects.

Every process gets the whole batch and learns its own share of it. The sum of the gradients moves
each copy of the weights, and the summed counts and vectors each copy of the book (model.peers), so
that the copies stay equal, and equal, but for rounding, to those of one learner. Random draws are
made for the whole batch in every process: what comes out does not hang on who learns what.

A process that dies or hangs ends the group: what the others hold may be half a step ahead. The
learner's actor ends with it, and goes on from its last checkpoint, which any number of learners
can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    remove_placement_group,
)

from configs.errors import NesyprError
from configs.schema import DistillationConfig
from learner.errors import LearnerError
from learner.group_learner import PLAN, GroupLearner
from learner.student import RoundStatistics
from learner.student_plan import StudentPlan
from shared_memory.records import Trace

ROOM_DEADLINE_S = 60.0
"""How long the cluster may take to find room for all learners."""

PATIENCE = 0.8
"""Share of `distillation.request_deadline_s` that a request to the learners may take: past the
whole of it the driver kills the learner without knowing which of them hangs."""

LEAST_PATIENCE_S = 5.0


class JointStudent:
    """A `Student` whose steps are taken by `distillation.learners` processes.

    They are children of this process, and Ray ends them with it, however it ends. `close` ends
    them at once. `run` names their room on the cluster: it takes the place of one that a learner
    of that run left behind. Raises LearnerError where there is none for them.
    """

    def __init__(self, plan: StudentPlan, run: str) -> None:
        config = plan.distillation
        self._deadline_s = max(LEAST_PATIENCE_S, PATIENCE * config.request_deadline_s)
        self._count = config.learners
        self._room = _room(config, f"nesypr: learners of {run}")
        try:
            self._group = LearnerGroup(
                config=_settings(plan), module_spec=RLModuleSpec(), placement_group=self._room
            )
        except (ray.exceptions.RayError, RuntimeError) as error:
            self.close()
            raise LearnerError(
                f"the {self._count} learners could not be started: {_words(error)}"
            ) from error
        self._parameters: int = self._ask("parameters", "tell their size")[0]

    @property
    def parameters(self) -> int:
        """How many numbers the model consists of, codes included."""
        return self._parameters

    def step(self, traces: Sequence[Trace]) -> Sequence[float]:
        """Take one distillation step; what share of each trace's decisions was right before it."""
        answers = self._ask("step", "take a step", traces=list(traces))
        return [right for share in answers for right in share][: len(traces)]

    def round_statistics(self) -> RoundStatistics:
        """What the steps since the last call gave; begins a new window."""
        found: RoundStatistics = self._ask("round_statistics", "tell how they learned")[0]
        return found

    def weights(self, version: int) -> bytes:
        """The model as actors load it, under this version."""
        payload: bytes = self._ask("weights", "give the weights", version=version)[0]
        return payload

    def files(self) -> Mapping[str, bytes]:
        """Everything that a checkpoint must keep: one learner's, as all are equal."""
        files: Mapping[str, bytes] = self._ask("files", "give a checkpoint's files")[0]
        return files

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint's files, of however many learners."""
        self._ask("restore", "read a checkpoint", files=ray.put(dict(files)))

    def adopt(self, payload: bytes, steps: int) -> None:
        """Take over published weights that are newer than the checkpoint, after `steps` steps."""
        self._ask("adopt", "take over weights", payload=ray.put(payload), steps=steps)

    def processor_seconds(self) -> list[float]:
        """What each process has computed since its start."""
        return self._ask("processor_seconds", "tell what they computed")

    def close(self) -> None:
        """End the processes, also such as hang."""
        group: LearnerGroup | None = getattr(self, "_group", None)
        for worker in getattr(group, "_workers", None) or ():
            ray.kill(worker, no_restart=True)
        if group is not None:
            group._is_shut_down = True  # or its end waits half a minute for the dead to say goodbye
        if self._room is not None:
            remove_placement_group(self._room)
            self._room = None

    def _ask(self, method: str, words: str, **arguments: Any) -> list[Any]:
        """Call a method in all processes at once; their answers in order.

        Raises LearnerError where one dies or does not answer in time, and what it raised where
        that is an error of the house.
        """
        calls = self._group.foreach_learner(
            partial(_call, method=method), timeout_seconds=self._deadline_s, **arguments
        ).result_or_errors
        answers = {call.actor_id: call.result_or_error for call in calls}
        errors = {number: each.get() for number, each in answers.items() if not each.ok}
        for error in errors.values():
            if isinstance(error, NesyprError):
                raise getattr(error, "cause", error)  # without Ray's remote traceback
        silent = [number for number in range(self._count) if number not in answers]
        died = [
            number
            for number, error in errors.items()
            if isinstance(error, ray.exceptions.RayActorError)
        ]
        asked = f"while they were asked to {words}"
        if died:
            raise LearnerError(
                f"{_names(died, self._count)} died {asked}: {_words(errors[died[0]])}"
            )
        if errors:
            number, error = next(iter(errors.items()))
            raise LearnerError(f"{_names([number], self._count)} failed {asked}: {_words(error)}")
        if silent:
            raise LearnerError(
                f"{_names(silent, self._count)} did not answer within {self._deadline_s:.0f} s "
                f"{asked}: one of them hangs, or the work is too much for 0.8 of "
                "distillation.request_deadline_s"
            )
        return [answers[number].get() for number in range(self._count)]


def _call(learner: GroupLearner, method: str, **arguments: Any) -> Any:
    return getattr(learner, method)(**arguments)


def _settings(plan: StudentPlan) -> AlgorithmConfig:
    """What RLlib needs to know of the learners; it knows nothing of the student."""
    config = plan.distillation
    return AlgorithmConfig().learners(
        num_learners=config.learners,
        num_cpus_per_learner=config.learner_cpus,
        num_gpus_per_learner=config.learner_gpus,
        learner_class=GroupLearner,
        learner_config_dict={PLAN: plan},
    )


def _room(config: DistillationConfig, name: str) -> PlacementGroup | None:
    """Room for all learners, or none of them starts; None within a Tune trial, which has it.

    Raises LearnerError where the cluster has none in time.
    """
    if ray.util.get_current_placement_group() is not None:
        return None
    with suppress(ValueError):  # there is none of that name
        # Ray keeps a group whose creator was killed until the driver ends (its issue 65881).
        remove_placement_group(get_placement_group(name))
    need = {"CPU": config.learner_cpus, "GPU": float(config.learner_gpus)}
    need = {name: amount for name, amount in need.items() if amount}
    room = placement_group([need] * config.learners, name=name)
    if room.wait(ROOM_DEADLINE_S):
        return room
    remove_placement_group(room)
    there, free = ray.cluster_resources(), ray.available_resources()
    had = ", ".join(
        f"{free.get(name, 0.0):g} of {there.get(name, 0.0):g} {name} are free" for name in need
    )
    raise LearnerError(
        f"distillation.learners = {config.learners} learners have no room on the cluster: each "
        f"needs {' and '.join(f'{amount:g} {name}' for name, amount in need.items())}, and {had}; "
        "lower distillation.learners, learner_cpus or learner_gpus, or add hosts"
    )


def _names(numbers: Sequence[int], count: int) -> str:
    which = " and ".join(str(number + 1) for number in numbers)
    return f"learner{'s' if len(numbers) > 1 else ''} {which} of {count}"


def _words(error: BaseException) -> str:
    """The last line of what an error says: Ray puts the remote traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
