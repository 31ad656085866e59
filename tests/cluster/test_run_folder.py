from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.run_folder import RunFolder, RunFolderError
from cluster.settings import load_settings


def test_a_taken_name_gets_the_next_number(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        with RunFolder.create(tmp_path / "runs", "quickstart", numbered=True) as folder:
            names.append(folder.name)
    assert names == ["quickstart", "quickstart-2", "quickstart-3"]


def test_a_chosen_name_that_is_taken_says_how_to_proceed(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
    with pytest.raises(RunFolderError, match=r"nesypr resume mine.*--set name=NAME"):
        RunFolder.create(tmp_path, "mine", numbered=False)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunFolderError, match="is not a run"):
        RunFolder.create(tmp_path, "mine", numbered=False)


def test_only_one_holds_a_folder_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
    code = (
        "import sys, time; from pathlib import Path; from cluster.run_folder import RunFolder\n"
        f"held = RunFolder.hold(Path({str(tmp_path / 'mine')!r})); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert folder.state() == "running"
        with pytest.raises(RunFolderError, match=f"in use by process {holder.pid}"):
            RunFolder.hold(tmp_path / "mine")
    finally:
        holder.kill()
        holder.wait(10)
        holder.stdout.close()  # type: ignore[union-attr]
    with RunFolder.hold(tmp_path / "mine") as again:
        assert again.held
    assert folder.state() == "unfinished"


def test_a_lock_of_another_host_says_what_to_do_if_that_is_dead(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
        (folder.path / "lock").write_text('{"process": 7, "host": "elsewhere", "since": 1.0}')
        with pytest.raises(
            RunFolderError, match=r"process 7 on elsewhere.*where elsewhere is dead.*remove /.*lock"
        ):
            RunFolder.hold(tmp_path / "mine")
    with RunFolder.hold(tmp_path / "mine") as again:
        assert again.last_host == "elsewhere"
        words = again.moved_words(load_settings("smoke").config)
        assert words is not None
        assert "on elsewhere before: its embedded server" in words
        own_server = ["shared_memory.url=redis://there:6379/0"]
        assert again.moved_words(load_settings("smoke", own_server).config) is None
    with RunFolder.hold(tmp_path / "mine") as again:
        assert again.last_host == socket.gethostname()


def test_state_is_what_the_summary_says(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write(folder.summary_file, json.dumps({"outcome": "stopped"}))
        assert folder.state() == "running"
    assert folder.state() == "stopped"
    folder.write(folder.summary_file, "{")
    with pytest.raises(RunFolderError, match=r"summary\.json cannot be read"):
        folder.state()


def test_an_absent_run_names_those_that_are_there(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(load_settings("smoke").config)
    with pytest.raises(RunFolderError, match="runs there: mine"):
        RunFolder.look(tmp_path / "other")


def test_the_resolved_configuration_reads_back(tmp_path: Path) -> None:
    config = load_settings("quickstart", ["seed=7"]).config
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(config)
    assert yaml.safe_load(folder.config_file.read_text())["seed"] == 7
    assert load_settings(str(folder.config_file)).config == config


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write(folder.report_file, "before")
        (folder.path / "report.html.partial").symlink_to("/dev/full")
        with pytest.raises(RunFolderError, match=r"the disk is full while writing .*report\.html"):
            folder.write(folder.report_file, "after" * 10_000)
        assert folder.report_file.read_text() == "before"
        assert not (folder.path / "report.html.partial").exists()


def test_a_root_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        RunFolder.create(tmp_path / "file" / "runs", "mine", numbered=True)
