"""`nesypr scale` and `nesypr drain`, with a thread in the driver's place on a real server."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import checkpoint
from cluster import main as command_line
from cluster.checkpoint import DriverState
from cluster.run_folder import RunFolder
from cluster.settings import load_settings
from configs.schema import SharedMemoryConfig
from shared_memory.connection import connect
from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWishes, HostState
from shared_memory.server import EmbeddedServer

RUN = "scaled-0a1b2c3d"
EAST = HostState("aa11" * 14, "east", "10.0.0.2", "", False, 2, 4)
WEST = HostState("bb22" * 14, "west", "10.0.0.3", "west-1", False, 0, 4)
STATE = FleetState(FleetSize(2), 2, 0, 0, 0, "", (EAST, WEST))
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "server"
    folder.mkdir()
    with EmbeddedServer(folder) as started:
        yield started.url


@pytest.fixture
def wishes(server: str) -> Iterator[FleetWishes]:
    client = connect(SharedMemoryConfig(), server)
    yield FleetWishes(client, RUN)
    client.close()


@pytest.fixture
def nesypr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs a command in this process; exit code, output, complaints."""
    monkeypatch.setenv("NESYPR__FOLDER", str(tmp_path / "runs"))
    monkeypatch.setattr("cluster.scale_commands.ANSWER_DEADLINE_S", 1.0)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nesypr", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def driver(server: str, wishes: FleetWishes) -> Iterator[None]:
    """Takes in whatever number is asked for."""
    wishes.tell(STATE)
    over = threading.Event()

    def take() -> None:
        client = connect(SharedMemoryConfig(), server)
        mine = FleetWishes(client, RUN)
        while not over.wait(0.05):
            wish = mine.read()
            size = wish.size or FleetSize(2)
            hosts = tuple(replace(host, leaving=host.node in wish.leaving) for host in STATE.hosts)
            state = FleetState(size, 2, max(0, size.number - 2), 0, 1, "", hosts)
            mine.tell(state)
        client.close()

    thread = threading.Thread(target=take)
    thread.start()
    yield
    over.set()
    thread.join()


def test_the_number_before_and_now_in_a_sentence(
    server: str, driver: None, nesypr: Command
) -> None:
    code, said, _ = nesypr("scale", server, "--run", RUN, "--actors", "4")
    assert code == 0
    assert said == (
        f"{RUN}: 2 actors before, 4 actors now: 2 up, 2 starting, 1 wait for room on a host "
        "(2 on east)\n"
    )
    code, said, _ = nesypr("scale", server, "--run", RUN, "--per-host", "1", "--json")
    told = json.loads(said)
    assert (told["before"]["size"]["number"], told["now"]["size"]["each_host"]) == (4, True)


def test_hosts_are_listed_drained_and_taken_back(
    server: str, driver: None, wishes: FleetWishes, nesypr: Command
) -> None:
    code, said, _ = nesypr("drain", server, "--run", RUN)
    assert code == 0
    assert said.splitlines() == [
        f"{RUN}: east (10.0.0.2, aa11aa11): 2 of 4 actors",
        f"{RUN}: west (10.0.0.3, bb22bb22): 0 of 4 actors",
    ]
    code, said, _ = nesypr("drain", server, "east", "--run", RUN)
    assert code == 0
    assert "east (10.0.0.2, aa11aa11) is left by its 2 actors" in said
    assert wishes.read().leaving == {EAST.node}
    code, _, complaint = nesypr("drain", server, "north", "--run", RUN)
    assert code != 0
    assert "there is no host 'north' in the run's cluster: there is east (10.0.0.2, aa" in complaint
    nesypr("drain", server, "aa11aa", "--run", RUN, "--undo")
    assert wishes.read().leaving == set()


def test_the_last_host_is_not_drained(server: str, wishes: FleetWishes, nesypr: Command) -> None:
    wishes.tell(replace(STATE, hosts=(EAST, replace(WEST, leaving=True))))
    code, _, complaint = nesypr("drain", server, "10.0.0.2", "--run", RUN)
    assert code != 0
    assert "east is the last host that actors can be on" in complaint
    assert wishes.read().leaving == set()


def test_a_driver_that_does_not_answer_is_told_of(
    server: str, wishes: FleetWishes, nesypr: Command
) -> None:
    code, _, complaint = nesypr("scale", server, "--run", RUN, "--actors", "4")
    assert code != 0
    assert f"{RUN} has no actors yet" in complaint
    wishes.tell(STATE)
    code, _, complaint = nesypr("scale", server, "--run", RUN, "--actors", "4")
    assert code != 0
    assert "its driver did not take that in within 1 s: it will when it goes on" in complaint
    assert wishes.read().size == FleetSize(4)  # and holds after a resume


@pytest.mark.parametrize("outcome", ["finished", "stopped"])
def test_a_run_that_is_over_has_no_actors_to_change(
    server: str, wishes: FleetWishes, nesypr: Command, outcome: str
) -> None:
    wishes.tell(replace(STATE, outcome=outcome))
    code, _, complaint = nesypr("scale", server, "--run", RUN, "--actors", "4")
    assert code != 0
    assert f"{RUN} is not going on ({outcome}), so it has no actors to change" in complaint
    assert ("nesypr resume" in complaint) == (outcome == "stopped")
    assert wishes.read().size is None


def test_numbers_are_checked(server: str, nesypr: Command, tmp_path: Path) -> None:
    code, _, complaint = nesypr("scale", server, "--run", RUN)
    assert code != 0
    assert "how many? write --actors N (in all) or --per-host N" in complaint
    code, _, complaint = nesypr("scale", server, "--run", RUN, "--actors", "0")
    assert code != 0
    assert "greater than or equal to 1" in complaint


def test_by_the_name_of_a_run_here(
    server: str, driver: None, nesypr: Command, tmp_path: Path
) -> None:
    def make(name: str, **changed: object) -> None:
        config = load_settings("smoke", [f"shared_memory.url={server}"]).config
        with RunFolder.create(tmp_path / "runs", name, numbered=False) as folder:
            folder.write_config(config.model_copy(update={"name": name, **changed}))
            checkpoint.write(folder, DriverState(run=RUN))

    make("scaled")
    code, said, complaint = nesypr("scale", "scaled", "--actors", "64")
    assert code == 0, complaint
    assert "2 actors before, 64 actors now" in said
    assert "of them can act at once" in said
    make("ordered", reproducible=True)
    code, _, complaint = nesypr("scale", "ordered", "--actors", "2")
    assert code != 0
    assert "the run is reproducible, which it is with one actor only" in complaint
    config = load_settings("smoke").config
    with RunFolder.create(tmp_path / "runs", "embedded", numbered=False) as folder:
        folder.write_config(config.model_copy(update={"name": "embedded"}))
    code, _, complaint = nesypr("scale", "embedded", "--actors", "2")
    assert code != 0
    assert "embedded is not going on (unfinished)" in complaint
