"""Every command, file, option and key in README.md exists, and its commands run as written."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import readme_text as text
import typer
from readme_world import World, clean_environment

from cluster.conduct import check_stream
from cluster.main import app
from cluster.settings import load_settings
from configs.schema import RunConfig, Section

pytestmark = pytest.mark.timeout(150)

COMMANDS = text.commands()
RUNS = [words[1:] for words in COMMANDS if words[:2] == ("nesypr", "run")]
MAKES = {
    ("run",): ".venv/bin/nesypr run quickstart",
    ("run", "CONFIG=smoke"): ".venv/bin/nesypr run smoke",
    ("test",): ".venv/bin/python -m pytest -n 2 --dist loadfile",
    ("test-slow",): ".venv/bin/python -m pytest -m slow",
    ("check",): "scripts/check .venv/bin",
    ("extras",): ".venv/bin/python -m pip install -qq --no-deps -r requirements-extras.lock",
    ("bench",): ".venv/bin/nesypr bench acting",
}
TAKES_LONG = {
    ("nesypr", "run", "quickstart"),
    ("nesypr", "bench", "decode"),
    ("nesypr", "bench", "distil"),
    ("nesypr", "bench", "simulators"),
    ("nesypr", "bench", "bank"),
}
"""Minutes; the run has nothing that the run of smoke does not have but its configuration, which
`test_a_run_is_possible` looks at."""
SMALL_STUDY = (
    *("--traces", "10", "--tasks", "4", "--out", "study"),
    *("--set", "distillation.total_steps=12", "--set", "model.book.warmup_steps=5"),
    *("--set", "stream.step_limit=4"),
)
"""What makes a study short: it learns nothing, but does everything."""
SAYS = {
    ("report", "--schema"): '"$schema"',
    ("tasks", "list"): "blocks 2-4",
    ("tasks", "stream", "thousands", "--head", "20"): "5040 tasks in 12 phases of 21 domains",
    ("bench", "simulators"): "median",
    ("bench", "bank"): "faiss",
    ("bench", "acting"): "plain decisions per s",
    ("bench", "decode"): "contrast cost",
    ("bench", "distil"): "ratio atoms",
    ("doctor",): "all is well",
    ("--version",): f"nesypr {metadata.version('nesypr')}",
}
"""What the commands without a run print."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("readme"))
    yield made
    made.close()


def name_of(words: tuple[str, ...]) -> str:
    """The run's name that a `run` command leads to."""
    given = [word.removeprefix("name=") for word in words if word.startswith("name=")]
    return given[0] if given else words[1]


def on_this_machine(words: tuple[str, ...], world: World) -> tuple[str, ...]:
    """The same command with this machine's addresses in the place of HEAD and SERVER."""
    if not any("HEAD:" in word for word in words):
        return words
    words = tuple(re.sub(r"HEAD:\d+", world.ray_address, word) for word in words)
    return tuple(re.sub(r"=redis://SERVER:\S+", f"={world.server_url}", word) for word in words)


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_run_is_possible(words: tuple[str, ...]) -> None:
    """Its configuration, as the command line reads it, is valid and has tasks."""
    options = list(zip(words[2::2], words[3::2]))
    assert {option for option, _ in options} <= {"--set", "--address"}
    given = [value for option, value in options if option == "--set"]
    check_stream(load_settings(words[1], given).config)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=pytest.mark.slow if words in TAKES_LONG else ())
        for words in COMMANDS
    ],
    ids=" ".join,
)
def test_the_command_runs(words: tuple[str, ...], world: World) -> None:
    match words:
        case ("make", *target):
            check_make(tuple(target))
        case ("export", assignment):
            assert assignment == "RAY_AUTH_MODE=token"  # in the world's environment
        case ("ray", "get-auth-token", *options):
            assert world.ray_token(("get-auth-token", *options)).code == 0
        case ("ray", "start", *options):
            world.ray_start(on_this_machine(tuple(options), world))
        case ("nesypr", "run", *_):
            check_run(words[1:], world)
        case ("nesypr", "bank", command, run):
            (started,) = [words for words in RUNS if name_of(words) == run]
            check_run(started, world)
            result = world.nesypr(("bank", command, run))
            assert result.code == 0, result.output
            assert "blocks" in result.output
        case ("nesypr", "status" | "report" as command, run, *options) if run[0] != "-":
            (started,) = [words for words in RUNS if name_of(words) == run]
            check_run(started, world)
            result = world.nesypr((command, run, *options))
            assert result.code == 0, result.output
            if command == "status":
                assert "finished" in result.output
            else:
                page = Path(result.output.strip())
                assert page.name == options[options.index("--out") + 1]
                assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        case ("nesypr", "watch" | "dashboard" as command, run):
            (started,) = [words for words in RUNS if name_of(words) == run]
            check_run(started, world)
            if command == "watch":
                result = world.nesypr((command, run))
                assert result.code == 0, result.output
                assert "finished" in result.output
            else:
                assert "<title>nesypr" in world.page((command, run))
        case ("nesypr", "study", *_):
            result = world.nesypr((*words[1:], *SMALL_STUDY))
            assert result.code == 0, result.output
            assert "95 %" in result.output
        case ("nesypr", *rest):
            result = world.nesypr(tuple(rest))
            assert result.code == 0, result.output
            assert SAYS[tuple(rest)] in result.output
        case _:
            pytest.fail(f"README has a command that no test knows how to run: {' '.join(words)}")


