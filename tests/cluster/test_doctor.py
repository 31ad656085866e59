from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.doctor import machine, packages, surroundings
from cluster.doctor.check import Check, guarded
from tasks.alfworld.domain import make_domain


def test_the_lock_pins_every_requirement_once_and_names_no_index() -> None:
    lines = packages.lock_file().read_text().splitlines()
    names = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert all(line.count("==") == 1 and " " not in line and "/" not in line for line in lines)
    assert len(names) == len(set(names))
    needed = {name.lower().replace("_", "-") for name in packages.needed_by_nesypr()}
    assert needed <= set(names)


def test_versions_that_differ_or_are_absent(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.1\nno-such-thing==1\n")
    check = packages.check_packages(lock)
    assert check.state == "warning"
    assert "instead of 0.1" in check.found
    assert packages.check_packages(tmp_path / "none").state == "warning"


def test_little_memory_is_broken() -> None:
    assert machine.check_memory(1000).state == "broken"
    assert machine.check_memory(4000).state == "warning"
    assert machine.check_memory(16000).state == "ok"
    assert machine.check_memory(None).state == "warning"


def test_a_runs_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = machine.check_runs_folder(tmp_path / "file" / "runs")
    assert check.state == "broken"
    assert "--set folder" in check.remedy
    assert machine.check_runs_folder(tmp_path / "runs").state == "ok"


def test_wrong_environment_and_alfworld(tmp_path: Path) -> None:
    assert surroundings.check_environment({"NESYPR__SEED": "x"}).state == "broken"
    assert surroundings.check_environment({}).state == "ok"
    assert surroundings.check_alfworld(str(tmp_path / "none")).state == "broken"
    assert surroundings.check_alfworld(None).state == surroundings.check_alfworld("").state == "ok"


def test_alfworlds_games_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "holds no json_2.1.1" in surroundings.check_alfworld(str(tmp_path)).found
    text = make_domain().draw({}, 0).problem
    for split, state in (("valid_seen", "warning"), ("train", "ok")):
        trial = tmp_path / f"json_2.1.1/{split}/pick_and_place_simple-Mug-None-Desk-301/trial_T1"
        trial.mkdir(parents=True)
        (trial / "game.tw-pddl").write_text(text)
        assert surroundings.check_alfworld(str(tmp_path)).state == state
    assert "train 1, valid_seen 1" in surroundings.check_alfworld(str(tmp_path)).found
    shutil.rmtree(tmp_path / "json_2.1.1/valid_seen")
    assert surroundings.check_alfworld(str(tmp_path)).state == "warning"
    (trial / "game.tw-pddl").write_text(text[:5000])
    check = surroundings.check_alfworld(str(tmp_path))
    assert (check.state, "not JSON" in check.found) == ("broken", True)


def test_what_a_check_raises_is_a_finding() -> None:
    def broken() -> Check:
        raise ImportError("no module\nof that name")

    check = guarded("ray", broken)
    assert check.state == "broken"
    assert check.found == "ImportError: no module of that name"
    assert check.remedy


def test_little_or_no_shared_memory() -> None:
    assert machine.check_shared_memory((8000, 7000)).state == "ok"
    container = machine.check_shared_memory((64, 64))
    assert (container.state, "--shm-size" in container.remedy) == ("warning", True)
    assert machine.check_shared_memory((8000, 10)).state == "warning"
    none = machine.check_shared_memory(None)
    assert (none.state, "mount -t tmpfs" in none.remedy) == ("warning", True)


def test_rays_token_is_looked_for(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert surroundings.check_token(home).state == "ok"
    missing = surroundings.check_token({**home, "RAY_AUTH_MODE": "token"})
    assert (missing.state, "ray get-auth-token --generate" in missing.remedy) == ("broken", True)
    assert surroundings.check_token({**home, "RAY_AUTH_MODE": "disabled"}).state == "warning"
    (tmp_path / ".ray").mkdir()
    file = tmp_path / ".ray" / "auth_token"
    file.write_text("sesame")
    file.chmod(0o644)
    shown = surroundings.check_token(home)
    assert (shown.state, shown.remedy.startswith("chmod 600")) == ("warning", True)
    file.chmod(0o600)
    assert surroundings.check_token(home) == Check("ray's token", "ok", f"in {file}")
