"""A real embedded server for this folder's tests, emptied between them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis

from configs.schema import SharedMemoryConfig
from shared_memory.connection import connect
from shared_memory.records import Decision, Episode, PlanRequest
from shared_memory.server import EmbeddedServer

CHUNKS = 6
CODES = 5


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    client = connect(SharedMemoryConfig(), server.url)
    client.flushall()
    yield client
    client.close()


EpisodeMaker = Callable[..., Episode]


@pytest.fixture
def make_episode() -> EpisodeMaker:
    """Makes an episode whose procedures are random but the same for the same seed."""

    def make(
        number: int,
        *,
        domain: str = "blocks",
        success: bool = True,
        version: int = 1,
        decisions: int = 4,
        seed: int | None = None,
        chunks: int = CHUNKS,
        codes: int = CODES,
    ) -> Episode:
        random = np.random.default_rng(number if seed is None else seed)
        return Episode(
            episode=number,
            task_index=number,
            task_digest=f"{number:032x}",
            domain=domain,
            phase=0,
            book_version=version,
            success=success,
            conditions_met=1,
            conditions=2,
            steps=decisions,
            decisions=tuple(
                Decision(
                    number=place,
                    codes=random.integers(0, codes, chunks).astype(np.uint16),
                    action=f"stack block{random.integers(1, 3)} block3",
                    accepted=True,
                    prompt_tokens=tuple(range(20)),
                )
                for place in range(decisions)
            ),
            actor="actor-0",
            seconds=0.25,
            hits_success=0,
            hits_failure=0,
        )

    return make


@pytest.fixture
def make_request() -> Callable[..., PlanRequest]:
    """Makes a plan request for a task of the stream."""

    def make(task_index: int, *, domain: str = "blocks") -> PlanRequest:
        return PlanRequest(
            task_index=task_index,
            task_digest=f"{task_index:032x}",
            domain=domain,
            phase=0,
            problem="(define (problem p) (:domain blocks))",
            origin="generator",
            failed=True,
        )

    return make
