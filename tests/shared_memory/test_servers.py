"""Real servers over TLS, by Sentinels, and as a Cluster: every command of the house works there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis.crc import key_slot
from redis_servers import (
    Clustered,
    RedisServer,
    as_cluster,
    make_certificates,
    needs_openssl,
    needs_redis,
    watched_by_sentinels,
)

from cluster.bank_place import opened
from configs.errors import ConfigurationError
from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.bank_file import export_banks, import_banks, read_header
from shared_memory.bank_reading import bank_memory, most_used, server_memory
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.connection import AtomicScript, call, call_all, connect
from shared_memory.errors import SharedMemoryError, TooFewCopiesError
from shared_memory.heartbeat import Heartbeats
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.records import Episode, PlanOutcomeRecord, PlanRequest, Trace
from shared_memory.replica import BankReplica
from shared_memory.server_clients import ClusterClient, ServerClient
from shared_memory.weights import PublishedWeights

pytestmark = [needs_redis, pytest.mark.timeout(120)]

EpisodeMaker = Callable[..., Episode]
RequestMaker = Callable[..., PlanRequest]
DOMAINS = ("blocks", "hanoi", "gripper", "ferry")
CONFIG = SharedMemoryConfig(patience_s=20.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clustered]:
    with as_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def use_everything(
    client: ServerClient, folder: Path, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    """Everything that a run does with shared memory, over several domains."""
    bank = Bank(client, "run", BankConfig())
    episodes = [
        make_episode(number, domain=DOMAINS[number % 4], success=number % 3 > 0)
        for number in range(24)
    ]
    requests = [make_request(number, domain=DOMAINS[number % 4]) for number in range(8)]
    assert bank.push(episodes, requests).finished == 24
    assert bank.push(episodes, requests).doubled == 24
    assert bank.domains() == tuple(sorted(DOMAINS))
    replica = BankReplica(client, "run", DOMAINS, BankConfig(), actions=True)
    assert replica.refresh() > 0
    assert sum(replica.sizes().values()) == sum(b.unique for b in bank.statistics().banks)

    plans = PlanQueue(client, "run", DOMAINS)
    taken = plans.take("teacher", 100, block_s=1.0)
    assert len(taken) == plans.backlog() == 8
    for ticket, request in taken:
        index, digest, domain = request.task_index, request.task_digest, request.domain
        record = PlanOutcomeRecord(index, digest, domain, 0, "a", "solved", 1, 0.1, True, True)
        trace = Trace(index, digest, domain, 0, "a", "prompt", ("",), ("act",))
        assert plans.complete(ticket, record, trace)
    traces = TraceQueue(client, "run", DOMAINS)
    learned = traces.take("learner", 100, block_s=1.0)
    assert traces.ack([ticket for ticket, _ in learned]) == 8
    assert traces.take("learner", 1, block_s=0.2) == []
    assert plans.forget_idle_consumers(0.0) == len(DOMAINS)

    log = OutcomeLog(client, "run", DOMAINS)
    events, cursor = log.read({})
    assert len(events) == 24 + 8
    assert cursor == log.last()
    log.trim(cursor)

    published = PublishedWeights(client, "run")
    for version in range(5):
        published.publish(version, bytes([version]) * 1000)
    assert published.fetch() == (4, bytes([4]) * 1000)

    beats = Heartbeats(client, "run")
    beats.beat("actor-0", "acts", {"tasks": 3})
    assert 0.0 <= beats.read()["actor-0"].age_s < 30.0
    beats.forget("actor-0")

    reencoding = BankReencoding(client, "run", BankConfig())
    stale = reencoding.stale("blocks", "success", 2, 3)
    moved = reencoding.write(stale, [np.zeros(6, dtype=np.uint16)] * 3, 2)
    assert moved.same + moved.moved == 3
    assert bank.verify().problems == ()
    assert most_used(client, "run", "blocks", "success", 3)
    assert all(row.server_bytes > 0 for row in bank_memory(client, "run", DOMAINS))
    assert server_memory(client).used_bytes > 0

    filed = export_banks(client, "run", bank.domains(), folder / "banks")
    restored = import_banks(client, "other", BankConfig(), read_header(filed.path))
    assert restored.added == filed.entries
    assert Bank(client, "other", BankConfig()).verify().problems == ()
    assert bank.retire(3) > 0
    assert replica.refresh() > 0
    assert bank.verify().problems == ()


def test_a_cluster_does_everything(
    cluster: Clustered, tmp_path: Path, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    client = connect(CONFIG, cluster.url)
    use_everything(client, tmp_path, make_episode, make_request)
    held = [call(node, "DBSIZE") for node in client.nodes()]
    assert len(held) == 3
    assert all(held)  # the domains are spread over the nodes
    client.close()
    with opened(cluster.url, tmp_path, "run") as at:
        assert at.bank.verify().closed
    with (
        pytest.raises(ConfigurationError, match=r"several runs.*other, run"),
        opened(cluster.url, tmp_path),
    ):
        pass


def test_a_clusters_scripts_and_pipelines(cluster: Clustered) -> None:
    client = connect(CONFIG, cluster.url)
    keys = [f"nesypr:{{run/{number}}}:counters" for number in range(20)]
    count = AtomicScript("return redis.call('INCR', KEYS[1])")
    assert [count.run(client, (key,), ()) for key in keys] == [1] * 20
    for node in client.nodes():
        call(node, "SCRIPT", "FLUSH")
    assert [count.run(client, (key,), ()) for key in keys] == [2] * 20
    assert call_all(client, [("GET", key) for key in keys]) == [b"2"] * 20
    with pytest.raises(SharedMemoryError, match="refused: WRONGTYPE"):
        call_all(client, [("GET", keys[0]), ("HGETALL", keys[1])])
    with pytest.raises(SharedMemoryError, match="slot"):
        call(client, "MGET", *keys)
    with pytest.raises(ValueError, match="transactions"):
        client.pipeline()
    client.close()


def test_slots_may_move(cluster: Clustered) -> None:
    client = connect(CONFIG, cluster.url)
    assert isinstance(client, ClusterClient)
    key, other = "nesypr:{run/moving}:log", "nesypr:{run/moving}:counters"
    slot = key_slot(key.encode())
    assert call_all(client, [("SET", key, "1"), ("SET", other, "2")]) == [True, True]
    nodes = {call(node, "CLUSTER", "MYID").decode(): node for node in client.nodes()}
    source = next(n for n, node in nodes.items() if call(node, "CLUSTER", "COUNTKEYSINSLOT", slot))
    target = next(name for name in nodes if name != source)
    call(nodes[target], "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    call(nodes[source], "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    place = nodes[target].connection_pool.connection_kwargs
    call(nodes[source], "MIGRATE", place["host"], place["port"], key, 0, 5000)
    # One key has moved, the other has not: each is found all the same.
    assert call_all(client, [("GET", key), ("GET", other)]) == [b"1", b"2"]
    assert call(client, "INCR", key) == 2
    call(nodes[source], "MIGRATE", place["host"], place["port"], other, 0, 5000)
    for node in nodes.values():
        call(node, "CLUSTER", "SETSLOT", slot, "NODE", target)
    assert call_all(client, [("GET", key), ("GET", other)]) == [b"2", b"2"]
    client.close()


def test_copies_on_replicas(cluster: Clustered, tmp_path: Path) -> None:
    count = AtomicScript("return redis.call('INCR', KEYS[1])")
    client = connect(SharedMemoryConfig(copies=1), cluster.url)
    client.copies_deadline_s = 0.3
    by_slot = {key_slot(f"kept/{number}".encode()): number for number in range(40)}
    kept = f"nesypr:{{kept/{by_slot[min(by_slot)]}}}:counters"  # slot 0's holder has a replica
    lost = f"nesypr:{{kept/{by_slot[max(by_slot)]}}}:counters"
    assert count.run(client, (kept,), ()) >= 1
    with pytest.raises(TooFewCopiesError, match="only 0 replicas"):
        count.run(client, (lost,), ())
    assert AtomicScript(count.text, kept=False).run(client, (lost,), ()) == 2
    client.close()


def test_sentinels_name_the_primary(
    tmp_path: Path, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    with watched_by_sentinels(tmp_path) as watched:
        client = connect(SharedMemoryConfig(copies=1), watched.url)
        use_everything(client, tmp_path, make_episode, make_request)
        ports = [node.connection_pool.connection_kwargs["port"] for node in client.all_nodes()]
        assert ports == [watched.primary.port, watched.replicas[0].port]
        client.close()
        with pytest.raises(SharedMemoryError, match="no server answers at other"):
            connect(CONFIG, watched.url.replace("/banks", "/other"))


@needs_openssl
def test_tls(tmp_path: Path, make_episode: EpisodeMaker, make_request: RequestMaker) -> None:
    made = make_certificates(tmp_path)
    files = {name: str(path) for name, path in made.items()}
    key = files["server"].replace(".crt", ".key")
    server = RedisServer(
        tmp_path,
        {
            **{"port": "0", "tls-port": "PORT", "tls-auth-clients": "yes"},
            **{"tls-ca-cert-file": files["ca"], "tls-cert-file": files["server"]},
            "tls-key-file": key,
        },
        login={
            **{"ssl": True, "ssl_ca_certs": files["ca"], "ssl_certfile": files["client"]},
            "ssl_keyfile": files["client"].replace(".crt", ".key"),
        },
    )
    try:
        place = f"127.0.0.1:{server.port}"
        mine = f"cert={files['client']}&key={files['client'].replace('.crt', '.key')}"
        client = connect(CONFIG, f"rediss://{place}?ca={files['ca']}&{mine}")
        use_everything(client, tmp_path, make_episode, make_request)
        client.close()
        connect(CONFIG, f"rediss://{place}?verify=none&{mine}").close()
        for url, sentence in (
            (f"rediss://{place}?{mine}", "cannot be verified.*ca=FILE"),
            (f"rediss://{place}?ca={files['ca']}", "no server answers"),  # who are we?
            (f"redis://{place}", "no server answers|no Redis server"),
        ):
            with pytest.raises(SharedMemoryError, match=sentence):
                connect(CONFIG, url)
    finally:
        server.stop()
