import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from configs.schema import SharedMemoryConfig
from shared_memory.connection import connect
from shared_memory.server import EmbeddedServer

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync="no") as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    connection = connect(SharedMemoryConfig(), server.url)
    connection.flushall()
    yield connection
    connection.close()
