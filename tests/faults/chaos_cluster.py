"""A small cluster on hosts of its own: head, left, right, and a store with two Redis servers.

One server of the store keeps the banks, the other is Ray's own, so that the head can come back
with what it knew. `tend` is what a service manager does on each host: it boots a host that is due,
starts Ray again where its raylet is gone (after clearing away what is left of it), and a server
that is due. It never waits.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import ray
import redis
from network_hosts import Host, Network, kill

HOUSE = Path(__file__).resolve().parents[2]
HEAD_PORT, BANK_PORT, RAY_REDIS_PORT = 6379, 6380, 6381
CPUS_A_HOST = 2
OBJECT_STORE_BYTES = 80_000_000
_RAY = Path(ray.__file__).parent
RAYLET, GCS = f"{_RAY}/core/src/ray/raylet/raylet", f"{_RAY}/core/src/ray/gcs/gcs_server"
HEALTH = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
"""A host that does not answer is given up after some 10 to 20 s (Ray's own: 15 to 50 s)."""
_AGENT_PORTS = {
    "dashboard-agent-grpc-port": 52360,
    "dashboard-agent-listen-port": 52365,
    "runtime-env-agent-port": 52361,
    "metrics-export-port": 52362,
}
_PAUSE_S = 1.0  # before Ray is started again


class ChaosCluster:
    """The cluster; leaving the context takes all of it away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "token").write_text(secrets.token_hex(32))
        (folder / "token").chmod(0o600)
        self.network = Network(folder / "hosts")
        self.head, self.left, self.right = (
            self.network.host(name) for name in ("head", "left", "right")
        )
        self.store = self.network.host("store")
        self.log = folder / "ray.log"
        self._starting: dict[str, subprocess.Popen[bytes]] = {}
        self._gone_since: dict[str, float] = {}
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._bank_server = self._redis("bank", BANK_PORT, durable=True)
        self._redis("ray", RAY_REDIS_PORT, durable=False)

    @property
    def ray_hosts(self) -> tuple[Host, Host, Host]:
        return self.head, self.left, self.right

    @property
    def workers(self) -> tuple[Host, Host]:
        return self.left, self.right

    @property
    def address(self) -> str:
        return f"{self.head.address}:{HEAD_PORT}"

    @property
    def bank_url(self) -> str:
        """How the hosts reach the banks."""
        return f"redis://{self.store.address}:{BANK_PORT}/0"

    @property
    def bank_socket(self) -> str:
        """How the test reaches them, by the file system."""
        return f"unix://{self.folder}/bank/redis.sock"

    @property
    def environment(self) -> dict[str, str]:
        """Of everything on the hosts."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            **HEALTH,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_agent_register_timeout_ms": "120000",  # all hosts share this machine's cores
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(HOUSE),
            "PYTHONUNBUFFERED": "1",
        }

    def ready(self, host: Host) -> bool:
        """Whether Ray runs there."""
        return host.alive and host.name not in self._starting and bool(host.processes(RAYLET))

    def start(self, deadline_s: float = 400.0) -> None:
        """Start Ray on all hosts and wait until it runs."""
        deadline = time.monotonic() + deadline_s
        for hosts in ((self.head,), self.workers):
            while not all(self.ready(host) for host in hosts):
                for host in hosts:
                    self._tend_ray(host)
                if time.monotonic() > deadline:
                    raise AssertionError(f"Ray does not start: {self.log.read_text()[-3000:]}")
                time.sleep(0.1)

    def tend(self) -> None:
        """Do what is due now; see the module."""
        now = time.monotonic()
        due = [each for each in self._due if each[0] <= now]
        self._due = [each for each in self._due if each[0] > now]
        for _, act in due:
            act()
        for host in self.ray_hosts:
            if host.alive:
                self._tend_ray(host)

    # -- what a schedule does ------------------------------------------------------------------

    def pull_plug(self, host: Host, away_s: float) -> None:
        """The host is gone at once, and boots after so many seconds."""
        host.pull_plug()
        self._starting.pop(host.name, None)
        self._in(away_s, host.boot)

    def cut(self, host: Host, away_s: float) -> None:
        """Its link lets nothing through for so many seconds."""
        host.cut()
        self._in(away_s, host.mend)

    def kill_raylet(self, host: Host, away_s: float) -> bool:
        """kill -9; Ray is started again after so many seconds."""
        found = [number for number in host.processes(RAYLET) if kill(number)]
        self._gone_since[host.name] = time.monotonic() + away_s
        return bool(found)

    def kill_bank_server(self, away_s: float) -> bool:
        """kill -9; started again after so many seconds."""
        found = [
            number
            for number in self.store.processes("redis-server")
            if number == self._bank_process() and kill(number)
        ]
        self._in(away_s, self._start_bank_server)
        return bool(found)

    def bank_server_answers(self) -> bool:
        """Whether the banks' server takes commands now (it may be reading its file)."""
        client = redis.Redis.from_url(self.bank_socket, socket_timeout=1.0)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    # -- services ------------------------------------------------------------------------------

    def _in(self, seconds: float, act: Callable[[], object]) -> None:
        self._due.append((time.monotonic() + seconds, act))

    def _tend_ray(self, host: Host) -> None:
        starting = self._starting.get(host.name)
        if starting is not None:
            if starting.poll() is None:
                return
            del self._starting[host.name]
        whole = host.processes(RAYLET) and (host is not self.head or host.processes(GCS))
        now = time.monotonic()
        if whole:
            self._gone_since.pop(host.name, None)
            return
        since = self._gone_since.setdefault(host.name, now)
        if now - since >= _PAUSE_S and self._may_start(host):
            self._start_ray(host)

    def _may_start(self, host: Host) -> bool:
        """The head at once; the others after it, and one by one: two cores for all."""
        return host is self.head or (not self._starting and self.ready(self.head))

    def _start_ray(self, host: Host) -> None:
        for beginning in (str(_RAY), "ray::", sys.executable):
            for number in host.processes(beginning):
                if beginning != sys.executable or "/ray/" in _command_line(number):
                    kill(number)  # but no driver: that is its own service
        self._gone_since.pop(host.name, None)
        words = [sys.executable, "-m", "ray.scripts.scripts", "start"]
        words += [f"--node-ip-address={host.address}", f"--num-cpus={CPUS_A_HOST}", "--num-gpus=0"]
        words += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
        words += ["--include-log-monitor=False"]
        # Ports that are known need not be waited for: agents have 15 s to tell theirs.
        words += [f"--{name}={port}" for name, port in _AGENT_PORTS.items()]
        environment = self.environment
        if host is self.head:
            words += ["--head", f"--port={HEAD_PORT}", "--include-dashboard=False"]
            words += ["--no-monitor"]
            environment["RAY_REDIS_ADDRESS"] = f"{self.store.address}:{RAY_REDIS_PORT}"
        else:
            words += [f"--address={self.address}"]
        self._starting[host.name] = host.start(words, environment, self.log, self.folder)

    def _redis(self, name: str, port: int, durable: bool) -> subprocess.Popen[bytes]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        words = ["redis-server", "--port", str(port), "--bind", "0.0.0.0"]
        words += ["--protected-mode", "no", "--dir", str(folder), "--save", ""]
        words += ["--unixsocket", str(folder / "redis.sock")]
        words += ["--appendonly", "yes" if durable else "no", "--appendfsync", "everysec"]
        words += ["--maxmemory-policy", "noeviction"]
        return self.store.start(words, self.environment, folder / "log", folder)

    def _start_bank_server(self) -> None:
        self._bank_server = self._redis("bank", BANK_PORT, durable=True)

    def _bank_process(self) -> int:
        """The server's process: its own child of the way in."""
        way_in = self._bank_server.pid
        children = Path(f"/proc/{way_in}/task/{way_in}/children").read_text().split()
        return int(children[0]) if children else way_in

    def __enter__(self) -> ChaosCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.network.__exit__(kind, error, trace)


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
