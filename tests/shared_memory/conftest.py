"""A real embedded server for this folder's tests, emptied between them."""

from collections.abc import Iterator

import pytest
import redis

from configs.schema import SharedMemoryConfig
from shared_memory.connection import connect
from shared_memory.server import EmbeddedServer


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
