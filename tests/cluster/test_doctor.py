from __future__ import annotations

from pathlib import Path

from cluster import doctor
from cluster.doctor import Check


def test_the_lock_pins_every_requirement_once_and_names_no_index() -> None:
    lines = doctor.lock_file().read_text().splitlines()
    names = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert all(line.count("==") == 1 and " " not in line and "/" not in line for line in lines)
    assert len(names) == len(set(names))
    needed = {name.lower().replace("_", "-") for name in doctor._needed_by_nesypr()}
    assert needed <= set(names)


def test_versions_that_differ_or_are_absent(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.1\nno-such-thing==1\n")
    check = doctor.check_packages(lock)
    assert check.state == "warning"
    assert "instead of 0.1" in check.found
    assert doctor.check_packages(tmp_path / "none").state == "warning"


def test_little_memory_is_broken() -> None:
    assert doctor.check_memory(1000).state == "broken"
    assert doctor.check_memory(4000).state == "warning"
    assert doctor.check_memory(16000).state == "ok"
    assert doctor.check_memory(None).state == "warning"


def test_a_runs_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = doctor.check_runs_folder(tmp_path / "file" / "runs")
    assert check.state == "broken"
    assert "--set folder" in check.remedy
    assert doctor.check_runs_folder(tmp_path / "runs").state == "ok"


def test_wrong_environment_and_alfworld(tmp_path: Path) -> None:
    assert doctor.check_environment({"NESYPR__SEED": "x"}).state == "broken"
    assert doctor.check_environment({}).state == "ok"
    assert doctor.check_alfworld(str(tmp_path / "none")).state == "broken"
    assert doctor.check_alfworld(str(tmp_path)).state == "ok"
    assert doctor.check_alfworld(None).state == "ok"


def test_what_a_check_raises_is_a_finding() -> None:
    def broken() -> Check:
        raise ImportError("no module\nof that name")

    check = doctor._guarded("ray", broken)
    assert check.state == "broken"
    assert check.found == "ImportError: no module of that name"
    assert check.remedy
