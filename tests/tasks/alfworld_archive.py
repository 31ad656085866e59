"""Real games out of the archive beside the repository, which may be missing."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parents[3] / "shared" / "alfworld" / "json_2.1.1-train-valid_seen.tar.xz"
GAME_FILE = "game.tw-pddl"


def real_games(split: str, most: int, stride: int = 1) -> Iterator[tuple[str, str]]:
    """(path below the data's folder, text) of every stride-th game of a split; skips without."""
    if not ARCHIVE.is_file():
        pytest.skip(f"the archive of real ALFWorld games is missing: {ARCHIVE}")
    found = 0
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        for member in archive:
            if member.name.endswith(GAME_FILE) and f"/{split}/" in member.name:
                if found % stride == 0:
                    file = archive.extractfile(member)
                    assert file is not None
                    yield member.name, file.read().decode()
                found += 1
                if found == most * stride:
                    return


def unpack(split: str, most: int, folder: Path, stride: int = 1) -> list[Path]:
    """Write games of a split below the folder, in ALFWorld's layout; returns their files."""
    files: list[Path] = []
    for name, text in real_games(split, most, stride):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files
