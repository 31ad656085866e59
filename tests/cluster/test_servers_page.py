"""docs/servers.md: its commands run as written, and what doctor says of servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared_memory"))

from redis_servers import free_port, needs_redis, running, until

from cluster.doctor.surroundings import check_given_server
from cluster.main import app
from cluster.server_check import check_server
from configs.schema import SharedMemoryConfig
from shared_memory.connection import call, connect
from shared_memory.keys import RunKeys
from shared_memory.server import EmbeddedServer
from shared_memory.server_address import _OPTIONS, SCHEMES, parse_address

PAGE = Path(__file__).resolve().parents[2] / "docs" / "servers.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
MEMORY = SharedMemoryConfig()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The page's own server, at a port of this test."""
    words, chosen = COMMANDS[0], free_port()
    assert words[0] == "redis-server"
    words = [word.replace("6380", str(chosen)) for word in words]
    pid = tmp_path / "pid"
    subprocess.run(
        [*words, "--dir", str(tmp_path), "--pidfile", str(pid)], check=True, capture_output=True
    )
    url = f"redis://127.0.0.1:{chosen}"
    until(lambda: check_server(MEMORY, url).state == "ok", "answer")
    yield chosen
    os.kill(int(pid.read_text()), 9)


def here(words: list[str], port: int, folder: Path) -> list[str]:
    """A command of the page, for this test's server and files."""
    return [
        word.replace("SERVER:6380", f"127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
        for word in words
    ]


def test_the_page_tells_of_all_schemes_and_options() -> None:
    for scheme in SCHEMES:
        assert f"{scheme}://" in TEXT
    for option in _OPTIONS:
        assert f"{option}=" in TEXT
    for url in re.findall(r"`((?:redis|unix)[^`]*://[^`…]+)`", TEXT):
        parse_address(url, environment={})


@needs_redis
def test_the_pages_short_commands(port: int, tmp_path: Path) -> None:
    done = []
    with closing(connect(MEMORY, f"redis://127.0.0.1:{port}")) as client:
        call(client, "SADD", RunKeys("smoke-0123abcd").domains, "blocks")
    for words in COMMANDS:
        if words[:2] != ["nesypr", "bank"]:
            continue
        command = here(words[1:], port, tmp_path)
        found = CliRunner().invoke(app, command)
        assert found.exit_code == 0, found.output
        done.append(command[1])
    assert done == ["acl", "acl", "stats"]
    assert check_given_server(f"redis://127.0.0.1:{port}", {}).state == "ok"


@needs_redis
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pages_runs_leave_no_password_anywhere(port: int, tmp_path: Path) -> None:
    """Runs with a password in the URL, and with users by role; nothing that they write tells it."""
    environment = {
        **{name: value for name, value in os.environ.items() if "NESYPR" not in name},
        "NESYPR__FOLDER": str(tmp_path / "runs"),
        "PYTHONPATH": str(PAGE.parents[1]),
    }

    def nesypr(*words: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "cluster.main", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=400,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    users = tmp_path / "nesypr-users"
    told = [nesypr(*here(words[1:], port, tmp_path)) for words in COMMANDS if "acl" in words]
    secrets = [line.split()[2] for line in users.read_text().splitlines()[1:]]
    password = "s3same-in-the-url"
    with closing(connect(MEMORY, f"redis://127.0.0.1:{port}")) as client:
        call(client, "ACL", "SETUSER", "owner", "on", f">{password}", "~*", "+@all")
        call(client, "ACL", "SETUSER", "default", "off")
    owner = f"shared_memory.url=redis://owner:{password}@127.0.0.1:{port}"
    told.append(nesypr("run", "smoke", "--set", "name=mine", "--set", owner))
    by_role = next(words for words in COMMANDS if "users=" in words[-1] and "run" in words)
    told.append(nesypr(*here(by_role[1:], port, tmp_path)))
    for run in ("mine", "smoke"):
        summary = json.loads((tmp_path / "runs" / run / "summary.json").read_text())
        assert summary["outcome"] == "finished"
        assert summary["accounting"]["closes"]
    for secret in (*secrets, password):
        assert not any(secret in text for text in told)
        for file in (tmp_path / "runs").rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@needs_redis
def test_what_doctor_says_of_servers(tmp_path: Path) -> None:
    assert check_given_server(None, {}).found.startswith("none given")
    gone = check_given_server(None, {"NESYPR__SHARED_MEMORY__URL": "redis://u:pw@127.0.0.1:1"})
    assert gone.state == "broken"
    assert "no server answers at 127.0.0.1:1" in gone.found
    assert "pw" not in gone.found + gone.remedy
    with running(tmp_path, {"appendonly": "no"}) as server:
        assert "no append-only file" in check_server(MEMORY, server.url).found
        with closing(connect(MEMORY, server.url)) as client:
            for name, value, found in (
                ("appendonly", "yes", "no memory limit"),
                ("maxmemory", "100mb", "Redis 7.0"),
                ("maxmemory-policy", "volatile-lru", "noeviction"),
            ):
                call(client, "CONFIG", "SET", name, value)
                assert found in str(check_server(MEMORY, server.url))
            call(client, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert check_server(MEMORY, server.url).state == "ok"
        copies = check_server(SharedMemoryConfig(copies=1), server.url)
        assert "has 0 replicas" in copies.found
    with EmbeddedServer(tmp_path / "embedded") as embedded:
        assert "Valkey 9" in check_server(MEMORY, embedded.url).found
