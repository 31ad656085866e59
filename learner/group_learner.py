"""One of several learners of a run, as RLlib's LearnerGroup starts it: a process with a student.

RLlib makes the processes, gives them their processors and GPUs, and joins them by torch.distributed
(NCCL on GPUs, gloo elsewhere). What they learn is no RLModule and comes in no SampleBatch, so that
`build` makes our student in place of a module, and `LearnerGroup.foreach_learner` calls the methods
below in place of `update` (whose `async_update` drops batches while a learner is busy). All of them
are called in all processes, in the same order: most exchange something.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import ray
import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from learner.distilled_lm import DistilledLM
from learner.shares import enough, shared_out, weight
from learner.student import RoundStatistics
from learner.student_plan import StudentPlan
from model.peers import peer_count, peer_rank
from shared_memory.records import Trace

PLAN = "plan"
"""Where the learner's configuration holds the `StudentPlan`."""


class GroupLearner(TorchLearner):  # type: ignore[misc]
    """Holds a copy of the student; all copies are equal after every step."""

    student: DistilledLM

    def build(self) -> None:
        """Make the student, where RLlib would make a module and its optimisers."""
        plan: StudentPlan = self.config.learner_config_dict[PLAN]
        torch.set_num_threads(max(1, int(plan.distillation.learner_cpus)))
        self.student = plan.make()
        self._config = plan.distillation
        self._is_built = True

    def compute_loss_for_module(self, **_: object) -> object:
        """Not for this learner; raises NotImplementedError."""
        raise NotImplementedError("a GroupLearner has no module: call `step`")

    def parameters(self) -> int:
        """Trained numbers of the student."""
        return self.student.parameters

    def processor_seconds(self) -> float:
        """What this process has computed since its start."""
        return time.process_time()

    def step(self, traces: Sequence[Trace]) -> list[float]:
        """Learn this process's share of the batch; what share of its decisions was right, for each
        of its traces. All processes' answers one after another are those of the batch."""
        batch = enough(traces, peer_count())
        weights = [weight(trace, self._config) for trace in batch]
        return list(self.student.step(batch, shared_out(weights, peer_count())[peer_rank()]))

    def round_statistics(self) -> RoundStatistics:
        """See `Student`."""
        return self.student.round_statistics()

    def weights(self, version: int) -> bytes | None:
        """See `Student`; the first process tells."""
        payload = self.student.weights(version)
        return payload if peer_rank() == 0 else None

    def files(self) -> Mapping[str, bytes] | None:
        """See `Student`; the first process tells."""
        return self.student.files() if peer_rank() == 0 else None

    def restore(self, files: ray.ObjectRef[Mapping[str, bytes]]) -> None:
        """See `Student`."""
        self.student.restore(ray.get(files))

    def adopt(self, payload: ray.ObjectRef[bytes], steps: int) -> None:
        """See `Student`."""
        self.student.adopt(ray.get(payload), steps)
