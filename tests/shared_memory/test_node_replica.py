"""A node's replica answers as a process's own, whoever feeds it, and however that one ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from node_processes import CHUNKS, CODES, DOMAINS, QUERIES, answers, die, follow, held

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory import node_folder, replica_bank
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.node_replica import NodeReplica, open_replica
from shared_memory.records import SIGNS, Episode, Sign
from shared_memory.replica import BankReplica, Replica
from shared_memory.server import EmbeddedServer

EpisodeMaker = Callable[..., Episode]
PROCESSES = multiprocessing.get_context("forkserver")
DEADLINE_S = 60.0


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder in memory for this test's replicas, which must leave nothing there."""
    path = node_folder.memory_folder() / f"nesypr-test-{os.getpid()}"
    path.mkdir(mode=0o700)
    yield path
    left = [each.name for each in path.iterdir()]
    for each in path.iterdir():
        for file in each.iterdir():
            file.unlink()
        each.rmdir()
    path.rmdir()
    assert left == []


def opened(client: redis.Redis, base: Path, run: str = "run", **options: Any) -> NodeReplica:
    return NodeReplica(client, run, DOMAINS, BankConfig(), base=base, **options)


def tried(replica: Replica, domain: str, sign: Sign) -> list[Any]:
    """What was tried with each procedure that the bank holds, and with one that it does not."""
    rows = replica.banks()[domain][sign].rows.astype(np.uint16)
    asked = np.unique(np.concatenate([rows.reshape(-1, CHUNKS), QUERIES[:1]]), axis=0)
    found = replica.tried(domain, sign, asked, np.zeros(1001, dtype=np.int64), 0)
    held = [(codes.tobytes(), dict(each)) for codes, each in zip(asked, found) if each]
    bank = replica.banks()[domain][sign].tried
    assert bank is not None
    assert len(bank) == sum(len(actions) for _, actions in held)
    return held


def assert_same(replica: Replica, other: Replica) -> None:
    for domain in DOMAINS:
        assert replica.position(domain) == other.position(domain)
        for sign in SIGNS:
            assert held(replica, domain, sign) == held(other, domain, sign)
            if replica.banks()[domain][sign].tried is not None:
                assert tried(replica, domain, sign) == tried(other, domain, sign)
    for min_version, born in ((0, np.zeros(CODES, dtype=np.int64)), (2, np.arange(CODES) // 2)):
        for scope in ("domain", "all"):
            assert answers(replica, min_version, born, scope) == answers(
                other, min_version, born, scope
            )


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    some.lists(
        some.one_of(
            some.tuples(some.just("push"), some.integers(0, 30), some.booleans()),
            some.tuples(some.just("retire"), some.integers(0, 5), some.booleans()),
            some.tuples(some.just("refresh"), some.integers(0, 2), some.booleans()),
            some.tuples(some.just("reopen"), some.integers(0, 2), some.booleans()),
            some.tuples(some.just("trim"), some.integers(0, 1), some.booleans()),
            some.tuples(some.just("lose"), some.integers(0, 9), some.booleans()),
        ),
        max_size=40,
    ),
    some.sampled_from([1, 1024]),
)
def test_random_histories(
    client: redis.Redis,
    make_episode: EpisodeMaker,
    base: Path,
    history: list[tuple[str, int, bool]],
    few: int,
) -> None:
    client.flushall()
    bank = Bank(client, "run", BankConfig(max_entries=15))
    replicas = [opened(client, base, actions=True) for _ in range(3)]
    own = BankReplica(client, "run", DOMAINS, BankConfig(), actions=True)
    version = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica_bank, "_FEW", few)
        for number, (event, value, flag) in enumerate(history):
            if event == "push":
                version += value % 7 == 0
                codes = 3 if value < 25 else CODES
                bank.push(
                    [
                        make_episode(
                            number,
                            **{"seed": value, "domain": DOMAINS[value % 2], "success": flag},
                            **{"version": version, "codes": codes},
                        )
                    ]
                )
            elif event == "retire":
                bank.retire(version - value)
            elif event == "refresh":
                replicas[value].refresh()
                own.refresh()
                assert_same(replicas[value], own)
            elif event == "reopen":
                replicas[value].close()
                replicas[value] = opened(client, base, actions=True)
            elif event == "trim":
                call(client, "XTRIM", RunKeys("run").domain(DOMAINS[value]).log, "MAXLEN", 1)
            elif value == 0:
                client.flushall()
                bank = Bank(client, "run", BankConfig(max_entries=15))
        for replica in replicas:
            replica.refresh()
            own.refresh()
            assert_same(replica, own)
            replica.close()


