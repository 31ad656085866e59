"""Heads and workers of Ray on this machine, started as users do: by `ray start`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readme_world import RAY_ON_ONE_MACHINE, clean_environment, end, free_port

DEADLINE_S = 150.0
ATTEMPTS = 3
"""Ray gives a node up that is not there after 30 s, as happens on a machine that is busy."""
STARTED, LATE = "Ray runtime started", "timed out during startup"
RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start")


class RayHosts:
    """Starts nodes of Ray, each with a folder of its own; `close` ends them and what they left."""

    def __init__(self, home: Path) -> None:
        self.home = home
        """Where their token is."""
        self.folder = Path(tempfile.mkdtemp(prefix="nesypr-", dir="/tmp"))  # paths must be short
        self._nodes: list[subprocess.Popen[bytes]] = []

    def head(self, mode: str, *options: str, **environment: str) -> str:
        """A head with this RAY_AUTH_MODE; its HOST:PORT."""
        port = free_port()
        words = ("--head", f"--port={port}", f"--ray-client-server-port={free_port()}")
        self._start((*words, *(options or ("--include-dashboard=0",))), mode, environment)
        return f"127.0.0.1:{port}"

    def worker(
        self, mode: str, address: str, host: str, before: tuple[str, ...] = (), **environment: str
    ) -> None:
        """A further node, known by this address of the machine; `before`: a program to start it."""
        words = (f"--address={address}", f"--node-ip-address={host}")
        self._start(words, mode, environment, before)

    def _start(
        self,
        words: tuple[str, ...],
        mode: str,
        environment: dict[str, str],
        before: tuple[str, ...] = (),
    ) -> None:
        command = [*before, *RAY_START, "--num-cpus=2", *words, *RAY_ON_ONE_MACHINE]
        for attempt in range(ATTEMPTS):
            log = self.folder / f"node-{len(self._nodes)}.txt"
            with log.open("wb") as output:
                node = subprocess.Popen(
                    command,
                    env=self.environment(RAY_AUTH_MODE=mode, RAY_TMPDIR=str(self.folder))
                    | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self._nodes.append(node)
            deadline = time.monotonic() + DEADLINE_S
            while STARTED not in (said := log.read_text(encoding="utf-8")):
                if node.poll() is not None and LATE in said and attempt < ATTEMPTS - 1:
                    break
                assert node.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
            else:
                return
            end(node)

    def environment(self, **values: str) -> dict[str, str]:
        """This process's environment, with the nodes' home and without settings of Ray's."""
        return clean_environment() | {"HOME": str(self.home), **values}

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """A command's exit code and what it said, both streams."""
        ended = subprocess.run(
            command,
            env=self.environment(**environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    def close(self) -> None:
        """End all nodes. Never `ray stop`: it ends every Ray on the machine."""
        while self._nodes:
            end(self._nodes.pop())
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def ray_hosts(home: Path) -> Iterator[RayHosts]:
    """Nodes that end with the block."""
    made = RayHosts(home)
    try:
        yield made
    finally:
        made.close()
