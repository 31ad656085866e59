"""A folder in which README's commands are run for real, at small size, each once.

What README needs several machines for runs on this one: `ray start` as README has it, with ports
of its own, and a server at a URL. Environment variables make the runs small (they win over --set),
so that the commands themselves stay as they are written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from readme_text import HOUSE

from cluster.resources import descendants
from cluster.settings import load_settings
from shared_memory.server import EmbeddedServer

DEADLINE_S = 120.0
MAKE_VARIABLES = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
MAKEFILE_VARIABLES = {"CONFIG", "ARGS", "BENCH", "VENV", "PYTHON"}
SMALL = {
    "STREAM__PROBE_TASKS": "4",
    "STREAM__STEP_LIMIT": "8",
    "ACTING__ACTORS": "1",
    "ACTING__REQUEST_TASKS": "8",
    "DISTILLATION__BATCH_TRACES": "4",
    "DISTILLATION__TASKS_PER_VERSION": "8",
    "DISTILLATION__STEPS_PER_VERSION": "1",
    "DISTILLATION__MIN_NEW_TRACES": "2",
    "DISTILLATION__MAX_WAIT_S": "0.5",
}
RAY_ON_ONE_MACHINE = (
    "--block",
    "--disable-usage-stats",
    "--object-store-memory=83886080",
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--dashboard-agent-listen-port=0",
)


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended."""

    code: int
    output: str


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert isinstance(port, int)
        return port


