"""The primary is killed while processes push: a replica takes over, by Sentinels or in a Cluster.

Replication is asynchronous: what was acknowledged may be lost, and is counted. With
`shared_memory.copies` nothing is. `-m slow -s` shows the figures without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ingest import RUN, Account, Ingest, Pushing
from redis.crc import key_slot
from redis_servers import RedisServer, as_cluster, needs_redis, watched_by_sentinels

from configs.schema import SharedMemoryConfig
from shared_memory.connection import call, connect
from shared_memory.keys import RunKeys

pytestmark = [needs_redis, pytest.mark.timeout(300)]

StartIngest = Callable[..., Ingest]
DOMAINS = ("blocks", "ferry", "hanoi")
NO_COPIES = pytest.param(0, marks=pytest.mark.slow)


def fail_over(writers: Ingest, url: str, primary: RedisServer, back: bool) -> Account:
    """Kill the primary, have writers go on (`back`: and it, as a replica); the account."""
    writers.until_more(30)
    primary.kill()
    if back:  # with copies, writers wait for a second holder of what they write
        time.sleep(3.0)
        primary.start()
    writers.until_more(30)
    writers.stop()
    with closing(connect(SharedMemoryConfig(), url)) as client:
        found = writers.account(client)
    print(found)  # noqa: T201 - the figures, with -s
    assert found.doubled == found.torn == 0, found
    assert found.problems == ()
    assert found.acknowledged + found.lost >= found.counted
    return found


@pytest.mark.parametrize("copies", [1, NO_COPIES])
def test_sentinels_replace_a_primary(tmp_path: Path, ingest: StartIngest, copies: int) -> None:
    with watched_by_sentinels(tmp_path, replicas=2) as watched:
        pushing = Pushing(domains=DOMAINS, copies=copies)
        found = fail_over(ingest(watched.url, 3, pushing), watched.url, watched.primary, False)
        if copies:
            assert found.lost == 0
        with closing(connect(SharedMemoryConfig(), watched.url)) as client:
            port = int(call(client, "CONFIG", "GET", "port")[1])
            assert port in [replica.port for replica in watched.replicas]


@pytest.mark.parametrize("copies", [1, NO_COPIES])
def test_a_cluster_replaces_a_primary(tmp_path: Path, ingest: StartIngest, copies: int) -> None:
    domain = DOMAINS[0]
    slot = key_slot(RunKeys(RUN).domain(domain).counters.encode())
    with as_cluster(tmp_path, slot) as cluster:
        # Only one primary has a replica, so that only its domain can be kept twice.
        domains = (domain,) if copies else DOMAINS
        writers = ingest(cluster.url, 3, Pushing(domains=domains, copies=copies))
        found = fail_over(writers, cluster.url, cluster.followed, True)
        if copies:
            assert found.lost == 0
        with closing(connect(SharedMemoryConfig(), cluster.url)) as client:
            ports = {node.connection_pool.connection_kwargs["port"] for node in client.nodes()}
            assert cluster.replica.port in ports
            assert cluster.followed.port not in ports
