"""Every wrong input is one sentence on stderr, a non-zero exit code and no traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from fake_events import fake_run

import cluster
from cluster import main as command_line
from cluster.observer import Observers
from cluster.run_folder import RunFolder
from cluster.settings import load_settings
from configs.schema import RunConfig

HOUSE = Path(__file__).parents[2]


def nesypr(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HOUSE), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode not in (0, -6, -11)
    assert "Traceback" not in result.stderr + result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "quikstart"], "did you mean 'quickstart'?"),
        (["run", "smoke", "--set", "acting.actor=2"], "unknown key 'acting.actor'; did you mean"),
        (["run", "smoke", "--set", "seed=many"], "seed = 'many' is not possible"),
        (["run", "smoke", "--set", "seed=-1"], "greater than or equal to 0"),
        (
            ["run", "smoke", "--set", "stream.phases.0.domains.0.name=bloks"],
            "there is no domain 'bloks': did you mean 'blocks'?",
        ),
        (
            ["run", "smoke", "--set", "stream.phases.0.domains.0.size={towers: [1, 2]}"],
            "has no size 'towers'",
        ),
        (
            [
                *(
                    "run",
                    "smoke",
                    "--set",
                    "stream.phases.0.domains=[{name: river, source: files}]",
                ),
                *("--set", "stream.probe_tasks=1"),
            ],
            "domain 'river'",
        ),
        (
            ["run", "smoke", "--set", "stream.probe_tasks=5000"],
            "phase",
        ),
        (["run", "smoke", "--set", "metrics_port=80"], "greater than or equal to 1024"),
        (
            ["run", "smoke", "--set", "metrics_port=9090", "--set", "address=head:6379"],
            "metrics_port = 9090 is for a Ray that is started here, but address = 'head:6379'",
        ),
        (["run"], "Missing argument 'CONFIG'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["status", "nowhere"], "there is no run in runs/nowhere"),
        (["resume", "nowhere"], "there is no run in runs/nowhere"),
        (["report", "nowhere"], "there is no run in runs/nowhere"),
        (["report"], "which run?"),
        (["bench", "actin"], "did you mean 'acting'?"),
        (["study", "memry"], "did you mean 'memory'?"),
        (["study", "policy", "--parallel", "2"], "study policy distils one model"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in sentence(nesypr(*arguments, folder=tmp_path))
    assert not (tmp_path / "runs").exists()


def test_a_pddl_file_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "mine"
    broken.mkdir()
    (broken / "domain.pddl").write_text("(define (domain mine)\n  (:predicates (on ?x ?y)\n")
    name = f"stream.phases.0.domains.0.name={broken}"
    result = nesypr("run", "smoke", "--set", name, folder=tmp_path)
    assert f"{broken / 'domain.pddl'}:" in sentence(result)


def test_a_second_run_on_the_same_folder(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs", "mine", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
        again = ["run", "smoke", "--set", "name=mine"]
        assert f"in use by process {os.getpid()}" in sentence(nesypr(*again, folder=tmp_path))
        assert "in use by process" in sentence(nesypr("resume", "mine", folder=tmp_path))
    assert "`nesypr resume mine`" in sentence(nesypr(*again, folder=tmp_path))


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = nesypr("run", "smoke", "--set", f"metrics_port={port}", folder=tmp_path)
    words = f"port {port} of metrics_port is in use by another process: choose another with"
    assert words in sentence(result)
    assert "--set metrics_port=PORT" in sentence(result)
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    assert "cannot be written: " in sentence(nesypr("run", "smoke", folder=tmp_path))


def test_the_version_comes_at_once(tmp_path: Path) -> None:
    code = "import sys; from cluster.main import app\n"
    code += "app(['--version'], standalone_mode=False)\n"
    code += "assert not {'torch', 'ray', 'transformers', 'matplotlib', 'numpy'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "nesypr 0.1.0\n"
    assert time.monotonic() - began < 5.0  # measured: 0.3 s on two idle cores


@pytest.fixture
def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`main` in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NESYPR__FOLDER", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nesypr", *arguments])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        output = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, output.out, output.err

    return call


@pytest.fixture
def fake_driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver that tells of a made-up run; `outcome` and `error` say how it ends."""
    driver = SimpleNamespace(outcome="finished", error=None, resumed=[])

    def run(config: RunConfig, folder: RunFolder, observers: Observers, resume: bool) -> None:
        driver.resumed.append(resume)
        for _, event in fake_run(config.name, driver.outcome):
            if event.event == "run_finished" and driver.error is not None:
                raise driver.error
            observers.emit(event)

    driver.run = run
    monkeypatch.setitem(sys.modules, "cluster.driver", driver)  # type: ignore[arg-type]
    monkeypatch.setattr(cluster, "driver", driver, raising=False)
    return driver


