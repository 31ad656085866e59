from pathlib import Path

import pytest
import redis
import torch
from learner_world import DOMAINS, RUN, push, requests, setting, wait_for
from test_learner_service import Running

from configs.schema import (
    BookConfig,
    DistillationConfig,
    MemoryConfig,
    ModelConfig,
    RenderingConfig,
)
from learner.distilled_lm import MODEL_FILE, DistilledLM
from learner.errors import LearnerError
from learner.planners import MimirPlanner, PlanLimits
from learner.traces import teach
from model.saving import from_bytes
from shared_memory.records import Trace
from shared_memory.weights import PublishedWeights
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator

TINY = ModelConfig(
    layers=2,
    width=32,
    heads=2,
    feed_forward=64,
    memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
    book=BookConfig(codes=16, width=8),
)
RENDERING = Rendering([get_domain(name) for name in DOMAINS], RenderingConfig())


def student(seed: int = 3, model: ModelConfig = TINY) -> DistilledLM:
    return DistilledLM(model, RENDERING, DistillationConfig(warmup_steps=1), seed)


def traces(count: int) -> list[Trace]:
    domain = get_domain("blocks")
    planner, simulator = MimirPlanner(domain), make_simulator(domain)
    made = [
        teach(domain.draw({"blocks": (3, 4)}, seed), planner, simulator, RENDERING, PlanLimits())[1]
        for seed in range(count)
    ]
    return [trace for trace in made if trace is not None]


def same(one: DistilledLM, other: DistilledLM) -> bool:
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_it_learns_and_tells_how_its_book_was_used() -> None:
    one, batch = student(), traces(16)
    assert one.round_statistics().loss == 0.0
    losses = []
    for _ in range(3):
        for _ in range(10):
            one.step(batch)
        made = one.round_statistics()
        losses.append(made.loss)
    assert losses[-1] < losses[0]
    assert made.steps == 30
    assert made.codes == made.codes_used + made.codes_dead == 16
    assert made.tokens > 0
    assert made.perplexity >= 1.0
    assert made.quantisation_error > 0.0


def test_a_restored_student_goes_on_exactly_as_it_would_have() -> None:
    one, other, batch = student(), student(seed=8), traces(8)
    for _ in range(4):
        one.step(batch)
    one.weights(0)
    other.restore(one.files())
    assert same(one, other)
    for _ in range(3):
        one.step(batch)
        other.step(batch)
    assert same(one, other)
    assert other.distiller.steps == 7


def test_the_book_is_trained_for_the_version_that_comes_next() -> None:
    one, batch = student(), traces(4)
    payload = one.weights(5)
    assert from_bytes(payload)[1] == 5
    assert one.model.book.version == 6
    one.step(batch)
    other = student(seed=9)
    published = one.weights(6)
    other.adopt(published, steps=1)
    theirs = other.model.state_dict()
    averaged = from_bytes(published)[0].state_dict()
    assert all(torch.equal(averaged[name], theirs[name]) for name in theirs)
    assert other.model.book.version == 7
    assert other.distiller.steps == 1


def test_what_does_not_fit_is_refused() -> None:
    other = student(model=TINY.model_copy(update={"feed_forward": 48}))
    with pytest.raises(LearnerError, match="another configuration"):
        other.restore(student().files())
    with pytest.raises(LearnerError, match="has no optimiser"):
        other.restore({MODEL_FILE: b""})


def test_the_whole_learner_with_the_real_student(client: redis.Redis, tmp_path: Path) -> None:
    running = Running(client, tmp_path, student=student())
    with running as service:
        push(client, requests(24))
        wait_for(lambda: service.version >= 3)
    assert running.error is None
    _, version = from_bytes(PublishedWeights(client, RUN).fetch()[1])
    assert version == service.version
    again = Running(client, tmp_path, student=student(seed=77), ceiling=0)
    assert same(again.service._student, running.student)
    again.service._teaching.stop()
    assert setting(tmp_path).run == RUN


def test_a_plain_lm_learns_and_goes_on_with_a_book_that_is_not_used() -> None:
    memory = TINY.memory.model_copy(update={"use": "none"})
    one, other = (student(seed, TINY.model_copy(update={"memory": memory})) for seed in (3, 8))
    batch, losses = traces(8), []
    for _ in range(2):
        for _ in range(8):
            one.step(batch)
        made = one.round_statistics()
        losses.append(made.loss)
    assert losses[1] < losses[0]
    assert (made.codes_used, made.codes_dead, made.perplexity, made.commitment) == (0, 16, 0.0, 0.0)
    other.restore(one.files())
    assert same(one, other)
    one.step(batch)
    other.step(batch)
    assert same(one, other)
