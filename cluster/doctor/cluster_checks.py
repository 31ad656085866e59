"""What the hosts of a cluster tell, compared: pure functions from facts to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from cluster.doctor.check import Check, State
from cluster.doctor.machine import check_memory, check_shared_memory

CLOCK_S = 1.0
"""Clocks that differ by less are alike: nothing of a run depends on less."""
_WORST: dict[State, int] = {"ok": 0, "warning": 1, "broken": 2}


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the cluster, as it was asked."""

    address: str
    name: str
    python: str
    versions: dict[str, str]
    memory_mb: int | None
    shared_mb: tuple[int, int] | None
    code: str
    clock_s: float = 0.0  # ahead of this machine's
    clock_error_s: float = 0.0  # half of how long asking took
    unreachable: tuple[tuple[str, int], ...] = ()
    server: str | None = None  # "" where it reaches the server; None where it was not asked

    @property
    def words(self) -> str:
        """For messages."""
        return self.address if self.name in ("", self.address) else f"{self.address} ({self.name})"


def compare(here: Host, hosts: Sequence[Host], silent: Sequence[str], house: str) -> list[Check]:
    """All findings; `here`: this machine; `silent`: addresses that did not answer."""
    return [
        _answers(hosts, silent),
        _versions(here, hosts),
        _code(here, hosts, house),
        _clocks(hosts),
        _each("memory", hosts, lambda host: check_memory(host.memory_mb)),
        _each("/dev/shm", hosts, lambda host: check_shared_memory(host.shared_mb)),
        _ports(hosts),
        *_server(hosts),
    ]


def _answers(hosts: Sequence[Host], silent: Sequence[str]) -> Check:
    name = "cluster: hosts"
    if silent:
        remedy = "look with `ray status`, and start Ray there again; runs go on without them"
        return Check(name, "broken", f"no answer from {_listed(silent)}", remedy)
    return Check(name, "ok", f"{len(hosts)} answer: {_listed(host.words for host in hosts)}")


def _versions(here: Host, hosts: Sequence[Host]) -> Check:
    """Pickled requests and Ray's protocol bind Python and libraries together."""
    different = []
    for host in hosts:
        pairs = {"python": (here.python, host.python)} | {
            name: (version, host.versions.get(name, "none"))
            for name, version in here.versions.items()
        }
        wrong = [f"{name} {there}" for name, (ours, there) in pairs.items() if ours != there]
        if wrong:
            different.append(f"{host.words} has {_listed(wrong)}")
    if different:
        remedy = "install requirements.lock there, with the same Python, and start Ray again"
        return Check("cluster: versions", "broken", "; ".join(different)[:500], remedy)
    return Check("cluster: versions", "ok", f"alike: Python {here.python}")


def _code(here: Host, hosts: Sequence[Host], house: str) -> Check:
    name = "cluster: program"
    absent = [host.words for host in hosts if not host.code]
    if absent:
        remedy = "copy the repository to the same path on every host"
        return Check(name, "broken", f"not at {house} on {_listed(absent)}", remedy)
    different = [host.words for host in hosts if host.code != here.code]
    if different:
        remedy = "copy the repository there again (`nesypr up` does), and start Ray again"
        return Check(name, "broken", f"another version on {_listed(different)}", remedy)
    return Check(name, "ok", f"alike, at {house}")


def _clocks(hosts: Sequence[Host]) -> Check:
    name = "cluster: clocks"
    apart = [
        f"{host.words} is {abs(host.clock_s):.1f} s {'ahead' if host.clock_s > 0 else 'behind'}"
        for host in hosts
        if abs(host.clock_s) - host.clock_error_s > CLOCK_S
    ]
    if apart:
        remedy = "keep them together with chrony or systemd-timesyncd: logs and ages mislead else"
        return Check(name, "warning", "; ".join(apart)[:500], remedy)
    known = [abs(host.clock_s) + host.clock_error_s for host in hosts if host.clock_error_s < inf]
    return Check(name, "ok", f"at most {max(known, default=0.0):.2f} s apart")


def _each(name: str, hosts: Sequence[Host], check: Callable[[Host], Check]) -> Check:
    """The worst of a check of every host by itself."""
    found = [(host, check(host)) for host in hosts]
    worst: State = max((each.state for _, each in found), key=_WORST.__getitem__, default="ok")
    if worst == "ok":
        return Check(f"cluster: {name}", "ok", "enough on every host")
    named = [(host, each) for host, each in found if each.state != "ok"]
    words = "; ".join(f"{host.words}: {each.found}" for host, each in named)
    return Check(f"cluster: {name}", worst, words[:500], named[0][1].remedy)


def _ports(hosts: Sequence[Host]) -> Check:
    name = "cluster: ports"
    blocked = [
        f"{host.words} does not reach {', '.join(f'{to}:{port}' for to, port in host.unreachable)}"
        for host in hosts
        if host.unreachable
    ]
    if blocked:
        remedy = (
            "allow TCP between the hosts; behind a firewall fix Ray's ports with "
            "--node-manager-port, --object-manager-port, --min-worker-port and --max-worker-port"
        )
        return Check(name, "broken", "; ".join(blocked)[:500], remedy)
    return Check(name, "ok", "every host reaches every other")


def _server(hosts: Sequence[Host]) -> list[Check]:
    asked = [host for host in hosts if host.server is not None]
    if not asked:
        return []
    trouble = [f"{host.words}: {host.server}" for host in asked if host.server]
    if trouble:
        remedy = "open the server to these hosts, and have passwords and files there, too"
        return [Check("cluster: server", "broken", "; ".join(trouble)[:500], remedy)]
    return [Check("cluster: server", "ok", "every host reaches it")]


def _listed(words: Iterable[str]) -> str:
    found = list(words)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(found[:8]) + more
