"""Hosts on one machine: each has its own network, processes, name, /dev/shm and /tmp/ray.

A host is a process in new namespaces, and its link a pair of virtual devices to a bridge, the
switch, which has a network namespace, too. Files are those of this machine, as with a network file
system. Nothing of it has a name in the system: the kernel takes namespaces, links and everything
that runs in them away with their first process, and that one is killed with the process that
started it (PR_SET_PDEATHSIG), so that nothing stays behind however a test ends. Linux, as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

SUBNET = "10.77.0"
_TOOLS = ("unshare", "nsenter", "setpriv", "ip", "bridge", "mount")
_DEADLINE_S = 20.0


class HostError(Exception):
    """A host or its link could not be made; the message says which command failed and how."""


def why_not() -> str | None:
    """Why this machine does not allow hosts; None where it does."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)} (util-linux, iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(
        (
            *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc"),
            *("ip", "link", "add", "probed", "type", "veth", "peer", "name", "other"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def _command(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
    if done.returncode:
        raise HostError(f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")


class Namespaces:
    """New namespaces that live as long as a process in them; `stop` takes all of it away."""

    def __init__(self, kinds: Sequence[str], script: str) -> None:
        flags = [f"--{kind}" for kind in kinds]
        # `wait` keeps the first process, which is told of orphans' ends, from leaving zombies.
        self._outer = subprocess.Popen(
            (
                *("setpriv", "--pdeathsig", "KILL", "unshare", *flags, "--fork", "--kill-child"),
                *("sh", "-c", f"{script}\necho ready\nsleep infinity & wait"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != b"ready\n":
            self._outer.kill()
            raise HostError(f"namespaces could not be made ready: {script}")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        self.first = int(children.read_text().split()[0])

    @property
    def alive(self) -> bool:
        return self._outer.poll() is None

    def stop(self) -> None:
        """kill -9 of everything inside, at once."""
        self._outer.kill()
        self._outer.wait(_DEADLINE_S)
        if self._outer.stdout is not None:
            self._outer.stdout.close()
        deadline = time.monotonic() + _DEADLINE_S
        while Path(f"/proc/{self.first}").exists():
            if time.monotonic() > deadline:
                raise HostError(f"process {self.first}, the first of a host, does not end")
            time.sleep(0.01)


class Host:
    """One host, which can be booted again after its plug was pulled."""

    def __init__(self, name: str, number: int, switch: Namespaces, folder: Path) -> None:
        self.name = name
        self.address = f"{SUBNET}.{number}"
        self.folder = folder
        self._switch = switch
        self._inside: Namespaces | None = None
        self._calls: list[subprocess.Popen[bytes]] = []
        (folder / "ray").mkdir(parents=True)

    @property
    def alive(self) -> bool:
        return self._inside is not None and self._inside.alive

    def boot(self) -> None:
        """Namespaces, name, mounts, and the link to the switch."""
        self._inside = inside = Namespaces(
            ("mount", "uts", "ipc", "net", "pid", "mount-proc"),
            f"set -e\nhostname {self.name}\nmount -t tmpfs -o size=256m tmpfs /dev/shm\n"
            f"mkdir -p /tmp/ray\nmount --bind '{self.folder}/ray' /tmp/ray",
        )
        switch, first = str(self._switch.first), str(inside.first)
        _command(
            (
                *("ip", "link", "add", self.name, "netns", switch),
                *("type", "veth", "peer", "name", "eth0", "netns", first),
            )
        )
        in_switch, in_host = ["nsenter", "-t", switch, "-n"], ["nsenter", "-t", first, "-n"]
        _command([*in_switch, "ip", "link", "set", self.name, "master", "bridge", "up"])
        _command([*in_host, "ip", "address", "add", f"{self.address}/24", "dev", "eth0"])
        for device in ("lo", "eth0"):
            _command([*in_host, "ip", "link", "set", device, "up"])
        _command([*in_host, "ip", "route", "add", "default", "via", f"{SUBNET}.254"])

    def pull_plug(self) -> None:
        """Everything on the host is gone at once, and its link with it."""
        if self._inside is not None:
            self._inside.stop()
            self._inside = None
        for call in self._calls:
            call.kill()
            call.wait(_DEADLINE_S)
        self._calls = []
        self._unplug()

    def _unplug(self) -> None:
        """Take its end out of the switch: the kernel may keep a network that died for seconds."""
        inside = ["nsenter", "-t", str(self._switch.first), "-n", "ip", "link"]
        found = subprocess.run(
            [*inside, "show", self.name], capture_output=True, check=False, timeout=_DEADLINE_S
        )
        if found.returncode == 0:
            gone = "Cannot find device"  # meanwhile
            try:
                _command([*inside, "delete", self.name])
            except HostError as error:
                if gone not in str(error):
                    raise

    def cut(self) -> None:
        """The link lets nothing through, without either end being told."""
        self._port_state("0")

    def mend(self) -> None:
        """It does again."""
        if self.alive:
            self._port_state("3")

    def _port_state(self, state: str) -> None:
        switch = str(self._switch.first)
        _command(
            (
                *("nsenter", "-t", switch, "-n", "bridge", "link", "set", "dev", self.name),
                *("state", state),
            )
        )

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command on the host. What is returned is its way in: killing that kills
        nothing inside."""
        if self._inside is None:
            raise HostError(f"host {self.name} is off")
        with log.open("ab") as output:
            call = subprocess.Popen(
                (
                    *("nsenter", "--target", str(self._inside.first), "--mount", "--uts", "--ipc"),
                    *("--net", "--pid", "--", "env", f"--chdir={folder}", *words),
                ),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._calls = [*(each for each in self._calls if each.poll() is None), call]
        return call

    def processes(self, beginning: str) -> list[int]:
        """Processes on the host whose command line begins so, oldest first."""
        if self._inside is None:
            return []
        own = _namespace(self._inside.first)
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            number = int(entry.name)
            if _namespace(number) != own:
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                started = (entry / "stat").read_text().rpartition(")")[2].split()[19]
            except OSError:
                continue  # ended meanwhile
            if command.startswith(beginning):
                found.append((int(started), number))
        return [number for _, number in sorted(found)]


def _namespace(process: int) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/pid")
    except OSError:
        return ""


class Network:
    """The switch and its hosts; leaving the context takes all of it away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._switch = Namespaces(
            ("net",),
            "set -e\nip link add bridge type bridge\n"
            f"ip address add {SUBNET}.254/24 dev bridge\nip link set bridge up",
        )
        self.hosts: list[Host] = []

    def host(self, name: str) -> Host:
        """Add a host and boot it."""
        made = Host(name, len(self.hosts) + 1, self._switch, self._folder / name)
        self.hosts.append(made)
        made.boot()
        return made

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in self.hosts:
            host.pull_plug()
        self._switch.stop()


def kill(process: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; False where the process is gone."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True
