"""`nesypr bank` on a finished run, on a running one, and on what is none of these."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster import checkpoint
from cluster import main as command_line
from cluster.checkpoint import DriverState
from cluster.run_folder import RunFolder
from cluster.settings import load_settings
from configs.schema import (
    BankConfig,
    BookConfig,
    MemoryConfig,
    ModelConfig,
    SharedMemoryConfig,
)
from model.procedure_lm import ProcedureLM
from model.saving import to_bytes
from model.tokenizer import SPECIALS
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.records import Decision, Episode
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nesypr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs a command in this process; exit code, output, complaints."""
    monkeypatch.setenv("NESYPR__FOLDER", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nesypr", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def episode(number: int) -> Episode:
    random = np.random.default_rng(number)
    decision = Decision(
        number=0,
        codes=random.integers(0, 9, 4).astype(np.uint16),
        action="pick block1",
        accepted=True,
        prompt_tokens=tuple(range(10)),
    )
    return Episode(
        episode=number,
        task_index=number,
        task_digest=f"{number:032x}",
        domain="blocks",
        phase=0,
        book_version=3,
        success=number % 2 == 0,
        conditions_met=1,
        conditions=1,
        steps=1,
        decisions=(decision,),
        actor="actor-0",
        seconds=0.1,
        hits_success=0,
        hits_failure=0,
    )


def make_run(root: Path, name: str, episodes: int) -> RunFolder:
    """A run that ended, with banks on the embedded server's files."""
    with RunFolder.create(root / "runs", name, numbered=False) as folder:
        folder.write_config(load_settings("smoke").config.model_copy(update={"name": name}))
        checkpoint.write(folder, DriverState(run=f"{name}-1"))
    with EmbeddedServer(folder.shared_memory) as server:
        client = connect(SharedMemoryConfig(), server.url)
        Bank(client, f"{name}-1", BankConfig()).push([episode(n) for n in range(episodes)])
        client.close()
    return folder


def test_a_finished_run(nesypr: Command, tmp_path: Path) -> None:
    make_run(tmp_path, "mine", 10)
    code, out, _ = nesypr("bank", "stats", "mine", "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    assert sum(bank["entries"] for bank in found["banks"]) == 10
    assert found["domains"][0]["finished"] == 10
    code, out, _ = nesypr("bank", "stats", "mine")
    assert code == 0
    assert "M+" in out
    assert "mine-1" in out
    code, out, _ = nesypr("bank", "verify", "mine")
    assert (code, "10 entries read, all agrees" in out) == (0, True)
    code, out, _ = nesypr("bank", "show", "mine", "--most", "1")
    assert "blocks M+ 1 times, last at version 3: 'pick block1' ×1" in out
    code, out, _ = nesypr("bank", "show", "mine", "--json")
    assert len(json.loads(out)["procedures"]) == 10

    kept = tmp_path / "kept.bank"
    code, out, _ = nesypr("bank", "export", "mine", "--out", str(kept), "--json")
    assert json.loads(out)["entries"] == 10
    make_run(tmp_path, "other", 0)
    code, out, _ = nesypr("bank", "import", str(kept), "other", "--json")
    assert json.loads(out)["added"] == 10
    code, out, _ = nesypr("bank", "verify", "other", "--json")
    verified = {"run": "other-1", "entries": 10, "ok": True, "problems": [], "generations": None}
    assert json.loads(out) == verified


def test_a_running_run_and_a_url(nesypr: Command, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine", 6)
    with RunFolder.hold(folder.path), EmbeddedServer(folder.shared_memory) as server:
        assert "not up yet" in nesypr("bank", "verify", "mine")[2]
        folder.server_address.write_text(server.url, encoding="utf-8")
        assert "6 entries read" in nesypr("bank", "verify", "mine")[1]
        assert "6 entries read" in nesypr("bank", "verify", server.url)[1]
        client = connect(SharedMemoryConfig(), server.url)
        Bank(client, "odd {name}", BankConfig()).push([episode(1)])
        assert (
            "several runs: choose one with --run: mine-1, odd {name}"
            in (nesypr("bank", "verify", server.url)[2])
        )
        assert "1 entries read" in nesypr("bank", "verify", server.url, "--run", "odd {name}")[1]
        call(client, "HINCRBY", "nesypr:{mine-1/blocks}:counters", "finished", 1)
        client.close()
        code, out, _ = nesypr("bank", "verify", "mine")
        assert code == 1
        assert "7 episodes counted" in out


def test_a_file_of_another_run_and_of_an_earlier_day(nesypr: Command, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.bank")
    with EmbeddedServer(tmp_path / "server") as server:
        client = connect(SharedMemoryConfig(), server.url)
        mine, other = (Bank(client, name, BankConfig()) for name in ("mine-1", "other-1"))
        mine.push([episode(number) for number in range(6)])
        nesypr("bank", "export", server.url, "--out", kept)
        PublishedWeights(client, "mine-1").publish(3, b"the book that made the codes")
        PublishedWeights(client, "other-1").publish(2, b"a book of its own")

        into_other = ("bank", "import", kept, server.url, "--run", "other-1")
        code, _, complaint = nesypr(*into_other)
        assert (code != 0, complaint.count("\n")) == (True, 1)
        assert "of run mine-1" in complaint
        assert "with --any-book" in complaint
        assert other.domains() == ()
        assert "6 entries added, 0 were there" in nesypr(*into_other, "--any-book")[1]
        versions = {each.last_version for _, each in other.entries("blocks", "success")}
        assert versions == {1}

        into_mine = ("bank", "import", kept, server.url, "--run", "mine-1")
        assert "0 entries added, 6 were there" in nesypr(*into_mine, "--restore")[1]
        assert mine.statistics().total("success").submitted == 3
        assert {each.times for _, each in mine.entries("blocks", "success")} == {1}
        assert "0 entries added, 6 were there" in nesypr(*into_mine)[1]
        assert {each.times for _, each in mine.entries("blocks", "success")} == {2}
        assert mine.retire(4) == 6
        said = nesypr(*into_mine)[1]
        assert "0 entries added" in said
        assert "6 had been taken in from this file before" in said
        assert "6 entries added" in nesypr(*into_mine, "--restore")[1]
        assert mine.verify().problems == ()
        client.close()


def test_banks_at_a_url_keep_to_what_they_were_begun_with(nesypr: Command, tmp_path: Path) -> None:
    with (
        EmbeddedServer(tmp_path / "server") as server,
        closing(connect(SharedMemoryConfig(), server.url)) as client,
    ):
        tentative = BankConfig(solid_after=3, retirement="least_used")
        Bank(client, "run", tentative).push([episode(0)])
        other = replace(episode(1), domain="hanoi")
        Bank(client, "run", BankConfig(retirement="reservoir")).push([other])
        kept = str(tmp_path / "kept.bank")
        assert nesypr("bank", "export", server.url, "--out", kept)[0] == 0
        code, out, complaint = nesypr("bank", "import", kept, server.url, "--json")
        assert (code, complaint) == (0, "")
        assert json.loads(out)["merged"] == 2

        call(client, "HSET", "nesypr:{run/hanoi}:counters", "retirement", "nonsense")
        for command in ("stats", "show", "verify"):
            code, _, complaint = nesypr("bank", command, server.url)
            assert (code, complaint.count("\n")) == (3, 1)
            assert "the policy of the bank of 'hanoi' is damaged on the server" in complaint


def test_verify_compares_with_the_published_book(nesypr: Command, tmp_path: Path) -> None:
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=64,
        max_tokens=160,
        memory=MemoryConfig(slots=2, width=32, layer=1, heads=2),
        book=BookConfig(codes=16, width=16),
    )
    model = ProcedureLM(config, SPECIALS)
    model.book.born.copy_(torch.arange(16))
    with (
        EmbeddedServer(tmp_path / "server") as server,
        closing(connect(SharedMemoryConfig(), server.url)) as client,
    ):
        Bank(client, "run", BankConfig()).push([episode(0)])  # seen with version 3
        assert "no book is published" in nesypr("bank", "verify", server.url)[1]
        weights = PublishedWeights(client, "run")
        weights.publish(2, to_bytes(model, 2))
        code, out, _ = nesypr("bank", "verify", server.url)
        assert code == 1
        assert "1 entries were last seen with a version that is not published" in out
        weights.publish(20, to_bytes(model, 20))
        code, out, _ = nesypr("bank", "verify", server.url, "--json")
        assert code == 0
        assert json.loads(out)["generations"] == {"outdated": 1, "beyond": 0, "ahead": 0}
        weights.publish(21, b"junk")
        code, out, _ = nesypr("bank", "verify", server.url)
        assert code == 1
        assert "could not be compared with the published book" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stats", "nowhere"], "there is no run in"),
        (["verify", "unix:///nowhere.sock"], "no server answers"),
        (["verify", "ftp://there"], "is not understood"),
        (["verify", "mine", "--run", "x"], "--run chooses among the runs of a server"),
        (["show", "mine", "--domain", "ferry"], "has no bank of 'ferry': there is blocks"),
        (["export", "mine"], "Missing option '--out'"),
        (["export", "mine", "--out", "/nowhere/x"], "cannot be written"),
        (["import", "/nowhere/x", "mine"], "cannot be read"),
        (["import", "/etc/hostname", "mine"], "no bank's file"),
        (["stats", "bare"], "never had banks"),
    ],
)
def test_bad_input_is_one_sentence(
    nesypr: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    if "--domain" in arguments:
        make_run(tmp_path, "mine", 1)
    with RunFolder.create(tmp_path / "runs", "bare", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
        checkpoint.write(folder, DriverState(run="bare-1"))
    if not (tmp_path / "runs" / "mine").exists() and "/nowhere/x" in arguments:
        make_run(tmp_path, "mine", 0)
    code, _, complaint = nesypr("bank", *arguments)
    assert code != 0
    assert complaint.count("\n") == 1
    assert words in complaint
