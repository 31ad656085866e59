from collections.abc import Iterator

import pytest
import redis
import torch

from configs.schema import SharedMemoryConfig
from shared_memory.connection import connect
from shared_memory.server import EmbeddedServer

torch.set_num_threads(1)  # two threads beside another busy process are many times slower


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
