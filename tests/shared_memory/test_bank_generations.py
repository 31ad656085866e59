"""`verify` with a published book: codes and versions that it cannot know, and what it passes over;
and how much memory reading a whole bank takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.bank_file import export_banks, import_banks
from shared_memory.bank_generations import GenerationCounts, PublishedBook
from shared_memory.bank_verification import BankVerification, verify
from shared_memory.records import Episode
from shared_memory.server import EmbeddedServer

EpisodeMaker = Callable[..., Episode]


def coded(episode: Episode, *procedures: tuple[int, ...]) -> Episode:
    """The episode with these procedures."""
    decisions = tuple(
        replace(decision, codes=np.array(codes, dtype=np.uint16))
        for decision, codes in zip(episode.decisions, procedures, strict=True)
    )
    return replace(episode, decisions=decisions)


def compared(client: redis.Redis, version: int, *born: int) -> BankVerification:
    return verify(client, "run", ("blocks",), PublishedBook(version, np.array(born)))


def test_entries_are_compared_with_the_published_book(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = Bank(client, "run", BankConfig())
    bank.push([coded(make_episode(1, decisions=2, version=3), (0, 1), (1, 2))])
    assert bank.verify().generations is None
    found = compared(client, 3, 0, 0, 0)
    assert (found.problems, found.generations) == ((), GenerationCounts())
    found = compared(client, 5, 0, 0, 4)  # look-ups pass over one: that is no problem
    assert (found.problems, found.generations) == ((), GenerationCounts(outdated=1))
    assert compared(client, 3, 0, 0, 3).generations == GenerationCounts()  # seen since

    found = compared(client, 5, 4, 0)
    assert found.generations == GenerationCounts(outdated=1, beyond=1)
    assert found.problems == (
        "blocks success: 1 entries have codes that the published book does not have (it has 2)",
    )
    found = compared(client, 2, 0, 0, 0)
    assert found.generations == GenerationCounts(ahead=2)
    assert found.problems == (
        "blocks success: 2 entries were last seen with a version that is not published (the "
        "latest is 2)",
    )

    filed = export_banks(client, "run", ("blocks",), tmp_path / "bank")
    client.flushall()  # entries of another book may be anything
    import_banks(client, "run", BankConfig(), filed)
    found = compared(client, 2, 0, 0)
    assert (found.problems, found.generations) == ((), GenerationCounts(beyond=1, ahead=2))


_MEASURE = """
import sys
from configs.schema import BankConfig, SharedMemoryConfig
from peak_memory import peak, reset_peak
from shared_memory.bank import Bank
from shared_memory.bank_reading import most_used
from shared_memory.connection import connect

client = connect(SharedMemoryConfig(), sys.argv[1])
small = Bank(client, "small", BankConfig())
assert small.verify().closed and most_used(client, "small", "blocks", "success", 5)
for what in sys.argv[2:]:
    before = reset_peak()
    if what == "verify":
        assert Bank(client, "run", BankConfig()).verify().closed
    else:
        assert len(most_used(client, "run", "blocks", "success", 5)) == 5
    print(what, (peak() - before) // 2**20)
"""


@pytest.mark.parametrize(
    "entries",
    [5_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_reading_a_whole_bank_takes_little_memory(
    server: EmbeddedServer, client: redis.Redis, make_episode: EpisodeMaker, entries: int
) -> None:
    """Each episode has a prompt of 1,000 tokens of its own: decoded, 35 kB for 20 entries."""
    Bank(client, "small", BankConfig()).push([make_episode(number) for number in range(9)])
    bank, decisions = Bank(client, "run", BankConfig(max_entries=2 * entries)), 20
    for first in range(0, entries // decisions, 50):
        episodes = [
            make_episode(number, decisions=decisions, codes=60_000)
            for number in range(first, first + 50)
        ]
        bank.push([with_prompts(episode) for episode in episodes])
    assert bank.statistics().total("success").entries == entries
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, server.url, "verify", "show"],
        env={"PYTHONPATH": f"{Path.cwd()}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert measured.returncode == 0, measured.stderr
    sys.stdout.write(f"\n{entries} entries, MiB: {measured.stdout.split()}\n")
    figures = measured.stdout.split()
    most = 16 + entries // 1000
    assert all(int(megabytes) <= most for megabytes in figures[1::2]), figures


def with_prompts(episode: Episode) -> Episode:
    """The episode with one prompt of 1,000 tokens for all of its decisions."""
    drawn = np.random.default_rng(episode.episode).integers(300, 60_000, 1000)
    tokens = tuple(drawn.tolist())
    decisions = [replace(decision, prompt_tokens=tokens) for decision in episode.decisions]
    return replace(episode, decisions=tuple(decisions))
