"""`nesypr up` and `nesypr down`, with programs in the place of ssh, rsync, `ray` and kubectl.

They write down how they were called. What Ray's launcher does itself needs hosts.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from test_launch_files import CLUSTERS, HOUSE, filled

from cluster.launch import commands
from cluster.launch.cluster_file import ClusterFileError
from cluster.launch.commands import LaunchError, Wishes
from cluster.main import app

NAMES = ("ssh", "rsync", "kubectl", "ray")
STAND_IN = """#!{python}
import json, os, sys
line = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
mode = os.environ.get("RAY_AUTH_MODE")
open({log!r}, "a").write(json.dumps([line, mode]) + "\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the programs, first on the path, in a home without a token; their log."""
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(STAND_IN.format(python=sys.executable, log=str(log)))
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(commands, "_ray", lambda: str(folder / "ray"))
    monkeypatch.chdir(HOUSE)
    return log


def called(log: Path) -> list[tuple[list[str], str | None]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line, mode) for line, mode in map(json.loads, lines)]


def test_up_makes_the_token_and_calls_rays_launcher(programs: Path, tmp_path: Path) -> None:
    file = filled(CLUSTERS / "on-premise.yaml", tmp_path)
    said: list[str] = []
    commands.up(file, Wishes(yes=True), said.append)
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert called(programs) == [
        (["ray", "up", str(file), "--disable-usage-stats", "--yes"], "token"),
    ]
    assert said[0] == f"Ray's token was made in {token}: who has it can run code there"
    assert any("in ~/nesypr:  nesypr doctor --address 10.0.0.1:6379" in line for line in said)
    assert token.read_text() not in "".join(said)
    commands.up(file, Wishes(), said.append)
    assert called(programs)[1][0][1:] == ["up", str(file), "--disable-usage-stats"]
    assert f"Ray's token is in {token}" in "".join(said)
    commands.down(file, Wishes(yes=True), lambda question: False, said.append)
    assert called(programs)[2] == (["ray", "down", str(file), "--yes"], "token")


def test_only_looking_starts_nothing(programs: Path, tmp_path: Path) -> None:
    file, said = filled(CLUSTERS / "aws.yaml", tmp_path), list[str]()
    commands.up(file, Wishes(check_only=True), said.append)
    assert said == [f"{file} is fine"]
    assert called(programs) == []
    assert not (tmp_path / ".ray").exists()


def test_a_wrong_file_starts_nothing(programs: Path) -> None:
    with pytest.raises(ClusterFileError, match=r"HEAD is a placeholder; write .* \(and 2 more\)"):
        commands.up(CLUSTERS / "on-premise.yaml", Wishes(yes=True), lambda line: None)
    assert called(programs) == []


def test_what_is_missing_or_fails_is_told(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = filled(CLUSTERS / "on-premise.yaml", tmp_path)
    monkeypatch.setenv("CODE", "3")
    with pytest.raises(LaunchError, match=r"ray up ended with code 3: what it said is above"):
        commands.up(file, Wishes(), lambda line: None)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    with pytest.raises(ClusterFileError, match=r"but Ray's token here is .*other: name that one"):
        commands.up(file, Wishes(), lambda line: None)
    (tmp_path / "bin" / "rsync").unlink()
    with pytest.raises(LaunchError, match="rsync is not installed on this machine"):
        commands.up(file, Wishes(), lambda line: None)


def test_manifests_go_to_kubectl(programs: Path, tmp_path: Path) -> None:
    file, said = filled(CLUSTERS / "kubernetes" / "raycluster.yaml", tmp_path), list[str]()
    commands.up(file, Wishes(), said.append)
    assert called(programs)[-1][0] == ["kubectl", "apply", "-f", str(file)]
    asked: list[str] = []
    servers = CLUSTERS / "kubernetes" / "servers.yaml"

    def confirm(question: str) -> bool:
        asked.append(question)
        return False

    commands.down(servers, Wishes(), confirm, said.append)
    assert "PersistentVolumeClaim nesypr-runs" in asked[0]
    assert asked[0].endswith(" with all that is on it?")
    assert (said[-1], len(called(programs))) == ("nothing was done", 1)
    commands.down(file, Wishes(yes=True), confirm, said.append)
    assert called(programs)[-1][0] == ["kubectl", "delete", "-f", str(file)]


def test_the_commands_of_the_program(programs: Path, tmp_path: Path) -> None:
    group = typer.main.get_command(app)
    file = filled(CLUSTERS / "gcp.yaml", tmp_path)
    assert group.main(["up", str(file), "--check"], standalone_mode=False) is None
    assert group.main(["up", str(file), "-y"], standalone_mode=False) is None
    assert group.main(["down", str(file), "-y"], standalone_mode=False) is None
    assert [line[1] for line, _ in called(programs)] == ["up", "down"]


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("name: mine\n")
    result = subprocess.run(
        [sys.executable, "-m", "cluster.main", "up", str(tmp_path / "run.yaml")],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"nesypr: {tmp_path / 'run.yaml'} is no cluster's file: ")
    assert result.stderr.count("\n") == 1