def clean_environment() -> dict[str, str]:
    """This process's environment without what make, Ray or a user's own settings would change."""
    ours = MAKE_VARIABLES | MAKEFILE_VARIABLES | {"RAY_ADDRESS", "RAY_AUTH_MODE"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NESYPR__")}
    return {key: value for key, value in kept.items() if key not in ours} | {
        "PYTHONPATH": str(HOUSE),
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }


def small(config: str) -> dict[str, str]:
    """Variables that make a run of this configuration small: its last phase, with 8 tasks."""
    last = load_settings(config).config.stream.phases[-1].model_copy(update={"tasks": 8})
    values = SMALL | {"STREAM__PHASES": json.dumps([last.model_dump(mode="json")])}
    return {f"NESYPR__{key}": value for key, value in values.items()}


class World:
    """Runs README's commands; `close` ends everything that still runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics: str = ""  # what Ray's metrics port said during the run that has one
        self._results: dict[tuple[str, ...], Result] = {}
        self._ray_folder: Path | None = None
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._server: EmbeddedServer | None = None
        self._ray_port = 0
        self._home = folder / "home"  # Ray's token is a throw-away one
        self._token = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._home / ".ray" / "auth_token"),
        }

    def program(self, name: str) -> str:
        """A program of this environment, as `source .venv/bin/activate` finds it."""
        found = shutil.which(name, path=str(Path(sys.executable).parent))
        assert found is not None, f"there is no {name} beside {sys.executable}"
        return found

    def nesypr(self, words: tuple[str, ...]) -> Result:
        """Run `nesypr WORDS` in the folder, once: later calls get the same result."""
        if words not in self._results:
            self._results[words] = self._nesypr(words)
        return self._results[words]

    def page(self, words: tuple[str, ...]) -> str:
        """What is at the address that `nesypr WORDS` prints; Ctrl-C ends it without a word."""
        log = self.folder / "page.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.program("nesypr"), *words],
                cwd=self.folder,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + DEADLINE_S
            address = None
            while address is None:
                said = log.read_text(encoding="utf-8")
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                address = re.search(r"http://\S+", said)
                time.sleep(0.1)
            with urllib.request.urlopen(address.group(), timeout=30) as page:
                text = page.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
        finally:
            end(process)
        assert "Traceback" not in log.read_text(encoding="utf-8")
        assert isinstance(text, str)
        return text

    def python(self, text: str) -> Result:
        """Run a Python program in the folder, once."""
        if (text,) not in self._results:
            (self.folder / "example.py").write_text(text, encoding="utf-8")
            self._results[text,] = self._watched([sys.executable, "example.py"], {})
        return self._results[text,]

    def _nesypr(self, words: tuple[str, ...]) -> Result:
        environment: dict[str, str] = {}
        meanwhile: Callable[[], object] = lambda: None  # noqa: E731
        if words[0] == "run":
            environment = small(words[1])
            if words[1] == "smoke":
                port = free_port()
                environment["NESYPR__METRICS_PORT"] = str(port)
                meanwhile = lambda: self._read_metrics(port)  # noqa: E731
            else:
                environment |= self._token
                environment["NESYPR__ADDRESS"] = self.ray_address
                environment["NESYPR__SHARED_MEMORY__URL"] = self.server_url
        return self._watched([self.program("nesypr"), *words], environment, meanwhile)

    def _watched(
        self,
        command: list[str],
        environment: dict[str, str],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Result:
        """Run a command to its end, calling `meanwhile` until then; kill it past the deadline."""
        log = self.folder / "output.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE_S
        try:
            while process.poll() is None and time.monotonic() < deadline:
                meanwhile()
                time.sleep(0.05)
        finally:
            late = process.poll() is None
            if late:
                end(process)
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not late, f"{command} still ran after {DEADLINE_S:.0f} s:\n{text}"
        return Result(process.returncode, text)

    def _read_metrics(self, port: int) -> None:
        if "ray_" not in self.metrics:  # Python's own come first
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                    self.metrics = page.read().decode()
            except OSError:
                return  # not up yet; the test asks whether it ever was

    @property
    def ray_address(self) -> str:
        """A Ray head on this machine, started when first asked for."""
        if not self._nodes:
            self.ray_start(("--head",))
        return f"127.0.0.1:{self._ray_port}"

    @property
    def server_url(self) -> str:
        """A server that the runs know by its URL alone."""
        if self._server is None:
            self._server = EmbeddedServer(self.folder / "server", fsync="no")
            self._server.start()
        return self._server.url

    def ray_token(self, words: tuple[str, ...]) -> Result:
        """`ray WORDS`, which makes a token for the nodes, in a home of its own."""
        if words not in self._results:
            self._home.mkdir()
            environment = {"RAY_AUTH_MODE": "token", "HOME": str(self._home)}
            self._results[words] = self._watched([self.program("ray"), *words], environment)
        return self._results[words]

    def ray_start(self, words: tuple[str, ...]) -> None:
        """`ray start WORDS`, with ports of its own, until the node says that it has started."""
        if words == ("--head",):
            if self._nodes:
                return
            self.ray_token(("get-auth-token", "--generate"))
            self._ray_port = free_port()
            self._ray_folder = Path(tempfile.mkdtemp(prefix="nesypr-ray-", dir="/tmp"))
            words = (*words, f"--port={self._ray_port}", "--num-cpus=4", "--include-dashboard=0")
            words = (*words, f"--ray-client-server-port={free_port()}")
        assert self._ray_folder is not None
        log = self.folder / f"ray-{len(self._nodes)}.txt"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [self.program("ray"), "start", *words, *RAY_ON_ONE_MACHINE],
                env=clean_environment() | self._token | {"RAY_TMPDIR": str(self._ray_folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._nodes.append(node)
        deadline = time.monotonic() + 60.0
        while "Ray runtime started" not in log.read_text(encoding="utf-8"):
            assert node.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)

    def close(self) -> None:
        """End the nodes and the server. Never `ray stop`: it ends every Ray on the machine."""
        while self._nodes:
            end(self._nodes.pop())
        if self._server is not None:
            self._server.stop()
        if self._ray_folder is not None:
            shutil.rmtree(self._ray_folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then kill it and all that came from it."""
    family = [process.pid, *descendants(process.pid)]
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for member in family:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
