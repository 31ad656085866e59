"""docs/cluster*.md: commands, options, files and links in them exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from cluster.main import app

HOUSE = Path(__file__).resolve().parents[2]
PAGES = sorted((HOUSE / "docs").glob("cluster*.md"))
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = [
    words
    for text in TEXTS.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))
]
OTHERS = {"cp", "docker", "export", "helm", "kubectl", "openssl", "ray"}
"""Programs that the pages call besides ours."""


def ours(words: list[str]) -> list[str] | None:
    """What of a command line is for `nesypr`, also where another program starts it."""
    text = " ".join(words)
    match = re.search(r"(?:^|[ /])nesypr (up|down|run|doctor|resume|scale)\b.*", text)
    return shlex.split(match.group().lstrip(" /")) if match else None


def test_there_is_a_page_for_each_way() -> None:
    assert list(TEXTS) == ["cluster-kubernetes.md", "cluster-launcher.md", "cluster.md"]
    assert {words[0] for words in COMMANDS} == OTHERS | {"nesypr"}


@pytest.mark.parametrize("words", [words for words in COMMANDS if ours(words)], ids=" ".join)
def test_our_commands_are_understood(words: list[str]) -> None:
    _, name, *rest = ours(words) or []
    group = typer.main.get_command(app)
    group.commands[name].make_context(name, rest)  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "ray"], ids=" ".join)
def test_rays_commands_have_these_options(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    command, rest = cli, words[1:]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    before = rest[: rest.index("--")] if "--" in rest else rest
    used = {word.partition("=")[0] for word in before if word.startswith("--")}
    assert used <= known


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_files_exist(name: str) -> None:
    text = TEXTS[name]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert "://" in target or (HOUSE / "docs" / target).exists(), target
    for path in re.findall(r"(?:configs|tests|docs)/[\w/.-]*\w/?", text):
        assert (HOUSE / path).exists(), path


def test_variables_of_the_pages_are_rays_or_ours() -> None:
    """Those of the files in configs/clusters/, or of the page about servers."""
    known = "".join(
        path.read_text(encoding="utf-8")
        for path in [*(HOUSE / "configs" / "clusters").rglob("*.yaml"), HOUSE / "docs/servers.md"]
    )
    for variable in re.findall(r"\b(?:RAY|NESYPR)_\w+", "".join(TEXTS.values())):
        assert variable in known, variable
