"""Sessions with an inference actor without Ray: real models, simulators and server.

What is decided must be what an actor with a model of its own decides; versions are exact.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import torch

from actors.errors import ActingError
from actors.inference import InferenceService
from actors.records import ActReport, Assignment
from actors.rounds import Answered, Inference, InferenceLostError, Opened, Round
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
from model.procedure_lm import ProcedureLM
from model.saving import to_bytes
from model.tokenizer import Tokenizer
from shared_memory.bank_statistics import read_statistics
from shared_memory.connection import connect
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.records import Episode
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
                tasks=24,
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
OWN = ActingConfig(
    episodes=6, request_tasks=20, restrict=True, threshold=0.9, request_deadline_s=20.0
)
SHARED = OWN.model_copy(update={"inference": "shared", "inference_batch": 12})
ASSIGNMENTS = [Assignment(number, STREAM[number]) for number in range(len(STREAM))]


def payload(seed: int, version: int) -> bytes:
    torch.manual_seed(seed)
    made = ProcedureLM(MODEL, RENDERING.vocabulary, RENDERING.interchangeable)
    made.book.ready.fill_(True)
    made.book.codes.copy_(torch.randn(16, 16) * 0.5)
    return to_bytes(made, version)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync="no") as started:
        yield started


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    made = connect(SharedMemoryConfig(), server.url)
    yield made
    made.close()


def actor(client: redis.Redis, run: str, acting: ActingConfig, name: str = "actor") -> ActorService:
    return ActorService(
        name=name,
        run=run,
        seed=0,
        connection=client,
        rendering=RENDERING,
        make_simulator=lambda domain: make_simulator(DOMAINS[domain]),
        step_limit=5,
        domains=tuple(DOMAINS),
        acting=acting,
        shared_memory=SharedMemoryConfig(),
        episodes_every=4,
    )


class Here:
    """An `Inference` in this very process; breaks off after some rounds."""

    name = "inference"

    def __init__(self, service: InferenceService, rounds: int = 10**6) -> None:
        self.service = service
        self.rounds = rounds
        self.answers: list[Answered] = []

    def open(self, actor: str) -> Opened:
        return self.service.open(actor)

    def decide(self, asked: Round) -> Answered:
        self.rounds -= 1
        if self.rounds < 0:
            raise InferenceLostError(self.name, "inference died: it was told to")
        (answer,) = self.service.decide([asked])
        if isinstance(answer, Exception):
            raise answer
        self.answers.append(answer)
        return answer

    def close(self, session: int) -> None:
        self.service.close(session)

    def tokenizer(self) -> Tokenizer:
        return self.service.tokenizer


def inference(
    client: redis.Redis, run: str, acting: ActingConfig = SHARED, **changes: Any
) -> InferenceService:
    return InferenceService(
        "inference",
        run,
        0,
        client,
        tuple(DOMAINS),
        acting,
        SharedMemoryConfig(),
        torch.device("cpu"),
        **changes,
    )


def episodes(client: redis.Redis, run: str) -> dict[int, Episode]:
    events, _ = OutcomeLog(client, run, tuple(DOMAINS)).read({})
    found = [event.episode for event in events if isinstance(event, EpisodeEvent)]
    assert len({each.episode for each in found}) == len(found)
    return {each.episode: each for each in found}


def decisions(client: redis.Redis, run: str) -> dict[int, list[tuple[Any, ...]]]:
    return {
        number: [
            (one.codes.tolist(), one.action, one.accepted, each.book_version, each.near, each.alone)
            for one in each.decisions
        ]
        for number, each in episodes(client, run).items()
    }


def acts(who: ActorService, tasks: list[Assignment], way: Inference | None = None) -> ActReport:
    return who.act(tasks, way)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": -1.0},
        {"restrict": False},
        {"contrast_by": "outcomes", "remember_episode": True},
    ],
)
def test_decides_as_an_actor_with_a_model_of_its_own(
    client: redis.Redis, changes: dict[str, Any]
) -> None:
    """Two requests one after the other, so that the second finds what the first left."""
    kind = next(iter(changes))
    for run, acting in ((f"own-{kind}", OWN), (f"shared-{kind}", SHARED)):
        acting = acting.model_copy(update=changes)
        PublishedWeights(client, run).publish(3, payload(1, 3))
        who = actor(client, run, acting)
        way = None
        if acting.inference == "shared":
            way = Here(inference(client, run, acting))
        for tasks in (ASSIGNMENTS[:14], ASSIGNMENTS[14:]):
            assert acts(who, tasks, way).version == 3
        if way is not None:
            assert {answer.version for answer in way.answers} == {3}
            assert way.answers[-1].watermark > way.answers[0].watermark
    assert decisions(client, f"shared-{kind}") == decisions(client, f"own-{kind}")
    assert len(episodes(client, f"own-{kind}")) == 24


def test_a_batch_of_several_actors_is_decided_as_each_alone(client: redis.Redis) -> None:
    run = "batch"
    PublishedWeights(client, run).publish(0, payload(2, 0))
    service = inference(client, run, SHARED.model_copy(update={"inference_batch": 256}))
    prompts = [tuple(range(3, 9 + number)) for number in range(5)]
    sessions = [service.open(f"actor-{number}").session for number in range(5)]

    def asked(number: int) -> Round:
        return Round(sessions[number], ((2, True, prompts[number]),), (2,), ("blocks",))

    together = service.decide([asked(number) for number in range(5)])
    assert len({service.kind(asked(number)) for number in range(5)}) == 1
    alone = [service.decide([asked(number)])[0] for number in range(5)]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Answered)
        assert isinstance(other, Answered)
        assert one.choices[0].action_tokens == other.choices[0].action_tokens
        assert one.choices[0].codes.tolist() == other.choices[0].codes.tolist()


def test_a_session_keeps_its_version_and_the_weights_go_with_the_last(client: redis.Redis) -> None:
    run = "versions"
    weights = PublishedWeights(client, run)
    service = inference(client, run)
    with pytest.raises(ActingError, match="no weights"):
        service.open("early")
    weights.publish(1, payload(1, 1))
    old = service.open("actor-0")
    weights.publish(2, payload(2, 2))
    new = service.open("actor-1")
    assert (old.version, new.version, service.versions) == (1, 2, [1, 2])
    rounds = [Round(each.session, ((0, True, (3, 4)),), (0,), ("blocks",)) for each in (old, new)]
    assert service.kind(rounds[0]).table != service.kind(rounds[1]).table
    answers = [service.decide([each])[0] for each in rounds]
    assert [each.version for each in answers if isinstance(each, Answered)] == [1, 2]
    service.close(old.session)
    assert service.versions == [2]
    weights.publish(3, payload(3, 3))
    assert service.open("actor-1").version == 3  # its former session ended with that
    assert service.versions == [3]
    (answer,) = service.decide([rounds[1]])
    assert isinstance(answer, InferenceLostError)


def test_more_actors_than_a_batch_holds_sit_at_another_table(client: redis.Redis) -> None:
    run = "tables"
    PublishedWeights(client, run).publish(0, payload(1, 0))
    now = [0.0]
    service = inference(client, run, clock=lambda: now[0])
    opened = [service.open(f"actor-{number}") for number in range(5)]
    tables = [service.kind(Round(each.session, (), (), ())).table for each in opened]
    assert tables == [0, 0, 1, 1, 2]
    assert [service.askers(table) for table in (0, 1, 2)] == [2, 2, 1]
    now[0] = 2 * SHARED.request_deadline_s + 1  # all were given up long ago
    service.open("actor-9")
    assert service.askers(0) == 1
    assert len(service._sessions) == 1
    assert len(service._tables) == 1


def test_what_is_wrong_with_one_round_fails_it_alone(client: redis.Redis) -> None:
    run = "wrong"
    PublishedWeights(client, run).publish(0, payload(1, 0))
    service = inference(client, run)
    good, bad = (service.open(name).session for name in ("good", "bad"))
    answers = service.decide(
        [
            Round(bad, ((0, True, tuple([3] * 500)),), (0,), ("blocks",)),
            Round(99, (), (0,), ("blocks",)),
            Round(good, ((0, True, (3, 4)),), (0,), ("blocks",)),
        ]
    )
    assert "does not fit into model.max_tokens" in str(answers[0])
    assert "knows no session 99" in str(answers[1])
    assert isinstance(answers[2], Answered)
    lost = pickle.loads(pickle.dumps(answers[1]))  # noqa: S301 - as Ray sends it
    assert (lost.inference, lost.overdue, str(lost)) == ("", False, str(answers[1]))


def test_what_was_finished_before_it_broke_off_is_in_the_banks(client: redis.Redis) -> None:
    """The rest is acted again under other numbers, as the driver does: none lost, none doubled."""
    run = "broken"
    PublishedWeights(client, run).publish(0, payload(1, 0))
    who = actor(client, run, SHARED)
    service = inference(client, run)
    report = acts(who, ASSIGNMENTS, Here(service, rounds=6))
    assert report.broken_off is not None
    assert report.broken_off.inference == "inference"
    assert 0 < len(report.episodes) < 24
    left = [each for each in ASSIGNMENTS if each.episode not in report.episodes]
    again = [Assignment(24 + number, each.task) for number, each in enumerate(left)]
    rest = acts(who, again, Here(service))
    assert (rest.broken_off, rest.doubled) == (None, 0)
    found = episodes(client, run).values()
    assert sorted(each.task_index for each in found) == list(range(24))
    assert read_statistics(client, run, tuple(DOMAINS)).finished == 24
    nothing = acts(who, again, Here(service, rounds=0))
    assert (nothing.episodes, nothing.broken_off is not None) == ((), True)


def test_probes_are_told_whom_to_ask_and_say_when_they_broke_off(client: redis.Redis) -> None:
    run = "probed"
    PublishedWeights(client, run).publish(0, payload(3, 0))
    probes = [Assignment(-1, task) for task in STREAM.probe(0)]
    own, shared = actor(client, run, OWN), actor(client, run, SHARED, "other")
    service = inference(client, run)
    for shuffle in ("none", "domain"):
        mine = own.probe(probes, True, shuffle)  # type: ignore[arg-type]
        theirs = shared.probe(probes, True, shuffle, inference=Here(service))  # type: ignore[arg-type]
        assert mine.outcomes == theirs.outcomes
    broken = shared.probe(probes, True, inference=Here(service, rounds=1))
    assert (broken.outcomes, broken.broken_off is not None) == ((), True)
    with pytest.raises(ActingError, match="was not told whom to ask"):
        shared.probe(probes, True)
