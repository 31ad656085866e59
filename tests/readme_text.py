"""What README.md claims: its commands, its Python, its links and the names that it mentions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
README = (HOUSE / "README.md").read_text(encoding="utf-8")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_SUFFIXES = (".yaml", ".py", ".md", ".json", ".jsonl", ".html", ".svg", ".png", ".lock", "/")
USERS_OWN = ("domain.pddl",)
"""Files that a user brings along."""
PLACEHOLDERS = ("section.key=value",)


def blocks(language: str) -> list[str]:
    """The fenced blocks in that language."""
    return [text for found, text in FENCE.findall(README) if found == language]


def commands() -> list[tuple[str, ...]]:
    """Every command of the sh blocks, as words; lines that end in a backslash go on."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := tuple(shlex.split(line, comments=True)))]


def links() -> list[str]:
    """Targets of links and pictures within the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", README))
    return [target.partition("#")[0] for target in targets if "://" not in target]


def spans() -> list[str]:
    """Every `span` in the running text, each once."""
    found = re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", README))
    return list(dict.fromkeys(" ".join(span.split()) for span in found))


def files_named() -> list[str]:
    """Spans that name a file or folder."""
    paths = [span for span in spans() if re.fullmatch(r"[\w./-]+", span)]
    return [path for path in paths if path.endswith(FILE_SUFFIXES) and path not in USERS_OWN]


def keys_named() -> list[str]:
    """Spans that name a key of the configuration."""
    dotted = [span for span in spans() if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", span)]
    return [key for key in dotted if not key.endswith(FILE_SUFFIXES) and key not in USERS_OWN]


def assignments_named() -> list[str]:
    """What stands after --set in spans."""
    found = [word for span in spans() for word in re.findall(r"^--set (\S+)$", span)]
    return [assignment for assignment in found if assignment not in PLACEHOLDERS]


def options_named() -> list[str]:
    """Options in spans of their own."""
    return [word for span in spans() for word in re.findall(r"^(--[a-z-]+)(?: |$)", span)]


def commands_named(program: str) -> list[tuple[str, ...]]:
    """Spans that are commands of this program."""
    return [tuple(shlex.split(span)) for span in spans() if span.startswith(f"{program} ")]


def pins_named() -> list[str]:
    """Versions of libraries in spans, such as torch==2.13.0."""
    return [pin for span in spans() for pin in re.findall(r"\b[a-z]+==[\d.]+", span)]
