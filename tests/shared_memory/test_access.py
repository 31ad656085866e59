"""Users with the least rights: what each may do is enough, and nothing else is permitted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_servers import needs_redis, running
from typer.testing import CliRunner

from cluster.main import app
from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory import access, bank_scripts, heartbeat, queues, weights
from shared_memory.access import logins_text, new_login, user_rules
from shared_memory.bank import Bank
from shared_memory.bank_reading import bank_memory, most_used, server_memory
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.connection import AtomicScript, call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWishes
from shared_memory.heartbeat import Heartbeats
from shared_memory.keys import RunKeys
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.records import Episode, PlanOutcomeRecord, PlanRequest, Trace
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.server_address import ROLES, Role
from shared_memory.server_clients import ServerClient
from shared_memory.weights import PublishedWeights

pytestmark = pytest.mark.timeout(120)

RUN = "run-1 [a*b]?"
Clients = dict[Role, ServerClient]


@pytest.fixture(scope="module", params=["valkey", pytest.param("redis", marks=needs_redis)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded Valkey 9, and Debian's Redis 7.0."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        with running(folder) as redis_server:
            yield redis_server.url
    else:
        with EmbeddedServer(folder) as server:
            yield server.url


@pytest.fixture(params=[None, RUN], ids=["all runs", "one run"])
def clients(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[Clients]:
    """A client of each role, by a file of users; `driver` first."""
    admin = connect(SharedMemoryConfig(), url)
    admin.flushall()
    logins = {role: new_login(role) for role in ROLES}
    for role in ROLES:
        call(admin, *user_rules(role, logins[role], request.param).command)
    file = tmp_path / "users"
    file.touch(mode=0o600)
    file.write_text(logins_text(logins))
    made = {role: connect(SharedMemoryConfig(), f"{url}?users={file}", role) for role in ROLES}
    yield made
    for client in (*made.values(), admin):
        client.close()


def test_a_runs_whole_path(
    clients: Clients,
    make_episode: Callable[..., Episode],
    make_request: Callable[..., PlanRequest],
) -> None:
    domains = ("blocks", "/some folder/of [mine]")
    driver, actor = clients["driver"], clients["actor"]
    learner, monitor = clients["learner"], clients["monitor"]
    PublishedWeights(learner, RUN).publish(0, b"weights")
    plans, traces = PlanQueue(learner, RUN, domains), TraceQueue(learner, RUN, domains)
    config = BankConfig(max_entries=10, retirement="worst_outcome")
    bank = Bank(actor, RUN, config)
    for number in range(8):
        for domain in domains:
            episode = make_episode(number, domain=domain, success=number % 2 > 0)
            bank.push([episode], [make_request(number, domain=domain)])
    replica = BankReplica(actor, RUN, domains, config, actions=True)
    assert replica.refresh() > 0
    assert PublishedWeights(actor, RUN).fetch() == (0, b"weights")
    Heartbeats(actor, RUN).beat("actor-0", "acts")

    for ticket, request in plans.take("teacher", 100, block_s=0.5):
        index, digest, domain = request.task_index, request.task_digest, request.domain
        record = PlanOutcomeRecord(index, digest, domain, 0, "a", "solved", 1, 0.1, True, True)
        trace = Trace(index, digest, domain, 0, "a", "prompt", ("",), ("act",))
        assert plans.complete(ticket, record, trace)
    assert traces.ack([ticket for ticket, _ in traces.take("learner", 100)]) == 16
    plans.forget_idle_consumers(0.0)
    for version in range(1, 6):
        PublishedWeights(learner, RUN).publish(version, b"weights" * version)
    reencoding = BankReencoding(learner, RUN, config)
    stale = reencoding.stale("blocks", "success", 2, 4)
    assert reencoding.write(stale, [each.entry.codes[::-1] for each in stale], 2)
    Bank(learner, RUN, config).retire(2)
    Heartbeats(learner, RUN).beat("learner", "distils")

    wishes = FleetWishes(driver, RUN)
    wishes.ask_size(FleetSize(2))
    wishes.ask_to_leave(["ab12"])
    wishes.ask_to_stay(["ab12"])
    wishes.tell(FleetState(wishes.read().size or FleetSize(1), 1, 1, 0, 0, "", ()))

    log = OutcomeLog(driver, RUN, domains)
    events, cursor = log.read({})
    assert len(events) == 32
    log.trim(cursor)
    Bank(driver, RUN, config).push([make_episode(99)])
    assert Bank(driver, RUN, config).verify().problems == ()
    assert server_memory(driver).used_bytes > 0

    assert Bank(monitor, RUN, config).verify().problems == ()
    assert Bank(monitor, RUN, config).statistics().finished == 17
    assert FleetWishes(monitor, RUN).told() is not None
    assert set(Heartbeats(monitor, RUN).read()) == {"actor-0", "learner"}
    assert bank_memory(monitor, RUN, domains)
    assert most_used(monitor, RUN, "blocks", "failure", 3) is not None
    seen = BankReplica(monitor, RUN, domains, config)
    seen.refresh()
    replica.refresh()
    assert seen.sizes() == replica.sizes()


KEYS = RunKeys(RUN)
BLOCKS = KEYS.domain("blocks")
NOBODY_MAY: tuple[tuple[str | int, ...], ...] = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "REWRITE"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "LOAD", "return 1"),
    ("SCRIPT", "KILL"),
    ("FUNCTION", "FLUSH"),
    ("ACL", "SETUSER", "nesypr-actor", "+@all"),
    ("ACL", "LIST"),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "no", "one"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLUSTER", "RESET"),
    ("KEYS", "*"),
    ("MONITOR",),
    ("SWAPDB", 0, 1),
    ("BGREWRITEAOF",),
    ("SLOWLOG", "RESET"),
    ("DEL", BLOCKS.counters),
    ("DEL", BLOCKS.sign("success").entries),
    ("UNLINK", BLOCKS.log),
    ("EXPIRE", BLOCKS.counters, 1),
    ("RENAME", BLOCKS.counters, BLOCKS.log),
    ("MIGRATE", "127.0.0.1", 1, BLOCKS.counters, 0, 1),
    ("RESTORE", BLOCKS.counters, 0, "x"),
    ("COPY", BLOCKS.counters, BLOCKS.log),
    ("SORT", BLOCKS.counters, "STORE", BLOCKS.log),
    ("SET", BLOCKS.counters.replace("nesypr", "other"), "x"),
    ("GET", "other"),
    ("PUBLISH", "channel", "x"),
)
OTHERS: dict[Role, tuple[tuple[str | int, ...], ...]] = {
    "actor": (
        ("HSET", KEYS.weights, "latest", 99),
        ("SET", KEYS.weights_part(1, "d", 0), "x"),
        ("XADD", BLOCKS.traces, "*", "p", "x"),
        ("XTRIM", BLOCKS.outcomes, "MAXLEN", 0),
        ("XREADGROUP", "GROUP", "teachers", "me", "STREAMS", BLOCKS.plans, ">"),
        ("XACK", BLOCKS.plans, "teachers", "1-1"),
        ("XDEL", BLOCKS.plans, "1-1"),
    ),
    "learner": (
        ("SETBIT", BLOCKS.episodes, 1, 1),
        ("SETBIT", BLOCKS.requested, 1, 1),
        ("SADD", KEYS.domains, "x"),
        ("XTRIM", BLOCKS.outcomes, "MAXLEN", 0),
        ("UNLINK", BLOCKS.episodes),
        ("SET", BLOCKS.requested, "x"),
    ),
    "driver": (
        ("HSET", KEYS.weights, "latest", 99),
        ("XADD", BLOCKS.traces, "*", "p", "x"),
        ("XTRIM", BLOCKS.traces, "MAXLEN", 0),
    ),
    "monitor": (
        ("HSET", BLOCKS.counters, "finished", 99),
        ("HSET", KEYS.heartbeats, "me", "x"),
        ("XADD", BLOCKS.log, "*", "p", "x"),
        ("SADD", KEYS.domains, "x"),
        ("EVAL", "return redis.call('INCR', KEYS[1])", 1, BLOCKS.counters),
        ("EVAL", "return 1", 0),
        ("XREADGROUP", "GROUP", "teachers", "me", "STREAMS", BLOCKS.plans, ">"),
    ),
}


@pytest.mark.parametrize("role", ROLES)
def test_nothing_else_is_permitted(clients: Clients, role: Role) -> None:
    client = clients[role]
    for command in (*NOBODY_MAY, *OTHERS[role]):
        with pytest.raises(SharedMemoryError, match=r"does not permit|NOPERM|permissions"):
            call(client, *command)
    if role != "monitor":  # scripts have the rights of who calls them
        for words in ("'FLUSHALL'", "'DEL', KEYS[1]"):
            script = AtomicScript(f"return redis.call({words})")
            with pytest.raises(SharedMemoryError, match=r"permission|NOPERM|permit|can't run"):
                script.run(client, (BLOCKS.counters,), ())
        reaching = AtomicScript(f"return redis.call('HSET', '{KEYS.weights}x', 'a', 1)")
        with pytest.raises(SharedMemoryError, match=r"permission|NOPERM|permit|can't access"):
            reaching.run(client, (), ())


def test_what_an_actors_rights_cannot_keep_it_from(
    clients: Clients, make_episode: Callable[..., Episode]
) -> None:
    """An actor can empty its own run's banks without any DEL (docs/servers.md says so): scripts
    run with the rights of who calls them, so what pushes take away, a stolen password can too. Not
    the keys of other roles, not another run's."""
    actor, driver = clients["actor"], clients["driver"]
    bank = Bank(actor, RUN, BankConfig())
    bank.push([make_episode(number) for number in range(2)])
    held = BLOCKS.sign("success")
    for key in call(driver, "HKEYS", held.entries):
        assert call(actor, "HDEL", held.entries, key) == 1
        assert call(actor, "ZREM", held.ages, key) == 1
    assert call(actor, "RPUSH", held.free, "junk") == 1
    assert call(actor, "LPOP", held.free) == b"junk"
    assert call(actor, "SETRANGE", held.segment(0), 0, b"junk")
    assert call(actor, "SETBIT", BLOCKS.episodes, 2**20, 1) == 0
    problems = Bank(driver, RUN, BankConfig()).verify().problems  # it does not go unnoticed
    assert any("entries are 0" in problem for problem in problems)
    others: tuple[tuple[str | int | bytes, ...], ...] = (
        ("HDEL", KEYS.weights, "latest"),
        ("SETRANGE", KEYS.weights_part(1, "d", 0), 0, b"junk"),
        ("HDEL", KEYS.fleet, "size"),
        ("RPUSH", BLOCKS.traces, "junk"),
        ("SETRANGE", "other", 0, b"junk"),
    )
    for command in others:
        with pytest.raises(SharedMemoryError, match="does not permit"):
            call(actor, *command)


