"""`nesypr doctor --address HEAD:6379`: ask every host of a Ray cluster, by a small task on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from cluster.doctor import host_facts
from cluster.doctor.check import Check
from cluster.doctor.cluster_checks import Host, compare
from cluster.doctor.surroundings import given_server
from cluster.machine import LIBRARIES
from cluster.ray_session import RaySession, house
from configs.errors import NesyprError

DEADLINE_S = 90.0
"""For all hosts together: each starts a worker process first."""
PORT_DEADLINE_S = 2.0
_QUESTIONS = 4
"""How often a clock is asked; the quickest answer counts."""


def check_hosts(address: str, server: str | None, environment: Mapping[str, str]) -> list[Check]:
    """What is found on the cluster's hosts; one finding where it cannot be joined."""
    try:
        memory, url = given_server(server, environment)
        with RaySession(address, 0.0):
            return _ask(memory.model_dump_json(), url)
    except NesyprError as error:
        return [Check("cluster", "broken", str(error), "mend that, and ask again")]
    except Exception as error:  # noqa: BLE001 - shown to the user as what was found
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return [Check("cluster", "broken", words, "look with `ray status`, and ask again")]


def _ask(memory: str, url: str | None) -> list[Check]:
    import ray

    ray.cloudpickle.register_pickle_by_value(host_facts)
    try:
        nodes = {str(node["NodeID"]): node for node in ray.nodes() if node["Alive"]}
        gone = [node for node in ray.nodes() if not node["Alive"]]
        return _asked(nodes, [str(node["NodeManagerAddress"]) for node in gone], memory, url)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(host_facts)


def _asked(
    nodes: Mapping[str, Mapping[str, Any]], gone: Sequence[str], memory: str, url: str | None
) -> list[Check]:
    """Every node is asked everything; who does not answer by the deadline is told."""
    deadline = time.monotonic() + DEADLINE_S
    here = host_facts.host_facts(LIBRARIES, str(house()))
    places = {
        node: [
            (str(entry["NodeManagerAddress"]), int(entry[port]))
            for other, entry in nodes.items()
            if other != node
            for port in ("NodeManagerPort", "ObjectManagerPort")
        ]
        for node in nodes
    }
    facts = _all(nodes, deadline, lambda node: (host_facts.host_facts, LIBRARIES, str(house())))
    there = {node: nodes[node] for node in facts}
    blocked = _all(
        there, deadline, lambda node: (host_facts.unreachable, places[node], PORT_DEADLINE_S)
    )
    servers: dict[str, Any] = {}
    if url is not None:
        question = (host_facts.server_trouble, memory, url, str(house()))
        servers = _all(there, deadline, lambda node: question)
    hosts = []
    for node, found in facts.items():
        clock, error = _clock(node, deadline)
        hosts.append(
            Host(
                address=str(nodes[node]["NodeManagerAddress"]),
                **{**found, "shared_mb": found["shared_mb"] and tuple(found["shared_mb"])},
                clock_s=clock,
                clock_error_s=error,
                unreachable=tuple((to, port) for to, port in blocked.get(node, ())),
                server=servers.get(node, None if url is None else "no answer"),
            )
        )
    silent = [str(nodes[node]["NodeManagerAddress"]) for node in nodes if node not in facts]
    known = {host.address for host in hosts}
    silent += [address for address in gone if address not in known]
    return compare(Host(address="here", **here), hosts, silent, str(house()))


def _all(
    nodes: Mapping[str, object], deadline: float, question: Callable[[str], tuple[Any, ...]]
) -> dict[str, Any]:
    """The answer of each node that gives one by the deadline."""
    import ray

    open_ = {}
    for node in nodes:
        function, *arguments = question(node)
        open_[_on(node, function).remote(*arguments)] = node
    left = max(0.0, deadline - time.monotonic())
    ready, _ = ray.wait(list(open_), num_returns=len(open_), timeout=left) if open_ else ([], [])
    found = {}
    for reference in ready:
        try:
            found[open_[reference]] = ray.get(reference, timeout=PORT_DEADLINE_S)
        except ray.exceptions.RayError:
            continue  # a host that is lost while it is asked is one that does not answer
    for reference in open_:
        if reference not in ready:
            ray.cancel(reference, force=True)
    return found


def _on(node: str, function: Callable[..., Any]) -> Any:
    """The function as a task for one node only, which takes nothing of what runs need."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=where)


def _clock(node: str, deadline: float) -> tuple[float, float]:
    """How far a node's clock is ahead of ours, and by how much that may be wrong, in seconds."""
    import ray

    task, best = _on(node, host_facts.host_time), (0.0, inf)
    for _ in range(_QUESTIONS):
        began = time.time()
        try:
            there = ray.get(task.remote(), timeout=max(1.0, deadline - time.monotonic()))
        except ray.exceptions.RayError:
            break
        ended = time.time()
        best = min(best, (there - (began + ended) / 2, (ended - began) / 2), key=lambda x: x[1])
    return best