Call = Callable[..., tuple[int, str, str]]


def test_a_run_leaves_its_folder_and_says_where(in_process: Call, fake_driver: object) -> None:
    code, out, _ = in_process("run", "smoke")
    assert code == 0
    assert "held-out tasks, free decoding: CSR 70.0 % (95 % interval 60.4 % to 78.1 %" in out
    left = {path.name for path in Path("runs/smoke").iterdir()}
    assert {
        *("config.yaml", "metrics.jsonl", "summary.json", "report.html"),
        *("tensorboard", "checkpoints", "lock"),
    } <= left
    code, out, _ = in_process("report", "--schema")
    jsonschema.validate(json.loads(Path("runs/smoke/summary.json").read_text()), json.loads(out))
    code, out, _ = in_process("status", "smoke", "--json")
    found = json.loads(out)
    assert (code, found["state"], found["tasks_done"]) == (0, "finished", 120)
    code, out, _ = in_process("status", "smoke")
    assert "60 used, 5 dead" in out
    code, out, _ = in_process("report", "smoke", "--out", "page.html")
    assert Path("page.html").read_text().startswith("<!DOCTYPE html>")
    code, out, _ = in_process("report", "smoke", "--json")
    assert json.loads(out)["name"] == "smoke"


def test_make_run_can_be_repeated(in_process: Call, fake_driver: object) -> None:
    assert [in_process("run", "smoke")[0] for _ in range(2)] == [0, 0]
    assert load_settings("runs/smoke-2/config.yaml").config.name == "smoke-2"
    assert in_process("run", "smoke", "--set", "name=smoke")[0] == 1


def test_a_stopped_run_goes_on(in_process: Call, fake_driver: SimpleNamespace) -> None:
    fake_driver.outcome = "stopped"
    code, out, _ = in_process("run", "smoke")
    assert code == 130
    assert "nesypr resume smoke" in out
    fake_driver.outcome = "finished"
    assert in_process("resume", "smoke")[0] == 0
    assert fake_driver.resumed == [False, True]
    summary = json.loads(Path("runs/smoke/summary.json").read_text())
    assert (summary["starts"], summary["tasks_done"]) == (2, 120)
    code, _, err = in_process("resume", "smoke")
    assert code == 1
    assert "is finished: there is nothing to resume" in err


def test_a_run_that_breaks_off_leaves_what_there_is(
    in_process: Call, fake_driver: SimpleNamespace
) -> None:
    from configs.errors import NesyprError

    fake_driver.error = NesyprError("the server is gone")
    code, _, err = in_process("run", "smoke")
    assert (code, err) == (1, "nesypr: the server is gone\n")
    assert json.loads(Path("runs/smoke/summary.json").read_text())["outcome"] == "unfinished"
    assert in_process("status", "smoke", "--json")[0] == 0
    fake_driver.error = KeyboardInterrupt()
    assert in_process("run", "smoke")[0] == 130


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard/events", "summary.json"])
def test_a_full_disk_is_one_sentence(
    in_process: Call, fake_driver: object, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The file lies on a full disk (/dev/full fails every write with ENOSPC)."""
    create = RunFolder.create
    opened = open("/dev/full", "wb")  # noqa: SIM115 - closed below

    def create_full(root: Path, run: str, numbered: bool) -> RunFolder:
        folder = create(root, run, numbered)
        if name == "tensorboard/events":
            from tensorboardX import record_writer

            monkeypatch.setattr(record_writer, "open_file", lambda path: opened)
        else:
            target = name if name == "metrics.jsonl" else f"{name}.partial"
            (folder.path / target).symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(RunFolder, "create", create_full)
    code, out, err = in_process("run", "smoke")
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("nesypr: the disk is full while writing ")
    assert "Traceback" not in out + err
    with suppress(OSError):  # tensorboardX leaves it open where the last write failed
        opened.close()


def test_doctor_finds_a_working_machine(in_process: Call) -> None:
    code, out, _ = in_process("doctor", "--json")
    found = json.loads(out)
    broken = [check for check in found["checks"] if check["state"] == "broken"]
    assert (code, broken, found["ok"]) == (0, [], True)


def test_tasks_are_listed(in_process: Call) -> None:
    code, out, _ = in_process("tasks", "list", "--json")
    assert code == 0
    assert {"blocks", "gripper", "ferry", "hanoi"} <= {row["domain"] for row in json.loads(out)}
    assert "blocks 2-4" in in_process("tasks", "list")[1]
