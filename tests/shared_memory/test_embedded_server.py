"""The embedded server: one a folder, durable, and gone with its starter."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.records import Episode
from shared_memory.server import EmbeddedServer

EpisodeMaker = Callable[..., Episode]


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not runs(pid):
            return True
        time.sleep(0.02)
    return False


def test_keeps_its_data_over_restarts(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    with EmbeddedServer(folder) as server:
        url, pid = server.url, server.pid
        assert server.alive
        client = connect(SharedMemoryConfig(), url)
        call(client, "SET", "key", "value")
        client.close()
        server.start()  # does nothing
        assert server.pid == pid
    assert not server.alive
    assert server.pid is None
    assert pid is not None
    assert not runs(pid)
    server.stop()  # does nothing
    with EmbeddedServer(folder, fsync="always") as server:
        client = connect(SharedMemoryConfig(), server.url)
        assert call(client, "GET", "key") == b"value"
        assert call(client, "CONFIG", "GET", "appendfsync") == [b"appendfsync", b"always"]
        client.close()


def test_the_socket_is_private_and_there_is_no_port(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "server") as server:
        socket = Path(server.url.removeprefix("unix://"))
        assert socket.stat().st_mode & 0o077 == 0
        assert socket.parent.stat().st_mode & 0o077 == 0
        client = connect(SharedMemoryConfig(), server.url)
        assert call(client, "CONFIG", "GET", "port") == [b"port", b"0"]
        client.close()


def test_a_folder_with_a_long_name(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / ("long" * 40)) as server:
        socket = Path(server.url.removeprefix("unix://"))
        connect(SharedMemoryConfig(), server.url).close()
        assert socket.parent.stat().st_mode & 0o077 == 0
    assert not socket.parent.exists()


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(SharedMemoryError, match="another server is running on"):
            EmbeddedServer(tmp_path, lock_deadline_s=0.2).start()
        assert server.alive
        connect(SharedMemoryConfig(), server.url).close()


def test_no_address_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(SharedMemoryError, match="before it is started"):
        _ = EmbeddedServer(tmp_path).url


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SharedMemoryError, match="cannot use the folder"):
        EmbeddedServer(tmp_path / "file").start()
    damaged = tmp_path / "appendonlydir"
    damaged.mkdir()
    (damaged / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(SharedMemoryError, match=r"ended while starting; its last words.*manifest"):
        EmbeddedServer(tmp_path).start()


PARENT = """
import sys, threading, time
from shared_memory.server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
starter = threading.Thread(target=server.start)
starter.start()
starter.join()  # the thread that asked for the server is gone; the server must not be
time.sleep(0.3)
print(server.pid if server.alive else 0, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_dies_with_its_starter_and_frees_the_folder(tmp_path: Path, how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        assert pid > 0
        assert runs(pid)
        parent.send_signal(how)
        parent.wait(10)
    assert gone_within(pid, 5.0)
    with EmbeddedServer(tmp_path) as server:
        connect(SharedMemoryConfig(), server.url).close()


def test_an_interrupt_of_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_kill_and_restart_lose_nothing_acknowledged(
    tmp_path: Path, make_episode: EpisodeMaker
) -> None:
    config = SharedMemoryConfig(patience_s=30.0)
    with EmbeddedServer(tmp_path) as server:
        stop = threading.Event()
        acknowledged: list[list[int]] = [[], []]
        failures: list[BaseException] = []

        def write(writer: int) -> None:
            client = connect(config, server.url)
            bank = Bank(client, "run", BankConfig())
            try:
                for step in range(100_000):
                    if stop.is_set():
                        break
                    first = 10 * (2 * step + writer)
                    batch = [make_episode(first + place, codes=50) for place in range(5)]
                    bank.push(batch)
                    acknowledged[writer].extend(episode.episode for episode in batch)
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                client.close()

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
        for thread in writers:
            thread.start()
        for _ in range(4):
            time.sleep(0.4)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            deadline = time.monotonic() + 5
            while server.alive and time.monotonic() < deadline:
                time.sleep(0.01)
            server.start()
        stop.set()
        for thread in writers:
            thread.join(60)
        assert not failures
        client = connect(config, server.url)
        bank = Bank(client, "run", BankConfig())
        sent = sorted(acknowledged[0] + acknowledged[1])
        assert len(sent) > 100
        assert bank.statistics().finished == len(sent)
        assert bank.verify().problems == ()
        events, _ = OutcomeLog(client, "run", ["blocks"]).read({}, count=1_000_000)
        counted = [event.episode.episode for event in events if isinstance(event, EpisodeEvent)]
        assert sorted(counted) == sent
        client.close()
