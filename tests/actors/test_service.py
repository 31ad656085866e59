"""Policy and service: a real small LM, real simulators, a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
import torch

from actors.errors import ActingError
from actors.policy import Policy
from actors.records import Assignment
from actors.service import ActorService
from configs.schema import (
    ActingConfig,
    BookConfig,
    DomainShare,
    MemoryConfig,
    ModelConfig,
    PhaseConfig,
    RenderingConfig,
    SharedMemoryConfig,
    StreamConfig,
)
from learner.reencoding import PublishedEncoder, pass_over
from model.making import make_lm
from model.procedure_lm import ProcedureLM
from model.saving import to_bytes
from shared_memory.bank import Bank, PushResult
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.bank_statistics import read_statistics
from shared_memory.bank_verification import verify
from shared_memory.connection import call, connect
from shared_memory.errors import ServerFullError
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.queues import PlanQueue
from shared_memory.records import SIGNS
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream

STREAM = TaskStream(
    StreamConfig(
        phases=(
            PhaseConfig(
                name="both",
                tasks=40,
                domains=(
                    DomainShare(name="blocks", size={"blocks": (2, 3)}),
                    DomainShare(name="hanoi", size={"discs": (1, 3)}),
                ),
            ),
        ),
        probe_tasks=6,
    ),
    seed=5,
)
RENDERING = Rendering(STREAM.domains, RenderingConfig())
DOMAINS = {domain.name: domain for domain in STREAM.domains}
MODEL = ModelConfig(
    layers=2,
    width=32,
    heads=2,
    feed_forward=64,
    max_tokens=160,
    memory=MemoryConfig(slots=2, width=32, layer=1, heads=2),
    book=BookConfig(codes=16, width=16),
)
ACTING = ActingConfig(episodes=6, request_tasks=20, restrict=True, threshold=0.9)


def model(seed: int) -> ProcedureLM:
    torch.manual_seed(seed)
    made = ProcedureLM(MODEL, RENDERING.vocabulary, RENDERING.interchangeable)
    made.book.ready.fill_(True)
    made.book.codes.copy_(torch.randn(16, 16) * 0.5)
    return made.eval()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync="no") as started:
        yield started


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    made = connect(SharedMemoryConfig(), server.url)
    yield made
    made.close()


def service(
    client: redis.Redis,
    run: str,
    acting: ActingConfig = ACTING,
    episodes_every: int = 0,
    max_staleness: int | None = None,
) -> ActorService:
    return ActorService(
        name="actor-0",
        run=run,
        seed=0,
        connection=client,
        rendering=RENDERING,
        make_simulator=lambda domain: make_simulator(DOMAINS[domain]),
        step_limit=5,
        domains=tuple(DOMAINS),
        acting=acting,
        shared_memory=SharedMemoryConfig(),
        episodes_every=episodes_every,
        max_staleness=max_staleness,
    )


ASSIGNMENTS = [Assignment(number, STREAM[number]) for number in range(len(STREAM))]


def test_refuses_to_act_without_weights(client: redis.Redis) -> None:
    with pytest.raises(ActingError, match="no weights"):
        service(client, "none").act(ASSIGNMENTS)


def test_every_episode_is_in_the_banks_once_and_asks_for_a_plan(client: redis.Redis) -> None:
    PublishedWeights(client, "acted").publish(0, to_bytes(model(0), 0))
    actor = service(client, "acted")
    report = actor.act(ASSIGNMENTS)
    assert sorted(report.episodes) == list(range(40))
    assert (report.version, report.doubled) == (0, 0)
    again = actor.act(ASSIGNMENTS[:7])  # the same numbers again, as after a lost reply
    assert again.doubled == 7
    domains = tuple(DOMAINS)
    events, _ = OutcomeLog(client, "acted", domains).read({})
    episodes = [event.episode for event in events if isinstance(event, EpisodeEvent)]
    assert sorted(episode.episode for episode in episodes) == list(range(40))
    assert all(len(episode.decisions) <= 5 for episode in episodes)
    assert all(decision.accepted for episode in episodes for decision in episode.decisions)
    statistics = read_statistics(client, "acted", domains)
    assert sum(bank.submitted for bank in statistics.banks) == sum(
        len(episode.decisions) for episode in episodes
    )
    assert verify(client, "acted", domains).problems == ()
    queue = PlanQueue(client, "acted", domains)
    requests = [request for _, request in queue.take("t", 100)]
    assert sorted(request.task_index for request in requests) == list(range(40))
    failed = {episode.task_index for episode in episodes if not episode.success}
    assert {request.task_index for request in requests if request.failed} == failed


def test_a_push_to_a_full_server_gives_up_before_its_request_is_overdue(
    client: redis.Redis,
) -> None:
    PublishedWeights(client, "full").publish(0, to_bytes(model(0), 0))
    actor = service(client, "full", ACTING.model_copy(update={"request_deadline_s": 3.0}))
    call(client, "CONFIG", "SET", "maxmemory", 1_000_000)
    try:
        with pytest.raises(ServerFullError, match=r"memory limit.*waited 1.5 s"):
            actor.act(ASSIGNMENTS[:2])
    finally:
        call(client, "CONFIG", "SET", "maxmemory", 0)


def test_takes_new_weights_between_requests(client: redis.Redis) -> None:
    weights = PublishedWeights(client, "fresh")
    weights.publish(3, to_bytes(model(1), 3))
    actor = service(client, "fresh")
    assert actor.act(ASSIGNMENTS[:2]).version == 3
    weights.publish(5, to_bytes(model(2), 5))
    assert actor.act([Assignment(100, STREAM[2])]).version == 5


def test_what_is_too_stale_by_now_is_dropped(client: redis.Redis) -> None:
    """As by an actor that was cut off: the driver has given its episodes up meanwhile."""
    weights, payload = PublishedWeights(client, "stale"), to_bytes(model(1), 3)
    weights.publish(3, payload)
    actor = service(client, "stale", max_staleness=2)
    actor.act(ASSIGNMENTS[:4])
    assert actor.version == 3
    push, later = actor._push, iter((5, 6))

    def pushed_late(*words: Any) -> PushResult:
        weights.publish(next(later), payload)
        return push(*words)

    actor._push = pushed_late  # type: ignore[method-assign]
    assert sorted(actor.act(ASSIGNMENTS[4:8]).episodes) == [4, 5, 6, 7]  # two versions: kept
    actor._refresh = lambda _: actor._policy  # type: ignore[assignment,method-assign,return-value]
    assert actor.act(ASSIGNMENTS[8:12]).episodes == ()  # three: dropped
    statistics = read_statistics(client, "stale", tuple(DOMAINS))
    assert (statistics.finished, sum(each.dropped for each in statistics.domains)) == (8, 4)
    assert verify(client, "stale", tuple(DOMAINS)).problems == ()


def test_probes_write_nothing_and_repeat_exactly(client: redis.Redis) -> None:
    PublishedWeights(client, "probed").publish(0, to_bytes(model(3), 0))
    actor = service(client, "probed")
    probes = [Assignment(-1, task) for task in STREAM.probe(0)]
    first, second = (actor.probe(probes, restrict=False) for _ in range(2))
    assert first.outcomes == second.outcomes
    assert {outcome.digest for outcome in first.outcomes} == {t.digest for t in STREAM.probe(0)}
    assert all(outcome.accepted == outcome.steps for outcome in actor.probe(probes, True).outcomes)
    actor.probe(probes, restrict=True, shuffle="domain")
    assert read_statistics(client, "probed", tuple(DOMAINS)).finished == 0


def test_without_hits_the_answer_is_that_of_the_lm_alone(client: redis.Redis) -> None:
    run = "plain"
    PublishedWeights(client, run).publish(0, to_bytes(model(4), 0))
    service(client, run).act(ASSIGNMENTS)
    replica = BankReplica(client, run, tuple(DOMAINS), SharedMemoryConfig().bank)
    replica.refresh()
    empty = BankReplica(client, "empty", tuple(DOMAINS), SharedMemoryConfig().bank)
    simulator = make_simulator(DOMAINS["blocks"])
    simulator.reset(next(task for task in STREAM if task.domain == "blocks"))
    prompt = RENDERING.prompt(simulator, RENDERING.naming(simulator, 0))
    answers = {}
    for name, banks, changes in (
        ("alone", "none", {}),
        ("no hit", "both", {}),
        ("hits", "both", {"threshold": -1.0, "contrast": 2.0}),
    ):
        lone = model(4)
        acting = ACTING.model_copy(update={"banks": banks, **changes})
        policy = Policy(lone, 0, acting, replica if name == "hits" else empty)
        policy.enter([0], [lone.tokenizer.encode(prompt)])
        answers[name] = policy.decide([0], ["blocks"])[0]
    assert answers["alone"].action_tokens == answers["no hit"].action_tokens
    assert not answers["alone"].hit_success
    assert answers["hits"].hit_success or answers["hits"].hit_failure


def test_a_watched_episode_tells_what_banks_changed(client: redis.Redis) -> None:
    PublishedWeights(client, "watched").publish(0, to_bytes(model(0), 0))
    acting = ACTING.model_copy(update={"threshold": -1.0, "restrict": False})
    actor, watching = (service(client, "watched", acting, episodes_every=every) for every in (0, 4))
    actor.act(ASSIGNMENTS)  # fills the banks
    again = [replace(one, episode=one.episode + 40) for one in ASSIGNMENTS]
    watching.act(again)
    events, _ = OutcomeLog(client, "watched", tuple(DOMAINS)).read({})
    episodes = [event.episode for event in events if isinstance(event, EpisodeEvent)]
    for episode in episodes:
        watched = episode.episode >= 40 and episode.episode % 4 == 0 and bool(episode.decisions)
        assert bool(episode.near) == watched
        assert all(bool(one.prompt_tokens) == watched for one in episode.decisions)
        assert len(episode.near) == len(episode.alone) == watched * len(episode.decisions)
        if watched:
            assert sum(near in ("success", "both") for near in episode.near) == episode.hits_success
    assert any(any(episode.near) for episode in episodes)


def test_acting_keeps_no_gradients(client: redis.Redis) -> None:
    policy = Policy(model(7), 0, ACTING, None)
    policy.enter([0], [[1, 2, 3]])
    policy.decide([0], ["blocks"])
    policy.feed([0], [[4, 5]])
    caches = policy.engine._below
    assert caches.keys.grad_fn is None
    assert caches.keys.is_inference()


def test_an_exchange_uses_another_tasks_procedure(client: redis.Redis) -> None:
    lone = model(6)
    policy = Policy(lone, 0, ACTING.model_copy(update={"banks": "none"}), None)
    tasks = [task for task in STREAM if task.domain == "blocks"][:3]
    prompts = []
    for number, task in enumerate(tasks):
        simulator = make_simulator(DOMAINS["blocks"])
        simulator.reset(task)
        naming = RENDERING.naming(simulator, number)
        prompts.append(lone.tokenizer.encode(RENDERING.prompt(simulator, naming)))
    slots = [0, 1, 2]
    policy.enter(slots, prompts)
    own = policy.decide(slots, ["blocks"] * 3)
    policy.enter(slots, prompts)
    exchanged = policy.decide(slots, ["blocks"] * 3, shuffle="domain")
    for place in range(3):
        other = own[(place + 1) % 3]
        assert exchanged[place].codes.tolist() == other.codes.tolist()
        assert exchanged[place].action_tokens == other.action_tokens
    policy.enter(slots, prompts)
    apart = policy.decide(slots, ["blocks", "hanoi", "ferry"], shuffle="domain")
    assert [choice.action_tokens for choice in apart] == [choice.action_tokens for choice in own]


def test_a_plain_lm_acts_and_fills_no_bank(client: redis.Redis) -> None:
    plain = MODEL.model_copy(update={"memory": MODEL.memory.model_copy(update={"use": "none"})})
    torch.manual_seed(0)
    lone = make_lm(plain, RENDERING.vocabulary, RENDERING.interchangeable)
    PublishedWeights(client, "memoryless").publish(0, to_bytes(lone, 0))
    actor = service(client, "memoryless")
    actor.act(ASSIGNMENTS[:12])
    statistics = read_statistics(client, "memoryless", tuple(DOMAINS))
    assert statistics.finished == 12
    assert sum(bank.submitted for bank in statistics.banks) == 0
    probes = [Assignment(-1, task) for task in STREAM.probe(0)]
    assert any(outcome.steps for outcome in actor.probe(probes, restrict=True).outcomes)
    with pytest.raises(ActingError, match="no procedures that could be exchanged"):
        actor.probe(probes, restrict=True, shuffle="domain")


def held_prompts(client: redis.Redis, run: str) -> dict[tuple[str, tuple[int, ...]], list[int]]:
    """The codes that each prompt of a run's banks has there."""
    bank = Bank(client, run, SharedMemoryConfig().bank)
    return {
        (domain, each.entry.prompt_tokens): each.entry.codes.tolist()
        for domain in DOMAINS
        for sign in SIGNS
        for _, each in bank.entries(domain, sign)
    }


