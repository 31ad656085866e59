"""`nesypr doctor --address`: hosts compared, and a real cluster asked."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ray_hosts import ray_hosts

from cluster import ray_token
from cluster.doctor import host_facts
from cluster.doctor.check import Check
from cluster.doctor.cluster_checks import Host, compare
from shared_memory.server import EmbeddedServer

HOUSE = Path(__file__).resolve().parents[2]
HERE = Host(
    "10.0.0.1", "one", "3.11.9", {"ray": "2.60.0", "redis": "8.1.0"}, 16000, (8000, 8000), "c"
)
TWO = replace(HERE, address="10.0.0.2", name="two", server="")


def of(name: str, *hosts: Host, silent: tuple[str, ...] = ()) -> Check:
    (found,) = [each for each in compare(HERE, hosts, silent, "/house") if each.name.endswith(name)]
    return found


def test_hosts_that_are_alike_are_well() -> None:
    found = compare(HERE, [HERE, TWO], (), "/house")
    assert {check.state for check in found} == {"ok"}
    assert len(found) == 8


@pytest.mark.parametrize(
    ("name", "host", "state", "words"),
    [
        ("versions", replace(TWO, python="3.12.1"), "broken", "10.0.0.2 (two) has python 3.12.1"),
        ("versions", replace(TWO, versions={"ray": "2.59.0"}), "broken", "ray 2.59.0, redis none"),
        ("program", replace(TWO, code=""), "broken", "not at /house on 10.0.0.2 (two)"),
        ("program", replace(TWO, code="d"), "broken", "another version on 10.0.0.2 (two)"),
        ("clocks", replace(TWO, clock_s=75.0, clock_error_s=0.1), "warning", "is 75.0 s ahead"),
        ("clocks", replace(TWO, clock_s=-3.0), "warning", "is 3.0 s behind"),
        ("clocks", replace(TWO, clock_s=3.0, clock_error_s=2.5), "ok", "at most 5.50 s apart"),
        ("memory", replace(TWO, memory_mb=1000), "broken", "10.0.0.2 (two): 1.0 GiB available"),
        ("/dev/shm", replace(TWO, shared_mb=(64, 60)), "warning", "two): 60 MiB free of 64"),
        ("/dev/shm", replace(TWO, shared_mb=None), "warning", "two): there is none"),
        ("ports", replace(TWO, unreachable=(("10.0.0.1", 99),)), "broken", "reach 10.0.0.1:99"),
        ("server", replace(TWO, server="no server answers"), "broken", "two): no server answers"),
    ],
)
def test_what_is_wrong_on_a_host_is_told_with_a_remedy(
    name: str, host: Host, state: str, words: str
) -> None:
    found = of(name, HERE, host)
    assert (found.state, bool(found.remedy)) == (state, state != "ok")
    assert words in found.found


def test_silent_hosts_and_many_hosts() -> None:
    silent = of("hosts", HERE, silent=("10.0.0.9",))
    assert (silent.state, silent.found) == ("broken", "no answer from 10.0.0.9")
    many = [replace(TWO, name=f"host-{number}") for number in range(30)]
    assert of("hosts", *many).found.endswith("and 22 more")
    assert [check.name for check in compare(HERE, [HERE], (), "/house")][-1] == "cluster: ports"


def test_facts_of_this_host(tmp_path: Path) -> None:
    facts = host_facts.host_facts(["ray", "no-such-thing"], str(HOUSE))
    assert facts["versions"]["no-such-thing"] == "none"
    assert len(facts["code"]) == 16
    assert json.loads(json.dumps(facts))["python"].startswith("3.")
    assert host_facts.code_digest(str(tmp_path)) == ""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.py").write_text("1")
    before = host_facts.code_digest(str(tmp_path))
    (tmp_path / "model" / "a.py").write_text("2")
    assert host_facts.code_digest(str(tmp_path)) != before
    assert host_facts.unreachable([("127.0.0.1", 1)], 1.0) == [("127.0.0.1", 1)]
    trouble = host_facts.server_trouble("{}", "redis://me:sesame@127.0.0.1:1", str(HOUSE))
    assert "no server answers" in trouble
    assert "sesame" not in trouble


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_host_of_a_cluster_is_asked(tmp_path: Path) -> None:
    """A head and a worker, each a `ray start` with Ray's token, and a server that both reach."""
    ray_token.ensure_token_file({"HOME": str(tmp_path)})
    program = (
        "import json, os, sys\n"
        "from cluster.doctor.cluster_hosts import check_hosts\n"
        "found = check_hosts(sys.argv[1], sys.argv[2], os.environ)\n"
        "print('found', json.dumps([check.as_dict() for check in found]))\n"
    )
    small = mount_small() if os.geteuid() == 0 else ()
    with ray_hosts(tmp_path) as hosts, EmbeddedServer(tmp_path / "server", "no") as server:
        address = hosts.head("token")
        hosts.worker("token", address, host="127.0.0.2", before=small)
        code, said = hosts.run(sys.executable, "-c", program, address, server.url)
        assert code == 0, said
        (line,) = [line for line in said.splitlines() if line.startswith("found ")]
        found = {check["name"]: check for check in json.loads(line.removeprefix("found "))}
        for name in ("hosts", "versions", "program", "clocks", "ports", "server"):
            assert found[f"cluster: {name}"]["state"] == "ok", found
        assert "2 answer" in found["cluster: hosts"]["found"]
        if small:
            shared = found["cluster: /dev/shm"]
            assert shared["state"] == "warning"
            assert shared["found"].startswith("127.0.0.2"), shared
            assert "of 64" in shared["found"]
        code, said = hosts.run(sys.executable, "-c", program, "127.0.0.1:1", server.url)
        assert "nothing answers at 127.0.0.1:1: check that `ray start --head` runs" in said


def mount_small() -> tuple[str, ...]:
    """What comes before a command so that its /dev/shm is that of a container."""
    words = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", words, "sh")