def test_a_run_is_closed_to_the_users_of_another(clients: Clients, url: str) -> None:
    admin = connect(SharedMemoryConfig(), url)
    call(admin, *user_rules("actor", new_login("actor"), "run").command)
    found = call(admin, "ACL", "GETUSER", "nesypr-actor")
    assert "nesypr:{run}:" in str(found)
    login = new_login("actor")
    call(admin, *user_rules("actor", login, "run").command)
    actor = connect(SharedMemoryConfig(), url.replace("://", f"://{login.user}:{login.password}@"))
    for other in ("run-1", "ru", "runs", "run-0123abcx", "run-0123abcd9", RUN):
        keys = RunKeys(other).domain("blocks")
        for command in (("HGET", keys.counters, "log"), ("HSET", keys.counters, "log", 1)):
            with pytest.raises(SharedMemoryError, match="does not permit"):
                call(actor, *command)
    for mine in ("run", "run-0123abcd"):
        assert call(actor, "HSET", RunKeys(mine).domain("blocks").counters, "log", 1) == 1
    for client in (actor, admin):
        client.close()


def test_the_scripts_commands_are_known_to_the_rules() -> None:
    texts = {
        "actor": [bank_scripts.PUSH, heartbeat._BEAT],
        "learner": [
            *(bank_scripts.RETIRE, bank_scripts.REENCODE, weights._PUBLISH, heartbeat._BEAT),
            *(queues._ACKNOWLEDGE, queues._COMPLETE, queues._FORGET),
        ],
    }
    reads = {
        *("HGET", "HLEN", "HSTRLEN", "ZRANGE", "ZRANGEBYSCORE", "EXISTS", "XPENDING", "XINFO"),
        *("TIME", "XLEN", "GET", "GETRANGE", "STRLEN", "GETBIT", "HMGET", "ZCARD", "HEXISTS"),
        *("HGETALL", "TYPE", "LRANGE", "XRANGE"),
    }
    for role, scripts in texts.items():
        rules = (*access._COMMANDS[role], *access._ON_WEIGHTS)
        known = {rule.removeprefix("+").partition("|")[0] for rule in rules}
        for script in scripts:
            used = set(re.findall(r"redis\.p?call\('(\w+)'", script.text)) - reads
            assert {command.lower() for command in used} <= known