def test_one_loads_and_all_read(
    client: redis.Redis, make_episode: EpisodeMaker, base: Path
) -> None:
    Bank(client, "run", BankConfig()).push([make_episode(number) for number in range(9)])
    replicas = [opened(client, base) for _ in range(3)]
    assert [replica.refresh() for replica in replicas] == [1, 0, 0]
    assert [replica.reloads for replica in replicas] == [1, 0, 0]
    own = BankReplica(client, "run", DOMAINS, BankConfig())
    own.refresh()
    for replica in replicas:
        assert_same(replica, own)
    replicas[0].close()
    replicas[0].close()
    with pytest.raises(SharedMemoryError, match="was closed"):
        replicas[0].refresh()
    Bank(client, "run", BankConfig()).push([make_episode(10)])
    assert [replica.refresh() for replica in replicas[1:]] == [1, 0]
    for replica in replicas[1:]:
        replica.close()


def test_codes_of_more_than_a_byte_and_growth(
    client: redis.Redis, make_episode: EpisodeMaker, base: Path
) -> None:
    bank = Bank(client, "run", BankConfig())
    own = BankReplica(client, "run", DOMAINS, BankConfig())
    with closing(opened(client, base)) as replica, closing(opened(client, base)) as other:
        for number, codes in enumerate([5, 256, 300, 1000]):
            bank.push([make_episode(number, codes=codes, decisions=1500)])
            replica.refresh()
            other.refresh()
            own.refresh()
            assert held(other, "blocks", "success") == held(own, "blocks", "success")
        assert other.banks()["blocks"]["success"].rows.dtype == np.uint16


def test_two_runs_side_by_side(client: redis.Redis, make_episode: EpisodeMaker, base: Path) -> None:
    with closing(opened(client, base)) as one, closing(opened(client, base, "other")) as other:
        assert one.folder.path != other.folder.path
        Bank(client, "run", BankConfig()).push([make_episode(1)])
        Bank(client, "other", BankConfig()).push([make_episode(2)])
        one.refresh()
        other.refresh()
        assert held(one, "blocks", "success") != held(other, "blocks", "success")


def test_what_dead_runs_left_is_removed(client: redis.Redis, base: Path) -> None:
    deserted = opened(client, base, "deserted")
    path = deserted.folder.path
    os.close(deserted.folder._users)
    os.close(deserted.folder._feeder)
    deserted.folder._users = -1  # as if its process had been killed
    assert path.exists()
    with closing(opened(client, base)):
        assert not path.exists()


def test_old_files_of_the_same_run_are_not_believed(
    client: redis.Redis, make_episode: EpisodeMaker, base: Path
) -> None:
    replica = opened(client, base)
    (replica.folder.path / "junk").write_bytes(b"junk")
    os.close(replica.folder._users)
    replica.folder._users = -1
    with closing(opened(client, base)) as fresh:
        assert {each.name for each in fresh.folder.path.iterdir()} == {"users", "feeder"}


def test_another_users_folder_is_refused(client: redis.Redis, base: Path) -> None:
    path = opened(client, base)
    name = path.folder.path
    path.close()
    name.mkdir(mode=0o755)
    name.chmod(0o755)
    with pytest.raises(SharedMemoryError, match="not a folder of this user alone"):
        opened(client, base)
    name.rmdir()


def test_a_damaged_head_is_told(
    client: redis.Redis, make_episode: EpisodeMaker, base: Path
) -> None:
    Bank(client, "run", BankConfig()).push([make_episode(1)])
    with closing(opened(client, base)) as replica:
        replica.refresh()
        (head,) = (each for each in replica.folder.path.glob("*.head"))
        payload = bytearray(head.read_bytes())
        payload[20] ^= 1
        head.write_bytes(payload)
        with pytest.raises(SharedMemoryError, match="is damaged"):
            replica.refresh()


