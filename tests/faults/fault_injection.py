"""Carries a fault out on the cluster and its run: says whom it struck, or that nobody was there."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaos_cluster import ChaosCluster
from fault_schedule import Fault
from kept_run import KeptRun, state_of
from network_hosts import Host, kill

_One = TypeVar("_One")
ACTOR, LEARNER = "ray::ActorProcess", "ray::LearnerActor"


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was carried out."""

    fault: Fault
    when: float  # Unix time
    host: str
    finished: int  # episodes of the run by then
    with_driver: bool  # it takes the driver with it, or may: its host or raylet is gone, or cut off


def strike(fault: Fault, cluster: ChaosCluster, run: KeptRun) -> Struck | None:
    """Do it now. None where there is nobody to strike: the caller may try again later."""
    when = time.time()
    host = _carried_out(fault, cluster, run)
    if host is None:
        return None
    may_end = fault.kind == "driver" or (
        fault.kind in ("raylet", "host", "cut") and run.host is not None and host is run.host
    )
    return Struck(fault, when, host.name, len(run.finished), may_end)


def _carried_out(fault: Fault, cluster: ChaosCluster, run: KeptRun) -> Host | None:
    """The host that was struck."""
    match fault.kind:
        case "actor" | "actor stopped" | "learner" | "learner stopped":
            found = [
                (host, process)
                for host in cluster.ray_hosts
                for process in host.processes(ACTOR if "actor" in fault.kind else LEARNER)
                if state_of(process) not in ("T", "Z", "")
            ]
            stopping = fault.kind.endswith("stopped")
            for host, process in _chosen(found, fault):
                if kill(process, signal.SIGSTOP if stopping else signal.SIGKILL):
                    return host
        case "raylet":
            for host in _chosen([one for one in cluster.workers if cluster.ready(one)], fault):
                if cluster.kill_raylet(host, fault.away_s):
                    return host
        case "host":
            for host in _chosen([one for one in cluster.workers if cluster.ready(one)], fault):
                cluster.pull_plug(host, fault.away_s)
                return host
        case "cut":
            for host in _chosen([one for one in cluster.workers if one.alive], fault):
                cluster.cut(host, fault.away_s)
                return host
        case "head":
            if cluster.ready(cluster.head):
                cluster.pull_plug(cluster.head, fault.away_s)
                return cluster.head
        case "server":
            if cluster.bank_server_answers() and cluster.kill_bank_server(fault.away_s):
                return cluster.store
        case "driver":
            for process in run.driver():
                if run.host is not None and kill(process):
                    return run.host
    return None


def _chosen(found: Sequence[_One], fault: Fault) -> Sequence[_One]:
    """The one that the fault's choice names; none where there are none."""
    return [found[int(fault.choice * len(found))]] if found else []