def check_run(words: tuple[str, ...], world: World) -> None:
    result = world.nesypr(on_this_machine(words, world))
    assert result.code == 0, result.output
    assert "the accounting closes" in result.output
    assert "Traceback" not in result.output
    left = {path.name for path in (world.folder / "runs" / name_of(words)).iterdir()}
    assert {"config.yaml", "metrics.jsonl", "summary.json", "report.html"} <= left
    assert {"checkpoints", "tensorboard"} <= left


def check_make(target: tuple[str, ...]) -> None:
    result = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *target],
        cwd=text.HOUSE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].strip() == MAKES[target]


@pytest.mark.parametrize("target", MAKES, ids=" ".join)
def test_make_resolves_to_the_command(target: tuple[str, ...]) -> None:
    check_make(target)


@pytest.mark.parametrize("words", text.commands_named("make"), ids=" ".join)
def test_a_target_in_the_text_exists(words: tuple[str, ...]) -> None:
    check_make(words[1:])


def test_the_program_that_make_installs_is_the_command_line() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="nesypr")
    assert entry.value == "cluster.main:main"
    assert os.access(text.HOUSE / "scripts" / "check", os.X_OK)


def test_the_metrics_port_answers_while_a_run_goes_on(world: World) -> None:
    (smoke,) = [words for words in RUNS if words[1] == "smoke"]
    check_run(smoke, world)
    assert "ray_" in world.metrics
    assert "# TYPE" in world.metrics


@pytest.mark.parametrize("program", text.blocks("python"))
def test_the_python_runs(program: str, world: World) -> None:
    result = world.python(program)
    assert result.code == 0, result.output
    assert re.search(r"'tasks_in_all': (np\.float64\()?128", result.output)


@pytest.mark.parametrize("target", text.links())
def test_a_link_leads_somewhere(target: str) -> None:
    assert (text.HOUSE / target).exists()


def test_files_in_the_text_exist(world: World) -> None:
    """In the repository, or in the folder that a run leaves."""
    (smoke,) = [words for words in RUNS if words[1] == "smoke"]
    check_run(smoke, world)
    left = world.folder / "runs" / name_of(smoke)
    places = [text.HOUSE, left]
    named = text.files_named()
    assert {"cluster/", "summary.json", "configs/quickstart.yaml"} <= set(named)
    named = [re.sub(rf"^runs/({'|'.join(map(name_of, RUNS))})/", f"{left}/", n) for n in named]
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []


def test_keys_in_the_text_exist() -> None:
    assert "distillation.max_staleness" in text.keys_named()
    for key in text.keys_named():
        section: object = RunConfig
        for part in key.split("."):
            assert isinstance(section, type), key
            assert issubclass(section, Section), key
            assert part in section.model_fields, key
            section = section.model_fields[part].annotation


@pytest.mark.parametrize("assignment", text.assignments_named())
def test_an_assignment_in_the_text_is_possible(assignment: str) -> None:
    load_settings("smoke", [assignment])


def test_options_in_the_text_exist() -> None:
    assert "--json" in text.options_named()
    known = {option for command in leaves() for p in command.params for option in p.opts}
    assert [option for option in text.options_named() if option not in known] == []


def leaves() -> list[typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    found, groups = [], [group]
    while groups:
        for command in groups.pop().commands.values():  # type: ignore[attr-defined]
            (groups if hasattr(command, "commands") else found).append(command)
    return found


@pytest.mark.parametrize("words", text.commands_named("nesypr"), ids=" ".join)
def test_a_command_in_the_text_is_understood(words: tuple[str, ...]) -> None:
    command, rest = typer.main.get_command(app), list(words[1:])
    while hasattr(command, "commands"):
        assert rest, words
        assert rest[0] in command.commands, words
        command = command.commands[rest.pop(0)]
    command.make_context(words[-1], rest)  # raises where an argument or option is wrong


def test_every_command_that_prints_figures_has_json() -> None:
    shows = {"run", "resume", "watch", "dashboard"}  # a run as it goes on
    without = shows | {"up", "down"}  # what launchers say is theirs
    for command in leaves():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) != (command.name in without), command.name


@pytest.mark.parametrize("pin", text.pins_named())
def test_a_version_in_the_text_is_the_locked_one(pin: str) -> None:
    lock = (text.HOUSE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(rf"{re.escape(pin)}(\+\w+)?( .*)?", line) for line in lock)