def test_entries_that_are_encoded_again_have_the_codes_that_actors_would_give_them(
    client: redis.Redis,
) -> None:
    first, second = to_bytes(model(5), 1), to_bytes(model(6), 2)
    for run, version, payload in (("moved", 1, first), ("control", 2, second)):
        PublishedWeights(client, run).publish(version, payload)
        service(client, run).act(ASSIGNMENTS)
    before, control = held_prompts(client, "moved"), held_prompts(client, "control")
    prompts = sorted(before)
    encoder = PublishedEncoder(first)
    for start in range(0, len(prompts), 64):
        some = prompts[start : start + 64]
        codes = encoder.encode([tokens for _, tokens in some])
        assert [each.tolist() for each in codes if each is not None] == [
            before[prompt] for prompt in some
        ]
    assert encoder.encode([(), (10**6,), (1,) * 160]) == [None] * 3

    going = pass_over(
        BankReencoding(client, "moved", SharedMemoryConfig().bank), tuple(DOMAINS), 2, second
    )
    assert going.go_on(0.0)  # no time at all: nothing is done
    while going.go_on(0.01):
        pass
    after = held_prompts(client, "moved")
    assert (going.unreadable, going.done.moved > 0) == (0, True)
    shared = set(after) & set(control)
    assert len(shared) > 10
    assert {prompt: after[prompt] for prompt in shared} == {
        prompt: control[prompt] for prompt in shared
    }
    assert any(after[prompt] != before[prompt] for prompt in shared)
    assert verify(client, "moved", tuple(DOMAINS)).problems == ()


def test_a_book_that_is_not_in_use_encodes_nothing() -> None:
    made = model(7)
    made.book.ready.fill_(False)
    assert PublishedEncoder(to_bytes(made, 1)).encode([(1, 2), (3,)]) == [None, None]
