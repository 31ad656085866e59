"""Real servers of Debian's packages on loopback: one alone, with Sentinels, or as a Cluster."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None or shutil.which("redis-sentinel") is None,
    reason="needs redis-server and redis-sentinel (apt-get install redis-server redis-sentinel)",
)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
_DEADLINE_S = 30.0


def free_port() -> int:
    """A port that nobody has now, below the range of Cluster buses."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


def until(true: Callable[[], Any], what: str, deadline_s: float = _DEADLINE_S) -> Any:
    """Wait for something; what it was."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            found = true()
        except redis.RedisError:
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {deadline_s:.0f} s")


class RedisServer:
    """One `redis-server` (or Sentinel) process in a folder of its own; started at once."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        login: Mapping[str, Any] | None = None,
        config: str | None = None,
    ) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir(parents=True)
        self._login = dict(login or {})
        self._words = ["redis-server"]
        if config is not None:  # a Sentinel, which writes its own file
            file = self.folder / "sentinel.conf"
            file.write_text(f"port {self.port}\nbind 127.0.0.1\n{config}")
            self._words = ["redis-sentinel", str(file)]
        usual = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "repl-diskless-sync-delay": "0",
        }
        if config is None:
            for name, value in {**usual, **(settings or {})}.items():
                self._words += [f"--{name}", value.replace("PORT", str(self.port))]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._words, stdout=log, stderr=log, cwd=self.folder)
        client = self.client()
        until(client.ping, f"answer of {self._words[:2]}: {self.log()}")
        client.close()

    def client(self) -> redis.Redis:
        settings = {"port": self.port, "protocol": 2, "socket_timeout": 5.0, **self._login}
        return redis.Redis(**settings)  # type: ignore[arg-type]

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.kill()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


@contextmanager
def running(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    server = RedisServer(folder, settings)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Watched:
    """A primary, its replicas, and three Sentinels that watch them."""

    primary: RedisServer
    replicas: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/banks"


@contextmanager
def watched_by_sentinels(folder: Path, replicas: int = 1) -> Iterator[Watched]:
    """A primary and its replicas; a primary that is gone for 1 s is replaced."""
    servers = [RedisServer(folder)]
    try:
        primary = servers[0]
        for _ in range(replicas):
            servers.append(RedisServer(folder, {"replicaof": f"127.0.0.1 {primary.port}"}))
        client = primary.client()
        until(lambda: _followers(client) == replicas, "replicas")
        client.close()
        config = (
            f"sentinel monitor banks 127.0.0.1 {primary.port} 2\n"
            "sentinel down-after-milliseconds banks 1000\n"
            "sentinel failover-timeout banks 5000\n"
        )
        for _ in range(3):
            servers.append(RedisServer(folder, config=config))
        for sentinel in servers[1 + replicas :]:
            asked = sentinel.client()
            until(lambda: _known(asked) == (2, replicas), "acquaintance")  # noqa: B023
            asked.close()
        yield Watched(primary, servers[1 : 1 + replicas], servers[1 + replicas :])
    finally:
        for server in servers:
            server.stop()


def _followers(primary: redis.Redis) -> int:
    """Replicas that have all data."""
    state: Any = primary.info("replication")
    found = [state[f"slave{number}"]["state"] for number in range(state["connected_slaves"])]
    return found.count("online")


def _known(sentinel: redis.Redis) -> tuple[int, int]:
    """How many other Sentinels and replicas a Sentinel knows."""
    reply = sentinel.execute_command("SENTINEL", "MASTER", "banks")
    words = [word.decode() if isinstance(word, bytes) else word for word in _flat(reply)]
    state = dict(zip(words[::2], words[1::2]))
    return int(state["num-other-sentinels"]), int(state["num-slaves"])


def _flat(reply: Any) -> list[Any]:
    return [each for pair in reply.items() for each in pair] if isinstance(reply, dict) else reply


@dataclass
class Clustered:
    """Three primaries with a third of the slots each, and a replica of one of them."""

    primaries: list[RedisServer]
    replica: RedisServer
    followed: RedisServer  # whose replica that is

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.primaries)
        return f"redis+cluster://{places}"


@contextmanager
def as_cluster(folder: Path, slot: int = 0, **settings: str) -> Iterator[Clustered]:
    """A Cluster whose holder of `slot` has a replica; a node gone for 1 s is replaced."""
    servers: list[RedisServer] = []
    clients: list[redis.Redis] = []
    try:
        for _ in range(4):
            usual = {"cluster-enabled": "yes", "cluster-node-timeout": "1000"}
            servers.append(
                RedisServer(folder, {**usual, "cluster-require-full-coverage": "no", **settings})
            )
            clients.append(servers[-1].client())
        ranges = ((0, 5460), (5461, 10922), (10923, 16383))
        for client, (first, last) in zip(clients, ranges):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for number, server in enumerate(servers[1:], start=1):
            clients[number].execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
        for client in clients:
            until(lambda: _state(client) == (4, "ok"), "Cluster")  # noqa: B023
        holder = next(i for i, (first, last) in enumerate(ranges) if first <= slot <= last)
        name = clients[holder].execute_command("CLUSTER", "MYID")
        clients[3].execute_command("CLUSTER", "REPLICATE", name)
        until(lambda: _followers(clients[holder]) == 1, "replica")
        until(lambda: all(_replicas(client) == 1 for client in clients), "news of the replica")
        yield Clustered(servers[:3], servers[3], servers[holder])
    finally:
        for client in clients:
            client.close()
        for server in servers:
            server.stop()


def _state(client: redis.Redis) -> tuple[int, str]:
    text = client.execute_command("CLUSTER", "INFO")
    state = text if isinstance(text, dict) else _pairs(text)
    return int(state["cluster_known_nodes"]), state["cluster_state"]


def _replicas(client: redis.Redis) -> int:
    rows = client.execute_command("CLUSTER", "SLOTS")
    return sum(len(row) - 3 for row in rows)


def _pairs(text: Any) -> dict[str, str]:
    lines = (text.decode() if isinstance(text, bytes) else text).split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def make_certificates(folder: Path) -> dict[str, Path]:
    """An authority, and certificates of a server (127.0.0.1) and of a client, made by it."""
    made = {name: folder / f"{name}.crt" for name in ("ca", "server", "client")}

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        *("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"),
        *("-subj", "/CN=test authority"),
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl(
            *("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.crt", "-days", "2", "-extfile", "names"),
        )
        os.chmod(folder / f"{name}.key", 0o600)
    return made