@needs_redis
def test_the_command_makes_users_that_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESYPR_ACTOR_PASSWORD", "chosen-by-hand")
    users = tmp_path / "users"
    words = ["bank", "acl", "--run", "run", "--users", str(users)]
    printed = CliRunner().invoke(app, words)
    assert printed.exit_code == 0, printed.output
    assert users.stat().st_mode & 0o777 == 0o600
    secrets = [line.split()[2] for line in users.read_text().splitlines()[1:]]
    assert "chosen-by-hand" in secrets
    assert not any(secret in printed.output for secret in secrets)
    lines = [line for line in printed.output.splitlines() if line.startswith("user ")]
    assert [line.split()[1] for line in lines] == [f"nesypr-{role}" for role in ROLES]

    acl_file = tmp_path / "server.acl"  # what is printed is what an ACL file holds
    acl_file.write_text("\n".join((*lines, "")))
    with running(tmp_path, {"aclfile": str(acl_file)}) as server:
        connect(SharedMemoryConfig(), f"{server.url}?users={users}", "actor").close()
        again = CliRunner().invoke(app, [*words[:2], server.url, "--apply", *words[2:], "--json"])
        assert again.exit_code == 0, again.output
        found = json.loads(again.stdout)
        assert (found["servers"], found["saved"], found["passwords"]) == (1, True, {})
        monitor = connect(SharedMemoryConfig(), f"{server.url}?users={users}", "monitor")
        with pytest.raises(SharedMemoryError, match="does not permit"):
            call(monitor, "SET", RunKeys("run").weights, "x")
        monitor.close()


def test_passwords_are_printed_once_where_no_file_is_named() -> None:
    first, second = (CliRunner().invoke(app, ["bank", "acl", "--json"]) for _ in range(2))
    shown = json.loads(first.stdout)["passwords"]
    assert set(shown) == set(ROLES)
    assert shown != json.loads(second.stdout)["passwords"]
    for words in (["--apply"], ["redis://host"]):
        refused = CliRunner().invoke(app, ["bank", "acl", *words])
        assert "go together" in str(refused.exception)
