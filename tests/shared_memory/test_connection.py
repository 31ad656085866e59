"""What users are told when the server is not what they think."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from configs.schema import SharedMemoryConfig
from shared_memory.connection import AtomicScript, call, call_all, connect, redacted
from shared_memory.errors import SharedMemoryError
from shared_memory.server import EmbeddedServer


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "shared_memory.url is not set"),
        ("", "must start with redis://, rediss://, unix://"),
        ("http://host", "must start with"),
        ("redis://host:port", "not understood"),
        ("redis://host:99999", "not understood"),
        ("unix:///nowhere/server.sock", "no server answers at unix:///nowhere/server.sock"),
        ("redis://no.such.host.invalid", "no server answers at no.such.host.invalid:6379"),
    ],
)
def test_wrong_addresses(url: str | None, sentence: str) -> None:
    start = time.monotonic()
    with pytest.raises(SharedMemoryError, match=sentence):
        connect(SharedMemoryConfig(), url)
    assert time.monotonic() - start < 5.0


def test_closed_port_and_other_service() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(SharedMemoryError, match=f"no server answers at 127.0.0.1:{port}"):
            connect(SharedMemoryConfig(url=f"redis://127.0.0.1:{port}"))
        listener.listen()

        def answer() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        server = threading.Thread(target=answer)
        server.start()
        with pytest.raises(SharedMemoryError, match="no Redis server"):
            connect(SharedMemoryConfig(url=f"redis://127.0.0.1:{port}"))
        server.join(5)


def test_passwords(own_server: EmbeddedServer) -> None:
    client = connect(SharedMemoryConfig(), own_server.url)
    call(client, "CONFIG", "SET", "requirepass", "sesame")
    with pytest.raises(SharedMemoryError, match="wants a password"):
        connect(SharedMemoryConfig(), own_server.url)
    with pytest.raises(SharedMemoryError, match="refuses the user or password") as refusal:
        connect(SharedMemoryConfig(), own_server.url.replace("unix://", "unix://:mellon@"))
    assert "mellon" not in str(refusal.value)
    connect(SharedMemoryConfig(), own_server.url.replace("unix://", "unix://:sesame@")).close()
    assert redacted("rediss://joe:secret@host:1/0") == "rediss://joe:***@host:1/0"
    assert redacted("redis://host") == "redis://host"
    client.close()


def test_rights(own_server: EmbeddedServer) -> None:
    client = connect(SharedMemoryConfig(), own_server.url)
    call(client, "ACL", "SETUSER", "reader", "on", ">x", "~*", "+@read", "+info", "+client")
    reader = connect(SharedMemoryConfig(), own_server.url.replace("unix://", "unix://reader:x@"))
    with pytest.raises(SharedMemoryError, match="does not permit"):
        call(reader, "SET", "key", "value")
    reader.close()
    client.close()


def test_a_server_that_evicts_is_refused(own_server: EmbeddedServer) -> None:
    client = connect(SharedMemoryConfig(), own_server.url)
    call(client, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    connect(SharedMemoryConfig(), own_server.url).close()  # it has no limit
    call(client, "CONFIG", "SET", "maxmemory", "100mb")
    with pytest.raises(SharedMemoryError, match="set maxmemory-policy to noeviction"):
        connect(SharedMemoryConfig(), own_server.url)
    client.close()


def test_a_hanging_server_is_given_up_in_time(own_server: EmbeddedServer) -> None:
    client = connect(SharedMemoryConfig(timeout_s=0.2, patience_s=0.5), own_server.url)
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        for act in (
            lambda: call(client, "GET", "key"),
            lambda: call_all(client, [("GET", "key")]),
            lambda: connect(SharedMemoryConfig(timeout_s=0.2), own_server.url),
        ):
            start = time.monotonic()
            with pytest.raises(SharedMemoryError, match="did not answer within"):
                act()
            assert time.monotonic() - start < 6.0
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert call(client, "GET", "key") is None
    client.close()


def test_refusals_name_the_reason(client: redis.Redis) -> None:
    call(client, "SET", "key", "value")
    with pytest.raises(SharedMemoryError, match="refused: WRONGTYPE"):
        call(client, "HGETALL", "key")
    with pytest.raises(SharedMemoryError, match=r"refused: .*no such"):
        AtomicScript("error('no such')").run(client, (), ())
    assert call_all(client, []) == []


def test_scripts_survive_a_flush_of_the_servers_cache(client: redis.Redis) -> None:
    script = AtomicScript("return redis.call('INCR', KEYS[1])")
    assert script.run(client, ("counter",), ()) == 1
    call(client, "SCRIPT", "FLUSH")
    assert script.run(client, ("counter",), ()) == 2