def test_who_waits_for_a_feeder_has_a_deadline(
    client: redis.Redis, make_episode: EpisodeMaker, base: Path
) -> None:
    Bank(client, "run", BankConfig()).push([make_episode(1)])
    with (
        closing(opened(client, base)) as feeder,
        closing(opened(client, base, deadline_s=0.1)) as waiting,
        feeder.folder.feeding(lambda: False, 1.0) as mine,
    ):
        assert mine
        with pytest.raises(SharedMemoryError, match=f"process {os.getpid()} has been feeding"):
            waiting.refresh()


def test_where_a_node_has_no_place_each_process_has_its_own(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SharedMemoryConfig(replica="process")
    assert isinstance(open_replica(client, "run", DOMAINS, config), BankReplica)

    def nowhere() -> Path:
        raise PermissionError("no place")

    monkeypatch.setattr(node_folder, "memory_folder", nowhere)
    assert isinstance(open_replica(client, "run", DOMAINS, SharedMemoryConfig()), BankReplica)


def checked(episode: Episode) -> Episode:
    """The last code of each procedure is the sum of the others."""
    for decision in episode.decisions:
        decision.codes[-1] = decision.codes[:-1].sum() % CODES
    return episode


def started(target: Callable[..., None], *arguments: Any) -> Any:
    """A process of its own, quickly: it comes from one that has loaded everything already."""
    PROCESSES.set_forkserver_preload(["node_processes"])
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize(
    "moment", ["after announcing", "amid a batch", "amid a move", "before publishing", "after"]
)
def test_a_feeder_that_dies_is_succeeded(
    server: EmbeddedServer,
    client: redis.Redis,
    make_episode: EpisodeMaker,
    base: Path,
    moment: str,
) -> None:
    bank = Bank(client, "run", BankConfig(max_entries=40))
    own = BankReplica(client, "run", DOMAINS, BankConfig())
    for number in range(10):
        bank.push([make_episode(number)])
    with closing(opened(client, base)) as replica:
        replica.refresh()
        for number in range(10, 20):
            bank.push([make_episode(number, codes=300, decisions=400, version=3)])
        process = started(die, server.url, str(base), moment)
        process.join(DEADLINE_S)
        assert process.exitcode == -signal.SIGKILL
        before = replica.reloads
        replica.refresh()
        own.refresh()
        assert_same(replica, own)
        assert replica.reloads == before + (moment != "after")
        with closing(opened(client, base)) as late:
            assert late.refresh() == 0
            assert_same(late, own)


def test_readers_and_feeders_killed_at_any_moment(
    own_server: EmbeddedServer, make_episode: EpisodeMaker, base: Path
) -> None:
    chance = np.random.default_rng(0)
    url = own_server.url
    stop, done = PROCESSES.Event(), threading.Event()
    with closing(connect(SharedMemoryConfig(), url)) as client:
        bank = Bank(client, "run", BankConfig(max_entries=300))

        def write() -> None:
            log = RunKeys("run").domain("blocks").log
            for number in range(100_000):
                episode = make_episode(number, success=number % 3 > 0, version=number // 50)
                bank.push([checked(episode)])
                if number % 40 == 0:
                    call(client, "XTRIM", log, "MAXLEN", 0)
                if number % 90 == 0:
                    bank.retire(number // 50 - 2)
                if done.wait(0.002):
                    return

        writer = threading.Thread(target=write)
        writer.start()
        running: list[tuple[Any, Any]] = []
        try:
            for place in range(15):
                mine, theirs = PROCESSES.Pipe(duplex=False)
                running.append((started(follow, url, str(base), place, stop, theirs), mine))
                theirs.close()
                if len(running) > 3:
                    victim, pipe = running.pop(int(chance.integers(3)))
                    done.wait(0.3 * chance.random())
                    assert not pipe.poll(), pipe.recv()
                    victim.kill()
                    victim.join(DEADLINE_S)
                    pipe.close()
        finally:
            done.set()
            writer.join(DEADLINE_S)
            stop.set()
        own = BankReplica(client, "run", DOMAINS, BankConfig())
        own.refresh()
        expected = [sorted(held(own, "blocks", sign).items()) for sign in SIGNS]
        for process, pipe in running:
            assert pipe.poll(DEADLINE_S)
            assert pipe.recv() == expected
            pipe.close()
            process.join(DEADLINE_S)
            assert process.exitcode == 0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "server") as server:
        yield server
