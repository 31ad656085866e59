"""Several learners: real RLlib, real gloo, real processes, one of which hangs and is killed."""

import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_world import DOMAINS, wait_for
from test_distilled_lm import TINY, traces

from configs.schema import BookConfig, DistillationConfig, RenderingConfig
from learner import joint_student
from learner.distilled_lm import DistilledLM
from learner.errors import LearnerError
from learner.joint_student import JointStudent
from learner.shares import enough
from learner.student_plan import StudentPlan
from model.saving import from_bytes
from shared_memory.records import Trace

STEPS = 7


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    house = str(Path(__file__).parent.parent.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(
            address="local",  # whatever else runs on this machine
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": house, "OMP_NUM_THREADS": "1"}},
        )
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def pair(cluster: Any) -> Iterator[JointStudent]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RLlib's own
        left = cluster.util.placement_group([{"CPU": 1.0}] * 2, name="nesypr: learners of test")
        assert left.wait(60)  # all the room there is
        student = JointStudent(plan(2), "test")
    yield student
    student.close()


def plan(learners: int, **distillation: Any) -> StudentPlan:
    """With random draws of all kinds: names, decisions, first codes and revived ones."""
    book = BookConfig(codes=16, width=8, warmup_steps=2, dead_after=1, decay=0.9)
    settings = {"warmup_steps": 1, "decisions": 2, "batch_traces": 8, "learning_rate": 1e-3}
    settings |= {"request_deadline_s": 20.0, "optimiser": "muon"} | distillation
    return StudentPlan(
        model=TINY.model_copy(update={"book": book}),
        domains=DOMAINS,
        rendering=RenderingConfig(),
        distillation=DistillationConfig(learners=learners, **settings),
        seed=3,
    )


def batches() -> list[list[Trace]]:
    """Of eight traces, and then of one: fewer than there are learners."""
    made = traces(12)
    eights = [[made[(step + 2 * n) % 12] for n in range(8)] for step in range(STEPS - 1)]
    return [*eights, made[:1]]


def assert_same(one: bytes, other: bytes, tolerance: float) -> None:
    mine, theirs = from_bytes(one)[0].state_dict(), from_bytes(other)[0].state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.allclose(value.double(), theirs[name].double(), atol=tolerance), name


def processes(pair: JointStudent) -> list[int]:
    calls = pair._group.foreach_learner(lambda _: os.getpid(), timeout_seconds=60)
    return [call.get() for call in calls]


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_two_learners_on_halves_are_one_on_the_whole(pair: JointStudent) -> None:
    alone = plan(1).make()
    assert pair.parameters == alone.parameters
    before = alone.weights(0)
    pair.weights(0)
    for batch in batches():
        whole = alone.step(enough(batch, 2))
        assert pair.step(batch) == list(whole)[: len(batch)]
    mine, theirs = pair.round_statistics(), alone.round_statistics()
    assert (mine.steps, mine.tokens) == (theirs.steps, theirs.tokens) == (STEPS, theirs.tokens)
    assert mine.codes_revived == theirs.codes_revived > 0
    assert mine.codes_used == theirs.codes_used
    for name in ("loss", "commitment", "gradient_norm", "perplexity", "quantisation_error"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-3), name
    assert_same(pair.weights(1), alone.weights(1), 1e-4)
    with pytest.raises(AssertionError):
        assert_same(alone.weights(1), before, 1e-4)


def test_a_checkpoint_is_for_any_number_of_learners(pair: JointStudent) -> None:
    batch = batches()[0]
    alone: DistilledLM = plan(1).make()
    alone.restore(pair.files())
    assert_same(alone.weights(2), pair.weights(2), 0.0)
    assert alone.step(batch) == pytest.approx(pair.step(batch))
    assert_same(alone.weights(3), pair.weights(3), 1e-4)
    alone.step(batch)
    pair.restore(alone.files())
    assert_same(pair.weights(4), alone.weights(4), 0.0)
    assert pair.step(batch) == pytest.approx(alone.step(batch))
    payload = plan(1).make().weights(9)
    pair.adopt(payload, 50)
    assert_same(pair.weights(10), payload, 0.0)
    pair.step(batch)
    assert pair.round_statistics().steps == 51


def test_more_processors_than_there_are(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_student, "ROOM_DEADLINE_S", 1.0)
    with pytest.raises(LearnerError, match=r"distillation\.learners = 2 .* needs 64 CPU") as told:
        JointStudent(plan(2, learner_cpus=64.0), "other")
    assert "of 2 CPU are free; lower distillation.learners" in str(told.value)


def test_one_that_hangs_and_one_that_dies_are_told_of(pair: JointStudent) -> None:
    """The last test: the group is of no more use."""
    batch, (first, second) = batches()[0], processes(pair)
    os.kill(second, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(LearnerError, match=r"did not answer within 16 s while .* take a step"):
        pair.step(batch)
    assert time.monotonic() - began < 30
    os.kill(second, signal.SIGKILL)
    with pytest.raises(LearnerError, match=r"learners? (1 and )?2 of 2 died while"):
        pair.step(batch)
    pair.close()
    wait_for(lambda: not running(first) and not running(second))
